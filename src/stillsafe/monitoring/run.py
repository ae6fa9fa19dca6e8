"""One monitoring run, and the operator's hold: all that ever changes the state.

Settings and clock are read once, by the caller. One transaction writes window, readings, memory, state and
incident together, so a run that dies has never happened, and the next one goes on where the last one ended.
"""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import Decision, decide
from stillsafe.core.incident import IncidentEvent
from stillsafe.core.schema import Schema
from stillsafe.core.state import Hold, Memory
from stillsafe.core.window import Window
from stillsafe.errors import RefusedError, RunRefused
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.columns import Columns, Gathered, Scorer, columns, shadow_scored, tally
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.requests import (
    RequestTable,
    WindowRows,
    last_prediction_row,
    last_refusal_row,
    last_request_at,
    refusal_count,
    request_ids,
    window_batches,
)
from stillsafe.store.read.runs import last_run, run_at
from stillsafe.store.read.state import current_state
from stillsafe.store.write.decisions import decision_columns, record_hold, record_release, record_run, window_columns

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """How a start of the monitor ended, when it did not fail."""

    DONE = "done"
    ALREADY_DONE = "already done"
    BUSY = "another run is under way"


@dataclass(frozen=True, slots=True)
class Run:
    """What one start of the monitor did. `decision` and `window` are None unless it was DONE."""

    outcome: Outcome
    run_id: int | None = None
    before: Memory | None = None
    window: Window | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which rows of the log a window is made of; stored with the run, so that it can be made again.

    Attributes:
        start, end: by timestamp, half open.
        fresh_since: rows before it were judged by an earlier run.
        last_prediction_row, last_refusal_row: by id, so that rows that came later stay out.
    """

    start: datetime
    end: datetime
    fresh_since: datetime | None
    last_prediction_row: int
    last_refusal_row: int


def run(engine: Engine, settings: Settings, *, now: datetime, score: Scorer | None) -> Run:
    """Judge the window that ends now.

    Two at once are safe: the second does nothing and says so. The same `now` twice is judged once.

    Args:
        engine: the store.
        settings: the service.
        now: the window's end, aware UTC.
        score: scores bypassed rows off the client path, or None where the log does not hold what the model needs.

    Raises:
        RunRefused: `now` lies before the last run.
        StoreError: nothing was written.
    """
    with database.alone(engine, "monitor") as alone:
        if not alone:
            return Run(Outcome.BUSY)
        with database.reading(engine) as connection:
            if run_at(connection, now) is not None:
                return Run(Outcome.ALREADY_DONE)
            memory = _memory(connection)
            _refuse_the_past(memory, now)
            bounds = _bounds(connection, settings, memory, now)
            baseline = active_baseline(connection, settings.model.version)
            window = observe(connection, settings.schema_of_features, settings.model.version, baseline, bounds, score)
        return _conclude(engine, settings, baseline, window, bounds)


def observe(
    connection: Connection,
    schema: Schema,
    model_version: str,
    baseline: Baseline | None,
    bounds: Bounds,
    score: Scorer | None,
    archived: Archive | None = None,
) -> Window:
    """The window within the bounds, counted from the log, and from an archive of what was pruned from it."""
    fresh_since = max(bounds.start, bounds.fresh_since or bounds.start)
    gathered, shadow = Gathered(schema), False
    for rows, part in _parts(_batches(connection, model_version, bounds, fresh_since, archived), schema):
        if score is not None and bool((part.fallback_used & ~part.model_errors).any()):
            part, shadow = shadow_scored(part, rows.input_summaries, schema, score), True
        gathered.add(part)
    found = gathered.columns()
    refused = [
        _refusal_count(connection, since, bounds, model_version, archived) for since in (bounds.start, fresh_since)
    ]
    last = last_request_at(connection, bounds.end, bounds.last_prediction_row, bounds.last_refusal_row)
    if archived is not None:
        last = archived.last_request_at(last, bounds.end, bounds.last_prediction_row, bounds.last_refusal_row)
    total = tally(found, baseline, refused[0])
    all_fresh = bool(found.fresh.all())
    fresh = replace(total, refusal_count=refused[1]) if all_fresh else tally(found, baseline, refused[1], found.fresh)
    return Window(
        bounds.start,
        bounds.end,
        model_version,
        total=total,
        fresh=fresh,
        shadow=shadow,
        silent_seconds=None if last is None else (bounds.end - last).total_seconds(),
    )


def stored_columns(window: Window, before: Memory, decision: Decision) -> dict[str, Any]:
    """What a run writes into the columns of its row, so that a replay can compare each of them."""
    return {**window_columns(window), **decision_columns(before, decision)}


def hold(engine: Engine, *, by: str, reason: str, at: datetime) -> Memory:
    """Force DEGRADED until released.

    Raises:
        RefusedError: it is held already.
    """
    with database.writing(engine) as connection:
        memory = _memory(connection)
        if memory.hold is not None:
            raise RefusedError(f"Held already by {memory.hold.by} since {memory.hold.at:%Y-%m-%d %H:%M:%S} UTC.")
        held = record_hold(connection, memory, Hold(by, reason, at), _last_run_id(connection))
    logger.warning("hold", extra={"fields": {"by": by, "reason": reason, "state": held.effective_state.value}})
    return held


def release(engine: Engine, *, by: str, reason: str, at: datetime) -> Memory:
    """End the hold: the evidence decides again.

    Raises:
        RefusedError: nothing is held.
    """
    with database.writing(engine) as connection:
        memory = _memory(connection)
        if memory.hold is None:
            raise RefusedError("Nothing is held.")
        released = record_release(connection, memory, by, reason, at, _last_run_id(connection))
    logger.warning("release", extra={"fields": {"by": by, "reason": reason, "state": released.effective_state.value}})
    return released


def _conclude(engine: Engine, settings: Settings, baseline: Baseline | None, window: Window, bounds: Bounds) -> Run:
    """Decide and write, on the memory as it is now: an operator may have acted while the window was counted."""
    with database.writing(engine) as connection:
        before = _memory(connection)
        decision = decide(settings.policy, baseline, window, before)
        seen = {
            "last_prediction_row": bounds.last_prediction_row,
            "last_refusal_row": bounds.last_refusal_row,
            "fresh_since": bounds.fresh_since,
        }
        enforced = settings.service.mode == "enforce"
        run_id = record_run(connection, settings.policy, window, before, decision, seen, enforced=enforced)
    _tell(run_id, window, before, decision)
    return Run(Outcome.DONE, run_id, before, window, decision)


def _parts(batches: Iterator[WindowRows], schema: Schema) -> Iterator[tuple[WindowRows, Columns]]:
    """Rows with their columns."""
    while True:
        with _uncollected():
            rows = next(batches, None)
            part = None if rows is None else columns(rows, schema)
        if rows is None or part is None:
            return
        yield rows, part


@contextmanager
def _uncollected() -> Iterator[None]:
    """Values come by the thousand and form no cycles: to search them for some would take a tenth of a run's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _batches(
    connection: Connection, model_version: str, bounds: Bounds, fresh_since: datetime, archived: Archive | None
) -> Iterator[WindowRows]:
    """The window's rows, some at a time: first the log's, then those that are in the archive alone."""
    stretch = (bounds.start, bounds.end, fresh_since, model_version, bounds.last_prediction_row)
    known: set[int] = set()
    for rows in window_batches(connection, *stretch, with_ids=archived is not None):
        known.update(rows.ids)
        yield rows
    if archived is not None:
        yield archived.window_rows(*stretch, known)


def _refusal_count(
    connection: Connection, since: datetime, bounds: Bounds, model_version: str, archived: Archive | None
) -> int:
    if archived is None:
        return refusal_count(connection, since, bounds.end, model_version, bounds.last_refusal_row)
    ids = request_ids(connection, RequestTable.REFUSALS, since, bounds.end, model_version)
    ids += archived.refusal_ids(since, bounds.end, model_version)
    return sum(each <= bounds.last_refusal_row for each in set(ids))


def _bounds(connection: Connection, settings: Settings, memory: Memory, now: datetime) -> Bounds:
    return Bounds(
        start=now - timedelta(seconds=settings.policy.window_seconds),
        end=now,
        fresh_since=memory.last_conclusive_at,
        last_prediction_row=last_prediction_row(connection),
        last_refusal_row=last_refusal_row(connection),
    )


def _memory(connection: Connection) -> Memory:
    state = current_state(connection)
    return Memory() if state is None else state.memory


def _last_run_id(connection: Connection) -> int | None:
    last = last_run(connection)
    return None if last is None else last.id


def _refuse_the_past(memory: Memory, now: datetime) -> None:
    if memory.last_run_at is not None and now < memory.last_run_at:
        raise RunRefused(
            f"The last run judged up to {memory.last_run_at.isoformat()}, and it is only {now.isoformat()} now: "
            "runs go forward in time. Check the clock, or --now."
        )


def _tell(run_id: int, window: Window, before: Memory, decision: Decision) -> None:
    fields = {
        "run": run_id,
        "window_end": window.end.isoformat(),
        "predictions": window.total.prediction_count,
        "fresh": window.fresh.prediction_count,
        "evidence": decision.evidence.value,
        "severity": decision.severity.value,
        "state_before": before.effective_state.value,
        "state_after": decision.memory.effective_state.value,
        "reason": decision.reason,
    }
    logger.info("run", extra={"fields": fields})
    if decision.incident is not None:
        level = logging.INFO if decision.incident.event is IncidentEvent.RESOLVED else logging.WARNING
        event = "recovery" if decision.incident.event is IncidentEvent.RESOLVED else "incident"
        told = {"incident": decision.incident.incident_id, "event_kind": decision.incident.event.value}
        logger.log(level, event, extra={"fields": told | {"reason": decision.reason}})
