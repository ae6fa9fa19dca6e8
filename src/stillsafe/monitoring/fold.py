"""The states and the incidents that follow from the stored runs, decided again one by one."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import Decision, conclude, decide
from stillsafe.core.incident import IncidentEvent
from stillsafe.core.policy import RULES_VERSION, WORDING_VERSION, Policy
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.state import Hold, Memory, memory_after_release
from stillsafe.core.window import Window
from stillsafe.errors import StoreError
from stillsafe.monitoring.difference import FIRST_VERSION, Difference, complete, present_difference, run_difference
from stillsafe.monitoring.run import stored_columns
from stillsafe.store.codec import dumps, stored_value, to_document
from stillsafe.store.read.baselines import baseline_by_id, is_redacted
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.row_selection import RowMarks
from stillsafe.store.read.runs import ActionRecord, RunRecord, superseded_incidents
from stillsafe.store.read.state import StateColumns, current_state, state_columns, version_states
from stillsafe.store.write.decisions import hold_sentence, incident_columns, window_columns

SHARED_KEY = ""
"""Key of the state that all model versions shared before each had its own."""

_FOLDED_COLUMNS = ("severity", "state_before", "state_after", "memory", "incident_id", "baseline_id")
_SENTENCES = {IncidentEvent.RESOLVED: "resolution", IncidentEvent.FALLBACK_ENDED: "fallback_ended_reason"}
"""The column with the sentence of a step of an incident; of all other steps, `decision_reason`."""
_INCIDENT_COLUMNS = ("severity", "trigger_signals", "decision_reason", "resolved", "resolution", "detected_at")


class Fold:
    """The states and the incidents that follow from the runs so far.

    Each model version has a state of its own. Before versions had one, all runs changed the same state: `SHARED_KEY`.
    """

    def __init__(self, connection: Connection, actions: list[ActionRecord]) -> None:
        self.connection, self.actions = connection, actions
        self.runs = 0
        self.not_recomputed: dict[int, int] = {}
        self.memories: dict[str, Memory] = {}
        self.incidents: dict[str, dict[str, Any]] = {}
        self._action_counts: dict[str, int] = {}
        self._last_shared_version: str | None = None
        self._state_columns: dict[str, dict[str, Any]] = {}
        self._changed_at: dict[str, datetime | None] = {}

    def difference(self, run: RunRecord) -> Difference | None:
        """Decide one more run; the first of its columns that differs."""
        window, policy = stored_value(Window, run.window), stored_value(Policy, run.policy)
        baseline, memory = run_baseline(self.connection, run), self._memory_before(run)
        rules_version = run.rules_version or FIRST_VERSION
        if run.is_redacted and run.baseline_id is not None and not is_redacted(self.connection, run.baseline_id):
            return run_difference(run, "is_redacted", True, False)
        is_recomputable = rules_version == RULES_VERSION and not run.is_redacted
        if is_recomputable:
            decision = decide(policy, baseline, window, memory)
            columns = stored_columns(window, memory, decision) | _row_columns(run, window, memory)
        else:
            readings = stored_value(tuple[Reading, ...], run.readings or [])
            evidence = stored_value(Evidence, run.evidence)
            decision = conclude(policy, baseline, window, memory, readings, evidence, rules_version)
            folded_columns = stored_columns(window, memory, decision)
            columns = window_columns(window) | {name: folded_columns[name] for name in _FOLDED_COLUMNS}
            self.not_recomputed[rules_version] = self.not_recomputed.get(rules_version, 0) + 1
        is_same_wording = is_recomputable and run.wording_version == WORDING_VERSION
        if not is_same_wording:
            columns.pop("reason", None)
        for what, value in columns.items():
            stored, recomputed = complete(what, getattr(run, what)), to_document(value)
            if dumps(stored) != dumps(recomputed):
                return run_difference(run, what, stored, recomputed)
        self.runs += 1
        self._add_incident(window, decision, is_same_wording=is_same_wording)
        self._set_state(self._key(run), policy, memory, decision, is_same_wording=is_same_wording)
        self.memories[self._key(run)] = decision.memory
        if run.rows is None:
            self._last_shared_version = run.model_version
        return None

    def state_difference(self) -> Difference | None:
        """How the states in force differ from those that the fold ends in."""
        try:
            records = version_states(self.connection)
            rows = state_columns(self.connection)
            if not records:
                current_state(self.connection)  # raises where runs or actions are stored
        except StoreError as error:
            return Difference(0, "now", "system_state", str(error), "the state of the last run")
        versions = {record.model_version or "" for record in records}
        judged_versions = {key or self._last_shared_version or "" for key in self.memories}
        if missing_versions := judged_versions - versions:
            names = ", ".join(sorted(missing_versions))
            return Difference(0, "now", "system_state.model_version", ", ".join(sorted(versions)), names)
        for record, row in zip(records, rows, strict=True):
            version = record.model_version or ""
            key = (
                SHARED_KEY if version not in self.memories and version == (self._last_shared_version or "") else version
            )
            memory = self._after_actions(key, self.memories.get(key, Memory()), None)
            stored = {"held": row.held, "hold": to_document(record.memory.hold)}
            fold_values = {"held": memory.hold is not None, "hold": to_document(memory.hold)}
            if key in self.memories:
                columns = self._present_columns(key, memory)
                stored |= {"memory": row.memory and to_document(record.memory), **_columns_of(row, columns)}
                fold_values |= {"memory": to_document(memory), **columns}
            if difference := present_difference("system_state", stored, fold_values):
                return difference
        return None

    def _set_state(
        self, key: str, policy: Policy, memory: Memory, decision: Decision, *, is_same_wording: bool
    ) -> None:
        """The state row that a run leaves."""
        at = decision.memory.last_run_at
        if key not in self._changed_at or memory.effective_state is not decision.memory.effective_state:
            self._changed_at[key] = at
        seconds = policy.evidence.state_valid_intervals * policy.every_seconds
        self._state_columns[key] = {
            "severity": decision.severity.value,
            "checked_at": at,
            "valid_until": None if at is None else at + timedelta(seconds=seconds),
            "damaged_features": list(decision.damaged_features),
        }
        incident_id = decision.memory.incident_id
        reason = decision.reason if is_same_wording else None
        if incident_id is not None:
            columns = self.incidents.get(incident_id, {})
            reason = columns.get("fallback_ended_reason") or columns.get("decision_reason")
        # A run of other wording wrote its own sentences, and one of rules 1 the reason of every run.
        if is_same_wording and reason is not None:
            self._state_columns[key] |= {"reason": reason, "progress": decision.progress}

    def _present_columns(self, key: str, memory: Memory) -> dict[str, Any]:
        """The columns that the state row copies from the memory, and those that the last run has written."""
        columns = self._state_columns[key] | {"current_state": memory.effective_state.value}
        if memory.hold is not None:
            columns["reason"] = hold_sentence(memory.hold)
        changed_at = self._changed_at.get(key)
        if changed_at is not None:
            columns["last_updated"] = changed_at
        return {name: to_document(value) for name, value in columns.items()}

    def _key(self, run: RunRecord) -> str:
        return SHARED_KEY if run.rows is None else run.model_version or ""

    def _memory_before(self, run: RunRecord) -> Memory:
        """The memory that a run starts from: the last run's, or what a version's first run inherited."""
        key = self._key(run)
        if key not in self.memories and key != SHARED_KEY and self._last_shared_version == run.model_version:
            self._action_counts[key] = self._action_counts.get(SHARED_KEY, 0)
            self._changed_at[key] = self._changed_at.get(SHARED_KEY)
            memory = self.memories[SHARED_KEY]
        elif run.inherited is not None:
            memory = stored_value(Memory, run.inherited)
            self._action_counts[key] = 0
        else:
            memory = self.memories.get(key, Memory())
        return self._after_actions(key, memory, run.id)

    def _after_actions(self, key: str, memory: Memory, run_id: int | None) -> Memory:
        """The memory after the operator's actions since the last run, up to a run or to the present."""
        start = self._action_counts.get(key, 0)
        for action in self.actions[start:]:
            if run_id is not None and action.after_run is not None and action.after_run >= run_id:
                break
            self._action_counts[key] = self._action_counts.get(key, 0) + 1
            old_state = memory.effective_state
            if action.action == "hold":
                memory = replace(memory, hold=Hold(action.by, action.reason, action.at))
            elif action.action == "release":
                memory = memory_after_release(memory)
            self._note_action(key, action, is_change=old_state is not memory.effective_state)
        return memory

    def _note_action(self, key: str, action: ActionRecord, *, is_change: bool) -> None:
        """An action writes a reason of its own. When the state changed is unknown after runs were discarded."""
        if key not in self.memories or action.action == "discard":
            self._changed_at[key] = None
        elif is_change:
            self._changed_at[key] = action.at
        for name in ("reason", "progress"):
            self._state_columns.get(key, {}).pop(name, None)

    def incident_difference(self) -> Difference | None:
        """How the stored incidents differ from those of the fold, except the ones whose runs were all discarded."""
        discarded_ids = superseded_incidents(self.connection)
        stored = {
            record.incident_id: {
                name: to_document(getattr(record, name))
                for name in self.incidents.get(record.incident_id, _INCIDENT_COLUMNS)
            }
            for record in recent_incidents(self.connection, limit=None)
            if record.incident_id in self.incidents or record.incident_id not in discarded_ids
        }
        return present_difference("incidents", stored, self.incidents)

    def _add_incident(self, window: Window, decision: Decision, *, is_same_wording: bool) -> None:
        """Apply what a decision does to the incidents. Sentences in another wording are left out."""
        incident = decision.incident
        if incident is None:
            return
        columns = self.incidents.get(incident.incident_id, {}) | incident_columns(incident)
        if incident.event is IncidentEvent.OPENED:
            columns |= {"model_version": window.model_version, "baseline_id": decision.memory.baseline_id}
        if not is_same_wording:
            columns.pop(_SENTENCES.get(incident.event, "decision_reason"))
        self.incidents[incident.incident_id] = {name: to_document(value) for name, value in columns.items()}


def _row_columns(run: RunRecord, window: Window, memory: Memory) -> dict[str, Any]:
    """The columns of a run that say which rows it read, as its documents have them."""
    marks = {table: stored_value(RowMarks, (run.rows or {}).get(table) or {}) for table in ("predictions", "refusals")}
    return {
        "late_count": window.late_count,
        "expired_count": window.expired_count,
        "last_prediction_row": marks["predictions"].settled_to,
        "last_refusal_row": marks["refusals"].settled_to,
        "fresh_since": memory.last_conclusive_at,
    }


def _columns_of(row: StateColumns, names: Iterable[str]) -> dict[str, Any]:
    """Stored columns as plain JSON; a column of an older release that has no value counts as empty."""
    empty = {"damaged_features": [], "progress": ""}
    values = {name: getattr(row, name) for name in names}
    return {name: to_document(empty.get(name) if value is None else value) for name, value in values.items()}


def run_baseline(connection: Connection, run: RunRecord) -> Baseline | None:
    """The baseline that a run compared its window with."""
    return None if run.baseline_id is None else baseline_by_id(connection, run.baseline_id)
