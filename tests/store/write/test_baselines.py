"""Baselines: never changed, and one active for each model version."""

import pytest
from sqlalchemy import Connection, Engine, select

from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline, all_baselines, baseline_by_id, is_watched
from stillsafe.store.tables import baseline_metrics
from stillsafe.store.write.baselines import insert_baseline, mark_active
from tests.store.conftest import START, at, baseline


def test_the_columns_of_the_mission_are_filled(connection: Connection) -> None:
    """Ranges, frequencies and missing rates can be read in SQL, feature by feature."""
    insert_baseline(connection, baseline())
    (row,) = connection.execute(select(baseline_metrics)).mappings()
    assert {name: row[name] for name in row if name != "document"} == {
        "baseline_id": "b1",
        "created_at": START,
        "sample_size": 1000,
        "avg_confidence": 0.9,
        "low_confidence_rate": 0.1,
        "feature_ranges": {"size": {"min": -1.5, "max": 99.5}},
        "category_frequencies": {"town": {"A": 0.75, "B": 0.25}},
        "missing_value_rates": {"size": 0.01, "town": 0.0},
        "model_version": "1",
        "source": "first",
        "active": False,
        "is_redacted": False,
        "service_id": 1,
    }


def test_a_baseline_is_read_back_equal(connection: Connection) -> None:
    """By its id; an unknown id is None."""
    insert_baseline(connection, baseline())
    assert baseline_by_id(connection, "b1") == baseline()
    assert baseline_by_id(connection, "b2") is None


def test_a_new_baseline_is_not_active(connection: Connection) -> None:
    """A version is watched once its baseline is marked active."""
    insert_baseline(connection, baseline())
    assert active_baseline(connection, "1") is None
    assert not is_watched(connection, "1")
    mark_active(connection, baseline())
    assert active_baseline(connection, "1") == baseline()
    assert is_watched(connection, "1")


def test_one_is_active_for_each_version(connection: Connection) -> None:
    """Marking one active ends the previous one of the same version, and of no other."""
    first, second, other = baseline("b1"), baseline("b2"), baseline("b3", "2")
    for record in (first, second, other):
        insert_baseline(connection, record)
    for record in (first, other, second):
        mark_active(connection, record)
    assert active_baseline(connection, "1") == second
    assert active_baseline(connection, "2") == other
    active_ids = {record.baseline.baseline_id for record in all_baselines(connection) if record.active}
    assert active_ids == {"b2", "b3"}
    mark_active(connection, first)
    assert active_baseline(connection, "1") == first


def test_baselines_are_listed_newest_first(connection: Connection) -> None:
    """By creation time, and not by the order in which they were inserted."""
    for name, minutes in (("b1", 5), ("b2", 9), ("b3", 1)):
        insert_baseline(connection, baseline(name, created_at=at(minutes)))
    assert [record.baseline.baseline_id for record in all_baselines(connection)] == ["b2", "b1", "b3"]


def test_a_baseline_is_never_overwritten(engine: Engine) -> None:
    """An id is used once, because old decisions depend on the baseline."""
    with database.writing(engine) as connection:
        insert_baseline(connection, baseline())
    with pytest.raises(StoreError, match=r"(?i)unique"), database.writing(engine) as connection:
        insert_baseline(connection, baseline(version="2"))
    with database.reading(engine) as connection:
        assert baseline_by_id(connection, "b1") == baseline()
