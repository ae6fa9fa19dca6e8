"""INSERT, UPDATE and DELETE of `request_ids`, and INSERT and DELETE of `request_duplicates`."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stillsafe.store import database
from stillsafe.store.codec import storable, storable_snapshot
from stillsafe.store.read.request_id import IdOwner, id_owners
from stillsafe.store.records import PredictionRecord, RequestId
from stillsafe.store.tables import prediction_logs, request_duplicates, request_ids
from stillsafe.store.write.row_insertion import insert_rows

_COLUMNS = ("service_id", "id", "body_hash", "prediction_id", "timestamp", "answer")
_INSERTION = insert(request_ids)


class _IdentifiedRecord(NamedTuple):
    """A record and its id, which is not None."""

    record: PredictionRecord
    id: RequestId


def claim_ids(connection: Connection, records: Sequence[PredictionRecord], oldest: datetime) -> dict[str, IdOwner]:
    """Store the ids of records; one id has one prediction, also where processes store it at the same time.

    Args:
        connection: of the transaction that appends the records afterwards.
        records: to be appended; those without an id are left out.
        oldest: ids of earlier requests are free again, aware UTC.

    Returns:
        Per record whose id belongs to another prediction, by the record's prediction_id: that other prediction.
    """
    # All processes insert in the same order, so none waits for another that waits for it.
    pairs = [_IdentifiedRecord(record, record.request_id) for record in records if record.request_id is not None]
    pairs.sort(key=lambda pair: pair.id.text)
    if not pairs or _insert_free(connection, pairs) == len(pairs):
        return {}
    owners = id_owners(connection, {storable(pair.id.text) for pair in pairs})
    others: dict[str, IdOwner] = {}
    for pair in pairs:
        text, record = storable(pair.id.text), pair.record
        owner = owners.get(text)
        if owner is None:  # it was erased after the insertion had found it
            _insert_free(connection, [pair])
        elif owner.prediction_id == record.prediction_id:
            continue
        elif owner.timestamp < oldest and _transfer(connection, pair, owner):
            owners[text] = IdOwner(record.prediction_id, pair.id.body_hash, record.timestamp)
        else:
            others[record.prediction_id] = owner
    return others


def _insert_free(connection: Connection, pairs: Sequence[_IdentifiedRecord]) -> int:
    """Insert the ids that are new; return how many."""
    bind = request_ids.c.timestamp.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    service = database.service_id(connection)
    times = {time: time if bind is None else bind(time) for time in {pair[0].timestamp for pair in pairs}}
    rows = [
        (
            service,
            storable(identity.text),
            identity.body_hash,
            record.prediction_id,
            times[record.timestamp],
            storable_snapshot(record.unlogged_answer()),
        )
        for record, identity in pairs
    ]
    return insert_rows(connection, _INSERTION, _COLUMNS, rows, "ON CONFLICT (service_id, id) DO NOTHING")


def _transfer(connection: Connection, pair: _IdentifiedRecord, owner: IdOwner) -> bool:
    """Give an expired id to a new request, unless another process just did; return whether it has it.

    The earlier request keeps the id beside the log, so that a search and an erasure by the id find it.
    """
    record, text = pair.record, storable(pair.id.text)
    is_unchanged = request_ids.c.id == text, request_ids.c.prediction_id == owner.prediction_id
    statement = update(request_ids).where(request_ids.c.service_id == database.service_id(connection), *is_unchanged)
    values = {"body_hash": pair.id.body_hash, "prediction_id": record.prediction_id, "timestamp": record.timestamp}
    if connection.execute(statement.values(answer=record.unlogged_answer(), **values)).rowcount != 1:
        return False
    _insert_duplicates(connection, [(owner.prediction_id, text, owner.timestamp)])
    return True


def write_and_delete(connection: Connection, record: PredictionRecord) -> None:
    """Write a record's reason beside an id of its own, and delete it: a trial of the store, which leaves nothing."""
    values = {"id": record.prediction_id, "prediction_id": record.prediction_id, "timestamp": record.timestamp}
    owner = {"service_id": database.service_id(connection), "body_hash": "", "answer": {"reason": record.reason}}
    connection.execute(insert(request_ids).values(**values, **owner))
    is_this = request_ids.c.timestamp == record.timestamp, request_ids.c.prediction_id == record.prediction_id
    connection.execute(delete(request_ids).where(*is_this))


def mark_duplicates(connection: Connection, records: Sequence[PredictionRecord]) -> None:
    """Record that these answers came after another one to the same id."""
    _insert_duplicates(
        connection,
        [(each.prediction_id, each.request_id.text, each.timestamp) for each in records if each.request_id is not None],
    )


def _insert_duplicates(connection: Connection, answers: Sequence[tuple[str, str, datetime]]) -> None:
    """Insert answers without the id of their own: prediction_id, id, timestamp."""
    service = database.service_id(connection)
    names = ("prediction_id", "id", "timestamp")
    rows = [{**dict(zip(names, answer, strict=True)), "service_id": service} for answer in answers]
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        insertion = dialect.insert(request_duplicates).on_conflict_do_nothing(index_elements=["prediction_id"])
        connection.execute(insertion, rows)


def delete_ids_of(connection: Connection, row_ids: Sequence[int]) -> None:
    """Delete the ids of predictions, by the row ids of the log, before their rows go."""
    log, table = prediction_logs, request_ids
    predictions = select(log.c.prediction_id).where(log.c.id.in_(row_ids), log.c.prediction_id.isnot(None))
    times = select(log.c.timestamp).where(log.c.id.in_(row_ids))
    is_theirs = table.c.timestamp.in_(times), table.c.prediction_id.in_(predictions)
    connection.execute(delete(request_ids).where(*is_theirs))
    connection.execute(delete(request_duplicates).where(request_duplicates.c.prediction_id.in_(predictions)))
