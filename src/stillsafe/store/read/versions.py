"""Queries for the model versions of a service, and for the services of a database."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from stillsafe.store.read.requests import first_request_at, last_request_at, logged_versions
from stillsafe.store.read.runs import RunRecord, last_run
from stillsafe.store.read.state import StateRecord, current_state, has_state, version_states
from stillsafe.store.tables import services

END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One model version of a service.

    Attributes:
        model_version: its name.
        state: the state that applies to it, which it may have inherited, or None before the first decision.
        has_own_state: whether that state is its own.
        last_run: its newest run, or None.
        last_request_at: time of its newest request, or None.
        unjudged_since: time of its oldest request that no conclusive run has judged, or None.
    """

    model_version: str
    state: StateRecord | None
    has_own_state: bool
    last_run: RunRecord | None
    last_request_at: datetime | None
    unjudged_since: datetime | None


def version_record(connection: Connection, model_version: str) -> VersionRecord:
    """One model version.

    Raises:
        StoreError: its state is damaged.
    """
    state = current_state(connection, model_version)
    return VersionRecord(
        model_version,
        state,
        has_state(connection, model_version),
        last_run(connection, model_version),
        last_request_at(connection, END_OF_TIME, model_version=model_version),
        unjudged_since(connection, model_version, state),
    )


def version_names(connection: Connection) -> list[str]:
    """The model versions that have requests or a state, sorted."""
    with_state = {record.model_version for record in version_states(connection)} - {None}
    return sorted({*logged_versions(connection), *map(str, with_state)})


def unjudged_since(connection: Connection, model_version: str, state: StateRecord | None) -> datetime | None:
    """Time of the oldest request of a version that no conclusive run has judged, synthetic ones included, or None.

    Args:
        connection: of the service.
        model_version: the version.
        state: the state that applies to it, inherited or not, or None.
    """
    if state is None or state.model_version not in (model_version, None):
        return first_request_at(connection, model_version)
    last_run_at = state.memory.last_run_at or state.checked_at
    return state.memory.unjudged_since or first_request_at(connection, model_version, last_run_at)


def service_names(connection: Connection) -> list[str]:
    """The services of the database, sorted by name."""
    return sorted(connection.execute(select(services.c.name)).scalars())


def server_time(connection: Connection) -> datetime | None:
    """The clock of the database server, aware UTC; None for SQLite, which has none of its own."""
    if connection.dialect.name == "sqlite":
        return None
    at: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return at.astimezone(UTC)
