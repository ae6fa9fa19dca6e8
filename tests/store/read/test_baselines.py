"""Queries for baselines: a damaged or incomplete one is never used."""

from sqlalchemy import Connection, Engine, insert

from stillsafe.store import database
from stillsafe.store.read.baselines import (
    active_baseline,
    all_baseline_columns,
    all_baselines,
    baseline_by_id,
    is_watched,
)
from stillsafe.store.tables import baseline_metrics
from tests.store.read.rows import BASELINE, assert_query_fails


def test_a_damaged_baseline_is_a_store_error(engine: Engine) -> None:
    """No model is compared with a damaged baseline."""
    values = {**BASELINE, "model_version": "1", "active": True, "document": {"baseline_id": "b"}}
    with database.writing(engine) as connection:
        connection.execute(insert(baseline_metrics).values(values))
    message = r"^The database holds a damaged baseline \(model_version: .*\)\.$"
    for query in (lambda c: active_baseline(c, "1"), lambda c: baseline_by_id(c, "by-hand"), all_baselines):
        assert_query_fails(engine, query, message)


def test_a_baseline_with_only_the_missions_columns_is_not_used(connection: Connection) -> None:
    """Without its document it cannot be compared with, so no version is watched by it."""
    connection.execute(insert(baseline_metrics).values(BASELINE))
    assert all_baselines(connection) == []
    assert active_baseline(connection, "1") is None
    assert not is_watched(connection, "1")


def test_the_columns_of_a_baseline_are_read_as_they_are(connection: Connection) -> None:
    """A replay compares them with the document; a row without a document copies nothing and is left out."""
    connection.execute(insert(baseline_metrics).values(BASELINE))
    connection.execute(
        insert(baseline_metrics).values({**BASELINE, "baseline_id": "b", "avg_confidence": 0.3, "document": {"a": 1}})
    )
    (columns,) = all_baseline_columns(connection)
    assert (columns.baseline_id, columns.avg_confidence, columns.document) == ("b", 0.3, {"a": 1})
