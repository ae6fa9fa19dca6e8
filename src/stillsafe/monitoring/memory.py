"""The memory that a run or an operator's action starts from.

It is the stored one. Where it contradicts the last run, the state's other columns, the operator's actions or the
incidents, after an edit of the database for example, the more cautious of the two counts: an edit never ends a state,
a hold or an incident. `replay` names the edit.
"""

from dataclasses import replace

from sqlalchemy import Connection

from stillsafe.core.state import Hold, Memory, Severity, State
from stillsafe.store.codec import stored_value
from stillsafe.store.read.incidents import incident_by_id, recent_incidents
from stillsafe.store.read.runs import all_actions, last_run
from stillsafe.store.read.state import StateRecord, current_state, is_more_cautious, stored_memory


def current_memory(connection: Connection, model_version: str) -> Memory:
    """The memory of a version; what it inherits before its first run, and a new one where it inherits nothing.

    Raises:
        StoreError: a memory is damaged, or has fields of a newer version.
    """
    record = current_state(connection, model_version)
    if record is None:
        return Memory()
    if record.model_version not in (model_version, None):
        return record.memory
    run = last_run(connection, record.model_version)
    memory, last_memory = record.memory, Memory() if run is None else stored_memory(run.memory) or Memory()
    hold = memory.hold or _recorded_hold(connection, record)
    if is_more_cautious(last_memory.state, memory.state):
        memory = last_memory
    memory = replace(memory, hold=hold)
    if is_more_cautious(record.state, memory.effective_state):
        memory = replace(memory, state=record.state, since=record.last_updated)
        memory = replace(memory, damaged_features=record.damaged_features)
    return memory if memory.state is State.NORMAL else _with_open_incident(connection, memory, model_version)


def _recorded_hold(connection: Connection, record: StateRecord) -> Hold | None:
    """The hold by the operator's actions, or by the state's column, where the memory has none."""
    actions = [each for each in all_actions(connection) if each.action in ("hold", "release")]
    if actions and actions[-1].action == "hold":
        return Hold(actions[-1].by, actions[-1].reason, actions[-1].at)
    return Hold("an unknown operator", record.reason, record.last_updated) if record.held else None


def _with_open_incident(connection: Connection, memory: Memory, model_version: str) -> Memory:
    """A memory of WARNING or DEGRADED with the incident that is open.

    Without one the way to recovery starts anew, and the next run opens one.
    """
    stored = None if memory.incident_id is None else incident_by_id(connection, memory.incident_id)
    if stored is not None and not stored.resolved:
        return memory
    open_incidents = recent_incidents(connection, None, unresolved_only=True)
    incident = next((each for each in open_incidents if each.model_version == model_version), None)
    memory = replace(memory, calm_runs=0, runs_without_severe=0, runs_without_advantage=0)
    if incident is None:
        return replace(memory, incident_id=None)
    severity = stored_value(Severity, incident.severity)
    return replace(memory, incident_id=incident.incident_id, incident_severity=severity)
