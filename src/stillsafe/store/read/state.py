"""The query for the current state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, exists, literal, or_, select

from stillsafe.core.policy import EVIDENCE, Policy
from stillsafe.core.state import Memory, State
from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.codec import record_from_row, stored_value
from stillsafe.store.read.baselines import HAS_ACTIVE_BASELINE
from stillsafe.store.read.requests import last_request_at
from stillsafe.store.read.runs import last_run
from stillsafe.store.tables import current_window_metrics, operator_actions, system_state

_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
_BY_CAUTION = (State.NORMAL, State.WARNING, State.DEGRADED)
CLOCK_TOLERANCE = timedelta(seconds=EVIDENCE.clock_tolerance_seconds)


@dataclass(frozen=True, slots=True)
class StateRecord:
    """The current state, as every server process applies it.

    Attributes:
        state: the state to apply.
        last_updated: when the state last changed.
        reason: why the system is in this state.
        severity: of the last run, or None.
        checked_at: end of the last run's window, or None before the first run.
        valid_until: when the monitor counts as stale, or None before the first run.
        held: whether an operator holds the state.
        damaged_features: features that the fallback must not use.
        memory: where the next run starts.
        model_version: the version, or None in a row written before states had one.
        progress: what the last run concluded and what ends or escalates the state; empty in NORMAL.
    """

    state: State
    last_updated: datetime
    reason: str
    severity: str | None
    checked_at: datetime | None
    valid_until: datetime | None
    held: bool
    damaged_features: tuple[str, ...]
    memory: Memory
    model_version: str | None = None
    progress: str = ""

    def stale(self, now: datetime) -> bool:
        """Whether the monitor has not run for two intervals, or never.

        A last run far in the future counts as stale, because the clock was wrong then or is wrong now.
        """
        if self.valid_until is None or self.checked_at is None:
            return True
        return now > self.valid_until or self.checked_at > now + CLOCK_TOLERANCE


@dataclass(frozen=True, slots=True)
class StateColumns:
    """The columns of a state row as they are stored."""

    model_version: str | None
    current_state: str
    last_updated: datetime
    reason: str
    severity: str | None
    checked_at: datetime | None
    valid_until: datetime | None
    held: bool
    damaged_features: Any
    progress: str | None
    memory: Any = None


# Built once, since every prediction executes them.
_STATES = select(system_state).where(system_state.c.service_id == bindparam("service")).order_by(system_state.c.id)
_IS_OWN = or_(system_state.c.model_version == bindparam("version"), system_state.c.model_version.is_(None))
_HAS_STATES, _HAS_RUNS, _HAS_ACTIONS = (
    exists(select(literal(1)).where(table.c.service_id == bindparam("service")))
    for table in (system_state, current_window_metrics, operator_actions)
)
_FACTS = select(
    HAS_ACTIVE_BASELINE.label("is_watched"),
    _HAS_STATES.label("has_states"),
    # The search is for services without a state alone: it reads the runs of all others.
    case((_HAS_STATES, False), else_=or_(_HAS_RUNS, _HAS_ACTIONS)).label("has_lost_state"),
).subquery()
_OWN_STATE = (
    select(_FACTS, system_state)
    .select_from(_FACTS.outerjoin(system_state, (system_state.c.service_id == bindparam("service")) & _IS_OWN))
    .order_by(system_state.c.id)
)
"""The states that may be a version's own, each beside facts about the service; without one, a row with the facts."""


def is_more_cautious(state: State, other: State) -> bool:
    """Whether a state is the worse of two."""
    return _BY_CAUTION.index(state) > _BY_CAUTION.index(other)


def current_state(connection: Connection, model_version: str | None = None) -> StateRecord | None:
    """The state of one model version, or None before the first run or action.

    A version without a state of its own starts from the worst state among the versions that answered within the
    policy's `max_gap`; see `inherited_state`. Where a row's state and its memory differ, the more cautious of the two
    applies. A write transaction that reads the state is about to change it, so the state stays locked until that
    transaction ends.

    Args:
        connection: of the service.
        model_version: the version, or None for the worst state of all versions.

    Raises:
        StoreError: a row is damaged, or missing although runs or actions are stored.
    """
    if connection.get_execution_options().get("immediate", False):
        database.lock(connection, "state")
    return _state(connection, _own_rows(connection, model_version), model_version)


def state_and_watch(connection: Connection, model_version: str) -> tuple[StateRecord | None, bool]:
    """The state of one model version, as `current_state`, and whether the version has an active baseline.

    Every answer needs both, and one query reads them.

    Raises:
        StoreError: as `current_state`.
    """
    rows = _own_rows(connection, model_version)
    return _state(connection, rows, model_version), bool(rows[0].is_watched)


def has_state(connection: Connection, model_version: str) -> bool:
    """Whether a version has a state of its own."""
    return _own_rows(connection, model_version)[0].id is not None


def version_states(connection: Connection) -> list[StateRecord]:
    """The state of each model version that has one, oldest row first.

    Raises:
        StoreError: a row is damaged.
    """
    rows = connection.execute(_STATES, {"service": database.service_id(connection)})
    return [_record(connection, row) for row in rows]


def state_columns(connection: Connection) -> list[StateColumns]:
    """The columns of each state row, in the order of `version_states`."""
    rows = connection.execute(_STATES, {"service": database.service_id(connection)})
    return [record_from_row(StateColumns, row) for row in rows]


def inherited_state(connection: Connection, records: Sequence[StateRecord]) -> StateRecord | None:
    """What a version without a state starts from: the worst state of the versions that answered within `max_gap`.

    An operator's hold is the service's, so it is inherited from any version. None where nothing is inherited.
    """
    hold = next((record.memory.hold for record in records if record.memory.hold is not None), None)
    newest = last_request_at(connection, _END_OF_TIME)
    recent = [record for record in records if _answered_recently(connection, record, newest)]
    worst = max(recent, key=lambda record: _BY_CAUTION.index(record.memory.state), default=None)
    if worst is None and hold is None:
        return None
    source = worst or records[-1]
    memory = Memory(hold=hold)
    if worst is not None:
        memory = Memory(
            state=worst.memory.state,
            since=worst.memory.since,
            model_version=worst.model_version,
            damaged_features=worst.memory.damaged_features,
            hold=hold,
        )
    return replace(source, state=memory.effective_state, held=hold is not None, memory=memory)


def _own_rows(connection: Connection, model_version: str | None) -> Sequence[Row[Any]]:
    parameters = {"service": database.service_id(connection), "version": model_version}
    return connection.execute(_OWN_STATE, parameters).all()


def _state(connection: Connection, own_rows: Sequence[Row[Any]], model_version: str | None) -> StateRecord | None:
    if model_version is not None and own_rows[0].id is not None:
        # A row without a version was written before states had one, and yields to the version's own.
        return _record(connection, max(own_rows, key=lambda row: row.model_version is not None))
    if own_rows[0].has_lost_state:
        raise StoreError(
            "The database has lost its state, though runs or actions are recorded: restore it from a backup."
        )
    if not own_rows[0].has_states:
        _require_own_service(connection)
        return None
    records = version_states(connection)
    if model_version is None:
        return max(records, key=lambda record: _BY_CAUTION.index(record.state))
    return inherited_state(connection, records)


def _answered_recently(connection: Connection, record: StateRecord, newest: datetime | None) -> bool:
    """Whether a version answered within `max_gap` of the service's newest request."""
    version = record.model_version
    at = None if version is None else last_request_at(connection, _END_OF_TIME, model_version=version)
    return at is not None and newest is not None and (newest - at).total_seconds() <= _max_gap_seconds(connection)


def _max_gap_seconds(connection: Connection) -> float:
    """The policy's `max_gap_seconds` of the newest run."""
    run = last_run(connection)
    policy = {} if run is None else run.policy or {}
    return float(policy.get("max_gap_seconds", Policy().max_gap_seconds))


def _record(connection: Connection, row: Row[Any]) -> StateRecord:
    row_state = stored_value(State, row.current_state)
    memory = stored_memory(row.memory) or _last_memory(connection, row.model_version) or Memory(state=row_state)
    return StateRecord(
        max(row_state, memory.effective_state, key=_BY_CAUTION.index),
        row.last_updated,
        row.reason,
        row.severity,
        row.checked_at,
        row.valid_until,
        bool(row.held) or memory.hold is not None,
        stored_value(tuple[str, ...], row.damaged_features or []),
        memory,
        row.model_version,
        row.progress or "",
    )


def stored_memory(document: Any) -> Memory | None:
    """The memory of a stored document, or None where there is none, or an empty one.

    Fields of older versions may be missing, except the state. Unknown fields are a newer version's, and without them
    this version could end what that one would not.

    Raises:
        StoreError: the document is no memory, or has such fields.
    """
    if document is None or document == {}:
        return None
    if isinstance(document, dict):
        names = Memory.__dataclass_fields__.keys()
        if unknown := ", ".join(sorted(document.keys() - names)):
            raise StoreError(f"The database holds a memory of a newer version ({unknown}): upgrade the package.")
        if "state" not in document:
            raise StoreError("The database holds a damaged memory (state: it is missing).")
    return stored_value(Memory, document)


def _last_memory(connection: Connection, model_version: str | None) -> Memory | None:
    """The memory of the last run, for a state row that was edited by hand and has none."""
    run = last_run(connection, model_version)
    return None if run is None else stored_memory(run.memory)


def _require_own_service(connection: Connection) -> None:
    """Require that the database is the service's own, so that a state it lacks was never decided.

    Raises:
        StoreError: the database has no such service, or knows it by another number than it did before.
    """
    number = database.service_id(connection)
    connection.info.pop(database.SERVICE_IDS, None)  # those that were read from a database which is no longer there
    if not number or database.service_id(connection) != number:
        raise StoreError("The database has no such service: it is another one than the service has used.")
