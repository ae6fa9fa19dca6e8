"""Reading the state row that everybody obeys."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    Connection,
    select,
)

from stillsafe.core.state import Memory, State
from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.tables import (
    current_window_metrics,
    operator_actions,
    system_state,
)

_CAREFUL = (State.NORMAL, State.WARNING, State.DEGRADED)
FUTURE_TOLERANCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class StateRecord:
    """The one row that everybody obeys.

    Attributes:
        state: what to obey.
        last_updated: when the state last changed.
        reason: why it is what it is.
        severity: of the last run, or None.
        checked_at: end of the last run's window, or None before the first run.
        valid_until: from then on the monitor counts as dead, or None before the first run.
        held: whether an operator holds it.
        damaged_features: features that the fallback must not lean on.
        memory: what the next run starts from.
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
        """Whether the monitor has not run within two intervals, or never.

        A last run far in the future says nothing about now: the clock was wrong then, or is.
        """
        if self.valid_until is None or self.checked_at is None:
            return True
        return now > self.valid_until or self.checked_at > now + FUTURE_TOLERANCE


# Made once: they are asked with every answer.
_STATE = select(system_state).where(system_state.c.id == 1)
_HISTORY = [select(table.c.id).limit(1) for table in (current_window_metrics, operator_actions)]


def current_state(connection: Connection) -> StateRecord | None:
    """The current state, or None before anything was ever decided.

    Where the row contradicts its own memory, the more careful of the two is obeyed: unknown is not NORMAL.
    Who reads it in a transaction that writes does so in order to change it, and keeps others from doing so until then.

    Raises:
        StoreError: the row is damaged, or gone although something was decided.
    """
    if connection.get_execution_options().get("immediate", False):
        database.in_turn(connection, "state")
    row = connection.execute(_STATE).first()
    if row is None:
        _require_no_history(connection)
        return None
    told = stored_value(State, row.current_state)
    memory = (
        stored_value(Memory, row.memory) if row.memory is not None else _last_memory(connection) or Memory(state=told)
    )
    return StateRecord(
        max(told, memory.effective_state, key=_CAREFUL.index),
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
    """What the last run left, where somebody has written the state by hand and left its memory out."""
    table = current_window_metrics
    query = select(table.c.memory).where(table.c.memory.is_not(None)).order_by(table.c.id.desc()).limit(1)
    document = connection.execute(query).scalar()
    return None if document is None else stored_value(Memory, document)


def _require_no_history(connection: Connection) -> None:
    for anything in _HISTORY:
        if connection.execute(anything).first() is not None:
            raise StoreError(
                "The database has lost its state, though runs or actions are recorded: restore it from a backup."
            )
