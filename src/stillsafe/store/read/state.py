"""The query for the current state."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from stillsafe.core.policy import EVIDENCE
from stillsafe.core.state import Memory, State
from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.tables import current_window_metrics, operator_actions, system_state

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

    def stale(self, now: datetime) -> bool:
        """Whether the monitor has not run for two intervals, or never.

        A last run far in the future counts as stale, because the clock was wrong then or is wrong now.
        """
        if self.valid_until is None or self.checked_at is None:
            return True
        return now > self.valid_until or self.checked_at > now + CLOCK_TOLERANCE


# Built once, since every prediction executes them.
_STATE = select(system_state).where(system_state.c.id == 1)
_HISTORY = [select(table.c.id).limit(1) for table in (current_window_metrics, operator_actions)]


def current_state(connection: Connection) -> StateRecord | None:
    """The current state, or None before the first run or action.

    Where the row's state and its memory differ, the more cautious of the two applies. A write transaction that reads
    the state is about to change it, so the state stays locked until that transaction ends.

    Raises:
        StoreError: the row is damaged, or missing although runs or actions are stored.
    """
    if connection.get_execution_options().get("immediate", False):
        database.lock(connection, "state")
    row = connection.execute(_STATE).first()
    if row is None:
        _require_no_history(connection)
        return None
    row_state = stored_value(State, row.current_state)
    memory = (
        stored_value(Memory, row.memory)
        if row.memory is not None
        else _last_memory(connection) or Memory(state=row_state)
    )
    return StateRecord(
        max(row_state, memory.effective_state, key=_BY_CAUTION.index),
        row.last_updated,
        row.reason,
        row.severity,
        row.checked_at,
        row.valid_until,
        bool(row.held),
        stored_value(tuple[str, ...], row.damaged_features or []),
        memory,
    )


def _last_memory(connection: Connection) -> Memory | None:
    """The memory of the last run, for a state row that was edited by hand and has none."""
    table = current_window_metrics
    query = select(table.c.memory).where(table.c.memory.is_not(None)).order_by(table.c.id.desc()).limit(1)
    document = connection.execute(query).scalar()
    return None if document is None else stored_value(Memory, document)


def _require_no_history(connection: Connection) -> None:
    for query in _HISTORY:
        if connection.execute(query).first() is not None:
            raise StoreError(
                "The database has lost its state, though runs or actions are recorded: restore it from a backup."
            )
