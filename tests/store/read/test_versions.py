"""Queries for versions and services: which there are, and what waits to be judged."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from stillsafe.core.state import Memory
from stillsafe.store import database
from stillsafe.store.read.requests import first_request_at
from stillsafe.store.read.state import current_state
from stillsafe.store.read.versions import (
    server_time,
    service_names,
    unjudged_since,
    version_names,
    version_record,
)
from stillsafe.store.write.decisions import record_hold
from stillsafe.store.write.services import register_service
from tests.store.conftest import START, at, prediction, write


def test_versions_have_requests_or_a_state(engine: Engine) -> None:
    """A version is known from its requests, or from an operator's hold."""
    from stillsafe.core.state import Hold

    write(engine, prediction(1, version="b"), prediction(2, at(5), version="b"))
    with database.writing(engine) as connection:
        record_hold(connection, {"a": Memory()}, Hold("ann", "odd", START), None)
    with database.reading(engine) as connection:
        assert version_names(connection) == ["a", "b"]
        held, other = version_record(connection, "a"), version_record(connection, "b")
    assert (held.has_own_state, held.last_run, held.last_request_at, held.unjudged_since) == (True, None, None, None)
    assert (other.has_own_state, other.last_request_at, other.unjudged_since) == (False, at(5), START)


def test_without_a_state_all_requests_wait(engine: Engine) -> None:
    """The oldest one counts, of this version alone, and from a time on where one is given."""
    write(engine, prediction(1, at(3)), prediction(2, at(1)), prediction(3, START, version="2"))
    with database.reading(engine) as connection:
        assert unjudged_since(connection, "1", current_state(connection, "1")) == at(1)
        assert first_request_at(connection, "1", at(2)) == at(3)
        assert first_request_at(connection, "1", at(4)) is None


def test_services_are_listed_by_name(engine: Engine) -> None:
    """Each service that has opened the database is listed."""
    for name in ("two", "one"):
        with database.writing(engine.execution_options(service=name)) as connection:
            register_service(connection)
    with database.reading(engine) as connection:
        assert [name for name in service_names(connection) if name in ("one", "two")] == ["one", "two"]


def test_only_a_server_has_a_clock(engine: Engine) -> None:
    """PostgreSQL's clock is that of this machine in the tests; SQLite has none."""
    with database.reading(engine) as connection:
        clock = server_time(connection)
    if engine.dialect.name == "sqlite":
        assert clock is None
    else:
        assert clock is not None
        assert abs(clock - datetime.now(UTC)) < timedelta(minutes=1)
