"""Recompute every stored decision from the stored metrics, and those from the log: name the first difference."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import Decision, decide
from stillsafe.core.incident import IncidentEvent
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Schema
from stillsafe.core.state import Hold, Memory
from stillsafe.core.window import Window
from stillsafe.errors import StoreError
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.columns import Scorer
from stillsafe.monitoring.run import Bounds, observe, stored_columns
from stillsafe.store import database
from stillsafe.store.codec import dumps, stored_value, to_document
from stillsafe.store.read.baselines import baseline_by_id
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.requests import pruned_before, refusal_count, window_row_count
from stillsafe.store.read.runs import ActionRecord, RunRecord, all_actions, all_runs
from stillsafe.store.read.state import current_state

PRUNED = "rows of its time were pruned"
PRUNED_AND_NOT_ARCHIVED = "rows of its time were pruned, and are not in that archive"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that does not recompute."""

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
class Replayed:
    """What a replay found.

    Attributes:
        runs: decisions recomputed.
        windows: windows recounted from the log.
        not_recounted: run id -> why its window could not be recounted.
        difference: the first one, or None.
    """

    runs: int
    windows: int
    not_recounted: dict[int, str]
    difference: Difference | None


def replay(
    engine: Engine,
    *,
    from_logs: bool = False,
    schema: Schema | None = None,
    model_version: str | None = None,
    score: Scorer | None = None,
    archived: Archive | None = None,
    progress: Callable[[int], None] | None = None,
) -> Replayed:
    """Fold `decide` over the stored runs again.

    Args:
        engine: the store.
        from_logs: also recount each window from the log.
        schema: today's, needed for that.
        model_version: the version at hand, needed for shadow scores.
        score: the model at hand, needed for shadow scores.
        archived: where pruned rows went, to be counted with those in the log.
        progress: called with the number of runs done.

    Raises:
        StoreError: the database cannot be read.
        RefusedError: the archive cannot be read.
    """
    runs = windows = 0
    skipped: dict[int, str] = {}
    incidents: dict[str, dict[str, Any]] = {}
    with database.reading(engine) as connection:
        actions = all_actions(connection)
        pruned_up_to = pruned_before(connection)
        memory = _acted(Memory(), None, actions)
        for stored in all_runs(connection):
            if from_logs and schema is not None:
                why_not = _not_recountable(stored, model_version, score)
                if why_not:
                    skipped[stored.id] = why_not
                elif difference := _recount(connection, stored, schema, score, archived):
                    if not _pruned(connection, stored, pruned_up_to):
                        return Replayed(runs, windows, skipped, difference)
                    skipped[stored.id] = PRUNED if archived is None else PRUNED_AND_NOT_ARCHIVED
                else:
                    windows += 1
            window = stored_value(Window, stored.window)
            policy = stored_value(Policy, stored.policy)
            decision = decide(policy, _baseline(connection, stored), window, memory)
            difference = next(_differences(stored, window, memory, decision), None)
            if difference is not None:
                return Replayed(runs, windows, skipped, difference)
            runs += 1
            _follow(incidents, decision)
            memory = _acted(decision.memory, stored.id, actions)
            if progress is not None:
                progress(runs)
        difference = _present(connection, memory, runs + len(actions)) or _history(connection, incidents)
    return Replayed(runs, windows, skipped, difference)


def _baseline(connection: Connection, stored: RunRecord) -> Baseline | None:
    return None if stored.baseline_id is None else baseline_by_id(connection, stored.baseline_id)


def _differences(stored: RunRecord, window: Window, before: Memory, decision: Decision) -> Iterator[Difference]:
    for what, again in stored_columns(window, before, decision).items():
        kept = to_document(getattr(stored, what))
        if dumps(kept) != dumps(to_document(again)):
            yield _difference(stored, what, kept, to_document(again))


def _recount(
    connection: Connection, stored: RunRecord, schema: Schema, score: Scorer | None, archived: Archive | None
) -> Difference | None:
    bounds = Bounds(
        stored.window_start,
        stored.window_end,
        stored.fresh_since,
        stored.last_prediction_row or 0,
        stored.last_refusal_row or 0,
    )
    again = observe(
        connection,
        schema,
        stored.model_version or "",
        _baseline(connection, stored),
        bounds,
        score if stored.shadow else None,
        archived,
    )
    kept = stored.window
    recounted = to_document(again)
    return None if dumps(kept) == dumps(recounted) else _difference(stored, "window", kept, recounted)


def _not_recountable(stored: RunRecord, model_version: str | None, score: Scorer | None) -> str:
    if stored.shadow and (stored.model_version != model_version or score is None):
        return f"shadow scores need model version {stored.model_version}, which is not the one at hand"
    return ""


def _pruned(connection: Connection, stored: RunRecord, pruned_before: datetime | None) -> bool:
    """Whether a window that does not recount lacks rows which were deleted on purpose.

    A log that holds as many rows of the window's time as were counted has lost none: what differs was changed.
    """
    if pruned_before is None or pruned_before <= stored.window_start:
        return False
    start, end, version = stored.window_start, stored.window_end, stored.model_version or ""
    rows = window_row_count(connection, start, end, version, stored.last_prediction_row or 0)
    refused = refusal_count(connection, start, end, version, stored.last_refusal_row or 0)
    total = stored_value(Window, stored.window).total
    nothing_left = not rows and not refused  # then silence was counted from a request before the window
    return nothing_left or rows < total.prediction_count or refused < total.refusal_count


def _acted(memory: Memory, after_run: int | None, actions: list[ActionRecord]) -> Memory:
    """The memory after the operator's actions that followed a run."""
    for action in actions:
        if action.after_run == after_run:
            hold = Hold(action.by, action.reason, action.at) if action.action == "hold" else None
            memory = replace(memory, hold=hold)
    return memory


def _present(connection: Connection, memory: Memory, decided: int) -> Difference | None:
    """Whether the state that everybody obeys is the one that the fold ends in."""
    try:
        now = current_state(connection)
    except StoreError as error:
        return Difference(0, "now", "system_state", str(error), memory.effective_state.value)
    if now is None:
        return Difference(0, "now", "system_state", "nothing", memory.effective_state.value) if decided else None
    stored = {"state": now.state.value, "held": now.held, "memory": to_document(now.memory)}
    again = {
        "state": memory.effective_state.value,
        "held": memory.hold is not None,
        "memory": to_document(memory),
    }
    return _unlike("system_state", stored, again)


def _follow(incidents: dict[str, dict[str, Any]], decision: Decision) -> None:
    """What a decision makes of the incidents."""
    incident = decision.incident
    if incident is None:
        return
    if incident.event is IncidentEvent.RESOLVED:
        incidents[incident.incident_id] |= {"resolved": True, "resolution": incident.reason}
        return
    incidents[incident.incident_id] = {
        "severity": incident.severity.value,
        "trigger_signals": list(incident.trigger_signals),
        "decision_reason": incident.reason,
        "resolved": False,
        "resolution": None,
    }


def _history(connection: Connection, incidents: dict[str, dict[str, Any]]) -> Difference | None:
    """Whether the incidents are the ones that the fold makes."""
    kept = {
        record.incident_id: {name: getattr(record, name) for name in _INCIDENT_COLUMNS}
        for record in recent_incidents(connection, limit=None)
    }
    return _unlike("incidents", kept, incidents)


def _unlike(what: str, kept: Any, again: Any) -> Difference | None:
    if dumps(kept) == dumps(again):
        return None
    path, left, right = _smallest(what, kept, again)
    return Difference(0, "now", path, left, right)


_INCIDENT_COLUMNS = ("severity", "trigger_signals", "decision_reason", "resolved", "resolution")


def _difference(stored: RunRecord, what: str, kept: Any, again: Any) -> Difference:
    what, left, right = _smallest(what, kept, again)
    return Difference(stored.id, stored.window_end.isoformat(), what, left, right)


def _smallest(path: str, kept: Any, again: Any) -> tuple[str, str, str]:
    """Descend to the first part that differs, so that a person sees a number and not a page."""
    if isinstance(kept, dict) and isinstance(again, dict):
        for key in sorted(kept.keys() | again.keys()):
            if dumps(kept.get(key)) != dumps(again.get(key)):
                return _smallest(f"{path}.{key}", kept.get(key), again.get(key))
    if isinstance(kept, list) and isinstance(again, list):
        for index, (left, right) in enumerate(zip(kept, again, strict=False)):
            if dumps(left) != dumps(right):
                return _smallest(f"{path}[{index}]", left, right)
    return path, dumps(kept), dumps(again)
