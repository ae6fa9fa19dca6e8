"""Clocks: a run is not ahead of the machine, and machine and database server agree."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from stillsafe.errors import RunAhead
from stillsafe.monitoring.clock import clock_problem, require_equal_clocks, require_not_ahead
from stillsafe.store import database
from tests.store.conftest import empty, engine

__all__ = ["empty", "engine"]  # the fixtures of the tests of the store
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("minutes", [-600_000, -1, 0, 10])
def test_the_past_and_one_interval_are_allowed(minutes: int) -> None:
    """A backfill needs no flag, and neither does a small difference of clocks."""
    require_not_ahead(NOW + timedelta(minutes=minutes), NOW, 600)


def test_more_than_one_interval_ahead_is_refused() -> None:
    """The message has both times and the remedy."""
    with pytest.raises(RunAhead, match="--ahead") as refusal:
        require_not_ahead(NOW + timedelta(days=365), NOW, 600)
    assert "2027-03-01" in refusal.value.problem
    assert "2026-03-01" in refusal.value.problem


def test_the_server_is_the_second_witness(engine: Engine) -> None:
    """On PostgreSQL a machine that is an hour off is refused; SQLite has no second clock."""
    machine_time = datetime.now(UTC)
    with database.reading(engine) as connection:
        assert clock_problem(connection, machine_time, 600) is None
        for wrong_time in (machine_time - timedelta(hours=1), machine_time + timedelta(hours=1)):
            problem = clock_problem(connection, wrong_time, 600)
            if engine.dialect.name == "sqlite":
                assert problem is None
                require_equal_clocks(connection, wrong_time, 600)
            else:
                assert problem is not None
                with pytest.raises(RunAhead, match="more than one interval apart"):
                    require_equal_clocks(connection, wrong_time, 600)
