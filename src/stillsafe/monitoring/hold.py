"""The operator's hold: it forces DEGRADED, whatever the evidence, until its release."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.decide import conclude
from stillsafe.core.evidence.time_text import exact_time_text, time_text
from stillsafe.core.incident import Incident
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.state import Hold, Memory, memory_after_release
from stillsafe.core.window import Window
from stillsafe.errors import RefusedError
from stillsafe.logs import LogEvent, log_event
from stillsafe.monitoring.alerts import action_alert, append_alerts
from stillsafe.monitoring.memory import current_memory
from stillsafe.monitoring.run_log import log_state_change, version_fields
from stillsafe.settings import Settings
from stillsafe.settings_alerts import AlertEvent
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.read.baselines import baseline_by_id
from stillsafe.store.read.runs import last_run, run_before, runs_after, runs_of_incident
from stillsafe.store.read.state import version_states
from stillsafe.store.write.decisions import record_discard, record_hold, record_release, restore_incident

logger = logging.getLogger(__name__)


def hold(
    engine: Engine, model_version: str, *, by: str, reason: str, at: datetime, settings: Settings | None = None
) -> Memory:
    """Force DEGRADED for every model version until the release. Returns the new memory of the named version.

    Args:
        engine: the store.
        model_version: the version at hand: it is held even where it has no state yet.
        by: the operator.
        reason: recorded with the hold.
        at: the time now, aware UTC.
        settings: of the service, whose receivers get an alert with the next run; None for none.

    Raises:
        RefusedError: a hold is in force already.
    """
    with database.writing(engine) as connection:
        memories = _memories(connection, model_version)
        memory = memories[model_version]
        if memory.hold is not None:
            raise RefusedError(f"Held already by {memory.hold.by} since {time_text(memory.hold.at)}.")
        record_hold(connection, memories, Hold(by, reason, at), _last_run_id(connection))
        memory = current_memory(connection, model_version)
        _append_alert(connection, settings, AlertEvent.HOLD, Hold(by, reason, at), memory)
    held = {version: replace(each, hold=memory.hold) for version, each in memories.items()}
    _log(engine, LogEvent.HOLD, Hold(by, reason, at), model_version, (memories, held))
    return memory


def release(
    engine: Engine, model_version: str, *, by: str, reason: str, at: datetime, settings: Settings | None = None
) -> Memory:
    """End the hold, so that the evidence decides again; without one, end what labels have made DEGRADED.

    Arguments and result as those of `hold`.

    Raises:
        RefusedError: no hold is in force, and labels do not make the state DEGRADED.
    """
    with database.writing(engine) as connection:
        memories = _memories(connection, model_version)
        if memory_after_release(memories[model_version]) == memories[model_version]:
            raise RefusedError("Nothing is held.")
        record_release(connection, memories, Hold(by, reason, at), _last_run_id(connection))
        memory = current_memory(connection, model_version)
        _append_alert(connection, settings, AlertEvent.RELEASE, Hold(by, reason, at), memory)
    free_memories = {version: memory_after_release(each) for version, each in memories.items()}
    _log(engine, LogEvent.RELEASE, Hold(by, reason, at), model_version, (memories, free_memories))
    return memory


def discard_after(
    engine: Engine, model_version: str, *, time: datetime, by: str, reason: str, at: datetime
) -> list[int]:
    """Supersede the runs of one version whose windows end after a time, on record; the rows are judged again.

    It is the way back from runs that a wrong clock has made. Nothing is deleted.

    Args:
        engine: the store.
        model_version: whose runs.
        time: runs whose windows end after it are superseded.
        by: the operator.
        reason: recorded with the runs.
        at: the time now, aware UTC.

    Returns:
        The ids of the superseded runs.

    Raises:
        RefusedError: there is no such run.
    """
    with database.writing(engine) as connection:
        runs = runs_after(connection, model_version, time)
        if not runs:
            raise RefusedError(f"Version {model_version} has no run whose window ends after {exact_time_text(time)}.")
        memory = current_memory(connection, model_version)
        earlier = run_before(connection, model_version, runs[0].id)
        start = runs[0].inherited if earlier is None else earlier.memory
        restored_memory = replace(stored_value(Memory, start or {}), hold=memory.hold)
        action = Hold(by, reason, at)
        steps = _steps_before(connection, model_version, runs[0].id, restored_memory.incident_id)
        if steps:
            restore_incident(connection, steps)
        record_discard(connection, runs, earlier, (memory, restored_memory), action, _last_run_id(connection))
    memories = {model_version: memory}, {model_version: restored_memory}
    _log(engine, LogEvent.DISCARD, Hold(by, reason, at), model_version, memories, len(runs))
    return [run.id for run in runs]


def _steps_before(connection: Connection, model_version: str, run_id: int, incident_id: str | None) -> list[Incident]:
    """What the runs before another one had done to an incident, oldest first."""
    steps = []
    for run in runs_of_incident(connection, model_version, incident_id or "", run_id):
        start = run_before(connection, model_version, run.id)
        memory = stored_value(Memory, (run.inherited if start is None else start.memory) or {})
        decision = conclude(
            stored_value(Policy, run.policy),
            None if run.baseline_id is None else baseline_by_id(connection, run.baseline_id),
            stored_value(Window, run.window),
            memory,
            stored_value(tuple[Reading, ...], run.readings or []),
            stored_value(Evidence, run.evidence),
            run.rules_version or 1,
        )
        steps += [decision.incident] if decision.incident is not None else []
    return steps


def _memories(connection: Connection, model_version: str) -> dict[str | None, Memory]:
    """The memory of each version, the version at hand included."""
    versions = [record.model_version or model_version for record in version_states(connection)]
    return {version: current_memory(connection, version) for version in dict.fromkeys((*versions, model_version))}


def _last_run_id(connection: Connection) -> int | None:
    run = last_run(connection)
    return None if run is None else run.id


def _log(
    engine: Engine,
    event: LogEvent,
    action: Hold,
    model_version: str,
    memories: tuple[Mapping[Any, Memory], Mapping[Any, Memory]],
    run_count: int | None = None,
) -> None:
    """Log an action for the version at hand, and each version whose state it changed.

    Args:
        engine: of the service.
        event: the action.
        action: who and why.
        model_version: the version at hand.
        memories: of each version, before and after the action.
        run_count: how many runs the action superseded.
    """
    service = engine.get_execution_options().get("service")
    old_memories, new_memories = memories
    for version, memory in new_memories.items():
        old_memory = old_memories[version]
        fields = version_fields(service, version or model_version) | {
            "state_before": old_memory.effective_state.value,
            "state_after": memory.effective_state.value,
            "incident": memory.incident_id,
            "reason": action.reason,
        }
        if version == model_version:
            state = memory.effective_state.value
            log_event(logger, event, fields | {"by": action.by, "state": state, "runs": run_count})
        log_state_change(logger, fields, old_memory, memory)


def _append_alert(
    connection: Connection, settings: Settings | None, event: AlertEvent, action: Hold, memory: Memory
) -> None:
    if settings is not None:
        append_alerts(connection, settings, [action_alert(settings, event, action, memory.effective_state.value)])
