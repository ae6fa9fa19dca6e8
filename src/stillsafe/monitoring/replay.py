"""Recompute every stored decision from the stored windows, and these from the log: the first difference.

A decision has two halves. Readings and levels are recomputed where the run was decided by the installed version of the
rules; otherwise the stored ones are taken. Severity, state, memory and incident are folded from them for every version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import Decision, conclude, decide
from stillsafe.core.incident import IncidentEvent
from stillsafe.core.policy import RULES_VERSION, WORDING_VERSION, Policy
from stillsafe.core.schema import Schema
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.state import Hold, Memory
from stillsafe.core.window import Window
from stillsafe.errors import StoreError
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.columns import ShadowScorer
from stillsafe.monitoring.run import WindowBounds, observe, stored_columns
from stillsafe.progress import Progress, no_progress
from stillsafe.store import database
from stillsafe.store.codec import dumps, stored_value, to_document
from stillsafe.store.read.baselines import baseline_by_id
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.requests import pruned_before, refusal_count, window_row_count
from stillsafe.store.read.runs import ActionRecord, RunRecord, all_actions, all_runs
from stillsafe.store.read.state import current_state

ROWS_PRUNED = "rows of its time were pruned"
ROWS_NOT_ARCHIVED = "rows of its time were pruned, and are not in that archive"
FIRST_VERSION = 1
"""The rules and the wording of a run that does not name them: it was written before runs did."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first stored value that a recomputation contradicts.

    Attributes:
        run_id: the run, or 0 for the current state and the incidents.
        window_end: the end of its window, or `now`.
        what: the path to the value.
        stored, recomputed: the value as JSON.
    """

    run_id: int
    window_end: str
    what: str
    stored: str
    recomputed: str

    def __str__(self) -> str:
        return (
            f"Run {self.run_id} ({self.window_end}): {self.what} differs.\n"
            f"  stored:     {self.stored}\n  recomputed: {self.recomputed}"
        )


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of a replay.

    Attributes:
        runs: runs whose state was folded without a difference.
        windows: windows that were recounted from the log without a difference.
        not_recounted: run id -> why its window was not recounted.
        difference: the first one, or None.
        not_recomputed: version of the rules -> runs that it decided, whose levels were not recomputed.
    """

    runs: int
    windows: int
    not_recounted: dict[int, str]
    difference: Difference | None
    not_recomputed: dict[int, int] = field(default_factory=dict)


def replay(
    engine: Engine,
    *,
    from_logs: bool = False,
    schema: Schema | None = None,
    model_version: str | None = None,
    score: ShadowScorer | None = None,
    archive: Archive | None = None,
    progress: Progress = no_progress,
) -> ReplayResult:
    """Fold the decision over the stored runs again.

    Args:
        engine: the store.
        from_logs: recount each window from the log too.
        schema: the present one, needed for that.
        model_version: the version of the model at hand, needed for shadow scores.
        score: the model at hand, needed for shadow scores.
        archive: of pruned rows, which are counted with those in the log.
        progress: called with the number of runs that are recomputed.

    Raises:
        StoreError: the database cannot be read.
        RefusedError: the archive cannot be read.
    """
    with database.reading(engine) as connection:
        fold = _Fold(connection, all_actions(connection))
        recount = _Recount(connection, schema, model_version, score, archive) if from_logs and schema else None
        difference = None
        for run in all_runs(connection):
            difference = (recount.difference(run) if recount else None) or fold.difference(run)
            if difference is not None:
                break
            progress(f"Recomputing: {fold.runs:,} runs", None)
        difference = difference or fold.state_difference() or fold.incident_difference()
    return ReplayResult(
        fold.runs,
        recount.windows if recount else 0,
        recount.not_recounted if recount else {},
        difference,
        fold.not_recomputed,
    )


class _Fold:
    """The state and the incidents that follow from the runs so far."""

    def __init__(self, connection: Connection, actions: list[ActionRecord]) -> None:
        self.connection, self.actions = connection, actions
        self.runs = 0
        self.not_recomputed: dict[int, int] = {}
        self.memory = self._after_actions(Memory(), None)
        self.incidents: dict[str, dict[str, Any]] = {}

    def difference(self, run: RunRecord) -> Difference | None:
        """Decide one more run; the first of its columns that differs."""
        window, policy = stored_value(Window, run.window), stored_value(Policy, run.policy)
        baseline = _baseline(self.connection, run)
        rules_version = run.rules_version or FIRST_VERSION
        if rules_version == RULES_VERSION:
            decision = decide(policy, baseline, window, self.memory)
        else:
            readings = stored_value(tuple[Reading, ...], run.readings or [])
            evidence = stored_value(Evidence, run.evidence)
            decision = conclude(policy, baseline, window, self.memory, readings, evidence, rules_version)
        columns = stored_columns(window, self.memory, decision)
        if rules_version != RULES_VERSION:
            columns = {name: columns[name] for name in _FOLDED_COLUMNS}
        is_same_wording = rules_version == RULES_VERSION and run.wording_version == WORDING_VERSION
        if not is_same_wording:
            columns.pop("reason", None)
        for what, value in columns.items():
            stored_document, new_document = to_document(getattr(run, what)), to_document(value)
            if dumps(stored_document) != dumps(new_document):
                return _difference(run, what, stored_document, new_document)
        self.runs += 1
        if rules_version != RULES_VERSION:
            self.not_recomputed[rules_version] = self.not_recomputed.get(rules_version, 0) + 1
        self._add_incident(decision, is_same_wording=is_same_wording)
        self.memory = self._after_actions(decision.memory, run.id)
        return None

    def state_difference(self) -> Difference | None:
        """How the state in force differs from the one that the fold ends in."""
        state = self.memory.effective_state.value
        try:
            record = current_state(self.connection)
        except StoreError as error:
            return Difference(0, "now", "system_state", str(error), state)
        if record is None:
            is_expected = self.runs + len(self.actions) > 0
            return Difference(0, "now", "system_state", "nothing", state) if is_expected else None
        stored_document = {"state": record.state.value, "held": record.held, "memory": to_document(record.memory)}
        is_held = self.memory.hold is not None
        new_document = {"state": state, "held": is_held, "memory": to_document(self.memory)}
        return _present_difference("system_state", stored_document, new_document)

    def incident_difference(self) -> Difference | None:
        """How the stored incidents differ from those of the fold."""
        stored_document = {
            record.incident_id: {
                name: getattr(record, name) for name in self.incidents.get(record.incident_id, _INCIDENT_COLUMNS)
            }
            for record in recent_incidents(self.connection, limit=None)
        }
        return _present_difference("incidents", stored_document, self.incidents)

    def _add_incident(self, decision: Decision, *, is_same_wording: bool) -> None:
        """Apply what a decision does to the incidents. Sentences in another wording are left out."""
        incident = decision.incident
        if incident is None:
            return
        if incident.event is IncidentEvent.RESOLVED:
            columns = self.incidents[incident.incident_id]
            columns |= {"resolved": True, "resolution": incident.reason}
            changeable = "resolution"
        else:
            columns = {
                "severity": incident.severity.value,
                "trigger_signals": list(incident.trigger_signals),
                "decision_reason": incident.reason,
                "resolved": False,
                "resolution": None,
            }
            self.incidents[incident.incident_id] = columns
            changeable = "decision_reason"
        if not is_same_wording:
            del columns[changeable]

    def _after_actions(self, memory: Memory, run_id: int | None) -> Memory:
        """The memory after the operator's actions that followed a run."""
        for action in self.actions:
            if action.after_run == run_id:
                hold = Hold(action.by, action.reason, action.at) if action.action == "hold" else None
                memory = replace(memory, hold=hold)
        return memory


class _Recount:
    """The windows that were counted from the log again, and those that could not be."""

    def __init__(
        self,
        connection: Connection,
        schema: Schema,
        model_version: str | None,
        score: ShadowScorer | None,
        archive: Archive | None,
    ) -> None:
        self.connection, self.schema, self.archive = connection, schema, archive
        self.model_version, self.score = model_version, score
        self.pruned_before = pruned_before(connection)
        self.windows = 0
        self.not_recounted: dict[int, str] = {}

    def difference(self, run: RunRecord) -> Difference | None:
        """Count one more window; its first difference, if no row is missing on purpose."""
        if run.shadow and (run.model_version != self.model_version or self.score is None):
            reason = f"shadow scores need model version {run.model_version}, which is not the one at hand"
            self.not_recounted[run.id] = reason
            return None
        stored_document, new_document = run.window, to_document(self._window(run))
        if dumps(stored_document) == dumps(new_document):
            self.windows += 1
        elif self._is_pruned(run):
            self.not_recounted[run.id] = ROWS_PRUNED if self.archive is None else ROWS_NOT_ARCHIVED
        elif (run.rules_version or FIRST_VERSION) != RULES_VERSION:
            self.not_recounted[run.id] = f"rules {run.rules_version} counted it, and these rules count otherwise"
        else:
            return _difference(run, "window", stored_document, new_document)
        return None

    def _window(self, run: RunRecord) -> Window:
        bounds = WindowBounds(
            run.window_start,
            run.window_end,
            run.fresh_since,
            run.last_prediction_row or 0,
            run.last_refusal_row or 0,
        )
        version, baseline = run.model_version or "", _baseline(self.connection, run)
        score = self.score if run.shadow else None
        return observe(self.connection, self.schema, version, baseline, bounds, score, self.archive)

    def _is_pruned(self, run: RunRecord) -> bool:
        """Whether rows of a window were deleted on purpose.

        A log with as many rows of the window's time as were counted has lost none, so its rows were changed.
        """
        if self.pruned_before is None or self.pruned_before <= run.window_start:
            return False
        span = (run.window_start, run.window_end, run.model_version or "")
        rows = window_row_count(self.connection, *span, run.last_prediction_row or 0)
        refusals = refusal_count(self.connection, *span, run.last_refusal_row or 0)
        total = stored_value(Window, run.window).total
        # Without any row the silence was counted from a request before the window, which may be deleted too.
        return not (rows or refusals) or rows < total.prediction_count or refusals < total.refusal_count


def _baseline(connection: Connection, run: RunRecord) -> Baseline | None:
    return None if run.baseline_id is None else baseline_by_id(connection, run.baseline_id)


_FOLDED_COLUMNS = ("severity", "state_before", "state_after", "memory", "incident_id")
_INCIDENT_COLUMNS = ("severity", "trigger_signals", "decision_reason", "resolved", "resolution")


def _present_difference(
    what: str, stored_document: Mapping[str, Any], new_document: Mapping[str, Any]
) -> Difference | None:
    if dumps(stored_document) == dumps(new_document):
        return None
    return Difference(0, "now", *_first_unequal(what, stored_document, new_document))


def _difference(run: RunRecord, what: str, stored_document: Any, new_document: Any) -> Difference:
    return Difference(run.id, run.window_end.isoformat(), *_first_unequal(what, stored_document, new_document))


def _first_unequal(path: str, stored_document: Any, new_document: Any) -> tuple[str, str, str]:
    """Path and values of the first part that differs, so that a person sees a number and not a page."""
    if isinstance(stored_document, dict) and isinstance(new_document, dict):
        for key in sorted(stored_document.keys() | new_document.keys()):
            if dumps(stored_document.get(key)) != dumps(new_document.get(key)):
                return _first_unequal(f"{path}.{key}", stored_document.get(key), new_document.get(key))
    if isinstance(stored_document, list) and isinstance(new_document, list):
        for index, (left, right) in enumerate(zip(stored_document, new_document, strict=False)):
            if dumps(left) != dumps(right):
                return _first_unequal(f"{path}[{index}]", left, right)
    return path, dumps(stored_document), dumps(new_document)
