"""Ids of requests: each has one prediction, whoever stores it first."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from sqlalchemy import Connection, Engine, func, select

from stillsafe.store import database
from stillsafe.store.read.request_id import IdOwner, duplicate_count, id_owners, predictions_of_request
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.tables import prediction_logs, request_duplicates, request_ids
from stillsafe.store.write.predictions import append_first_predictions, append_missing_predictions
from stillsafe.store.write.request_id import claim_ids
from stillsafe.store.write.retention import delete_requests
from tests.store.conftest import START, at, identified_prediction, prediction


def _log_rows(connection: Connection) -> list[tuple[str, bool]]:
    query = select(prediction_logs.c.prediction_id, prediction_logs.c.synthetic).order_by(prediction_logs.c.id)
    return [(row.prediction_id, row.synthetic) for row in connection.execute(query)]


def test_the_first_has_the_id_also_within_one_commit(connection: Connection) -> None:
    """The others are named with their owner; records without an id stay out of the table."""
    records = [prediction(0), identified_prediction(1), identified_prediction(2), identified_prediction(3, "b")]
    owner = IdOwner("p1", "hash", START)
    assert append_first_predictions(connection, records, START) == {"p2": owner}
    assert append_first_predictions(connection, [identified_prediction(4)], START) == {"p4": owner}
    assert _log_rows(connection) == [("p0", False), ("p1", False), ("p3", False)]
    assert set(id_owners(connection, ["a", "b"])) == {"a", "b"}


def test_the_same_prediction_again_is_its_own_owner(connection: Connection) -> None:
    """The reply to the commit was lost."""
    records = [identified_prediction(1)]
    assert claim_ids(connection, records, START) == claim_ids(connection, records, START) == {}


def test_an_id_of_an_old_request_goes_to_the_new_one(connection: Connection) -> None:
    """Only an older one than the limit."""
    append_first_predictions(connection, [identified_prediction(1)], START)
    assert set(append_first_predictions(connection, [identified_prediction(2, timestamp=at(9))], START)) == {"p2"}
    assert append_first_predictions(connection, [identified_prediction(3, timestamp=at(9))], at(1)) == {}
    assert id_owners(connection, ["a"])["a"].prediction_id == "p3"
    assert [each.prediction_id for each in predictions_of_request(connection, "a")] == ["p3", "p1"]
    assert not any(each.is_duplicate for each in predictions_of_request(connection, "a"))
    assert duplicate_count(connection) == 0


def test_the_drain_keeps_a_second_answer_as_a_duplicate_that_is_no_evidence(connection: Connection) -> None:
    """Two hosts answered one id in an outage; a drain that is repeated after a kill changes nothing."""
    append_first_predictions(connection, [identified_prediction(1)], START)
    spool_records = [
        identified_prediction(2),
        identified_prediction(3, "b"),
        identified_prediction(4, "b", body_hash="x"),
    ]
    for _ in range(2):
        append_missing_predictions(connection, spool_records)
        assert _log_rows(connection) == [("p1", False), ("p2", True), ("p3", False), ("p4", True)]
        assert duplicate_count(connection) == 2


def test_an_id_goes_with_its_row(connection: Connection) -> None:
    """And so do the marks of duplicates; the others stay."""
    append_missing_predictions(
        connection, [identified_prediction(1), identified_prediction(2), identified_prediction(3, "b")]
    )
    delete_requests(connection, RequestTable.PREDICTIONS, [1, 2])
    assert list(connection.execute(select(request_ids.c.id)).scalars()) == ["b"]
    assert connection.execute(select(func.count()).select_from(request_duplicates)).scalar() == 0
    assert append_first_predictions(connection, [identified_prediction(5)], START) == {}


def _race(engine: Engine, span: tuple[datetime, datetime], base: int) -> None:
    """Eight threads store 40 ids in opposite orders, each in one transaction; one row per id is left."""

    def store(thread: int) -> int:
        records = [identified_prediction(base + 100 * thread + n, f"r{n}", span[1]) for n in range(40)]
        with database.writing(engine) as connection:
            owners = append_first_predictions(connection, records[:: 1 if thread % 2 else -1], span[0])
        return 40 - len(owners)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(store, range(8))) == 40


def test_the_database_decides_between_transactions_at_the_same_time(engine: Engine) -> None:
    """Without a deadlock, whatever the order of the ids, and also where all are ids of old requests."""
    _race(engine, (START, START), 1000)
    with database.writing(engine) as connection:
        assert len(_log_rows(connection)) == 40
        connection.execute(prediction_logs.delete())
    _race(engine, (at(1), at(2)), 5000)
    with database.reading(engine) as connection:
        assert len(_log_rows(connection)) == 40
