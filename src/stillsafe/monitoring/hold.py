"""The operator's hold: it forces DEGRADED, whatever the evidence, until its release."""

import logging
from datetime import datetime

from sqlalchemy import Connection, Engine

from stillsafe.core.state import Hold, Memory
from stillsafe.errors import RefusedError
from stillsafe.store import database
from stillsafe.store.read.runs import last_run
from stillsafe.store.read.state import current_state
from stillsafe.store.write.decisions import record_hold, record_release

logger = logging.getLogger(__name__)


def hold(engine: Engine, *, by: str, reason: str, at: datetime) -> Memory:
    """Force DEGRADED until the release. Returns the new memory.

    Args:
        engine: the store.
        by: the operator.
        reason: recorded with the hold.
        at: the time now, aware UTC.

    Raises:
        RefusedError: a hold is in force already.
    """
    with database.writing(engine) as connection:
        memory = current_memory(connection)
        if memory.hold is not None:
            raise RefusedError(f"Held already by {memory.hold.by} since {memory.hold.at:%Y-%m-%d %H:%M:%S} UTC.")
        memory = record_hold(connection, memory, Hold(by, reason, at), _last_run_id(connection))
    _log("hold", by, reason, memory)
    return memory


def release(engine: Engine, *, by: str, reason: str, at: datetime) -> Memory:
    """End the hold, so that the evidence decides again. Arguments and result as those of `hold`.

    Raises:
        RefusedError: no hold is in force.
    """
    with database.writing(engine) as connection:
        memory = current_memory(connection)
        if memory.hold is None:
            raise RefusedError("Nothing is held.")
        memory = record_release(connection, memory, by, reason, at, _last_run_id(connection))
    _log("release", by, reason, memory)
    return memory


def current_memory(connection: Connection) -> Memory:
    """The memory of the current state; a new one before the first run or action."""
    state = current_state(connection)
    return Memory() if state is None else state.memory


def _last_run_id(connection: Connection) -> int | None:
    run = last_run(connection)
    return None if run is None else run.id


def _log(event: str, by: str, reason: str, memory: Memory) -> None:
    logger.warning(event, extra={"fields": {"by": by, "reason": reason, "state": memory.effective_state.value}})
