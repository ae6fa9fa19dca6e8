"""One monitoring run: it evaluates a window and writes the state that follows.

The caller reads settings and clock once. One transaction writes window, readings, memory, state and incident together,
so a killed run leaves nothing behind, and the next run starts where the last complete one ended.
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
from stillsafe.core.state import Memory
from stillsafe.core.window import Window
from stillsafe.errors import RunRefused
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.columns import ColumnBuilder, Columns, ShadowScorer, read_columns, with_shadow_scores
from stillsafe.monitoring.hold import current_memory
from stillsafe.monitoring.tally import tally
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
from stillsafe.store.read.runs import run_at
from stillsafe.store.write.decisions import decision_columns, record_run, window_columns

logger = logging.getLogger(__name__)


class RunOutcome(StrEnum):
    """How one start of the monitor ended, unless it failed."""

    SUCCESS = "done"
    """The window was evaluated and the decision written."""
    ALREADY_DONE = "already done"
    """A run with this window end is stored, so nothing was done."""
    BUSY = "another run is under way"
    """Another process has the monitor's lock, so nothing was done."""


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one start of the monitor. All fields after `outcome` are None unless the outcome is SUCCESS.

    Attributes:
        outcome: how it ended.
        run_id: the run's row.
        old_memory: the memory from which it started.
        window: what was evaluated.
        decision: what follows from it.
    """

    outcome: RunOutcome
    run_id: int | None = None
    old_memory: Memory | None = None
    window: Window | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class WindowBounds:
    """Which rows of the log belong to a window; stored with the run, so that a replay counts the same rows.

    Attributes:
        start, end: by timestamp, half open.
        fresh_since: timestamp before which the last conclusive run evaluated the rows, or None.
        last_prediction_row, last_refusal_row: by row id, so that rows written after the run are excluded.
    """

    start: datetime
    end: datetime
    fresh_since: datetime | None
    last_prediction_row: int
    last_refusal_row: int

    @property
    def fresh_start(self) -> datetime:
        """Timestamp from which rows of the window are fresh."""
        return max(self.start, self.fresh_since or self.start)


def run(engine: Engine, settings: Settings, *, now: datetime, score: ShadowScorer | None) -> Run:
    """Evaluate the window that ends now.

    Of two runs at once the second does nothing. A window end that is stored already is not evaluated again.

    Args:
        engine: the store.
        settings: the service.
        now: the window's end, aware UTC.
        score: scores bypassed rows, or None where the log lacks features that the model needs.

    Raises:
        RunRefused: `now` is before the last run.
        StoreError: the store failed, and nothing was written.
    """
    with database.try_lock(engine, "monitor") as owns_lock:
        if not owns_lock:
            return Run(RunOutcome.BUSY)
        with database.reading(engine) as connection:
            if run_at(connection, now) is not None:
                return Run(RunOutcome.ALREADY_DONE)
            memory = current_memory(connection)
            _require_later(memory, now)
            bounds = _bounds(connection, settings, memory, now)
            baseline = active_baseline(connection, settings.model.version)
            window = observe(connection, settings.schema_of_features, settings.model.version, baseline, bounds, score)
        return _conclude(engine, settings, baseline, window, bounds)


def observe(
    connection: Connection,
    schema: Schema,
    model_version: str,
    baseline: Baseline | None,
    bounds: WindowBounds,
    score: ShadowScorer | None,
    archive: Archive | None = None,
) -> Window:
    """Count the window within the bounds, from the log and from an archive of pruned rows."""
    builder, shadow = ColumnBuilder(schema), False
    for rows, batch in _columns(_batches(connection, model_version, bounds, archive), schema):
        if score is not None and bool((batch.fallback_used & ~batch.model_errors).any()):
            batch, shadow = with_shadow_scores(batch, rows.input_summaries, schema, score), True
        builder.add(batch)
    columns = builder.columns()
    refusals, fresh_refusals = (
        _refusal_count(connection, since, bounds, model_version, archive)
        for since in (bounds.start, bounds.fresh_start)
    )
    last_at = last_request_at(connection, bounds.end, bounds.last_prediction_row, bounds.last_refusal_row)
    if archive is not None:
        last_at = archive.last_request_at(last_at, bounds.end, bounds.last_prediction_row, bounds.last_refusal_row)
    total, is_fresh = tally(columns, baseline, refusals), columns.fresh
    return Window(
        bounds.start,
        bounds.end,
        model_version,
        total=total,
        fresh=replace(total, refusal_count=fresh_refusals)
        if is_fresh.all()
        else tally(columns, baseline, fresh_refusals, is_fresh),
        shadow=shadow,
        silent_seconds=None if last_at is None else (bounds.end - last_at).total_seconds(),
    )


def stored_columns(window: Window, old_memory: Memory, decision: Decision) -> dict[str, Any]:
    """The columns of a run's row that follow from its window, so that a replay can compare each of them."""
    return {**window_columns(window), **decision_columns(old_memory, decision)}


def _conclude(
    engine: Engine, settings: Settings, baseline: Baseline | None, window: Window, bounds: WindowBounds
) -> Run:
    """Decide and write. An operator may act while the window is counted, so the memory is read again."""
    with database.writing(engine) as connection:
        old_memory = current_memory(connection)
        decision = decide(settings.policy, baseline, window, old_memory)
        row_bounds = {
            "last_prediction_row": bounds.last_prediction_row,
            "last_refusal_row": bounds.last_refusal_row,
            "fresh_since": bounds.fresh_since,
        }
        enforce = settings.service.mode == "enforce"
        run_id = record_run(connection, settings.policy, window, old_memory, decision, row_bounds, enforce=enforce)
    _log(run_id, window, old_memory, decision)
    return Run(RunOutcome.SUCCESS, run_id, old_memory, window, decision)


def _columns(batches: Iterator[WindowRows], schema: Schema) -> Iterator[tuple[WindowRows, Columns]]:
    """Each batch of rows with its columns."""
    while True:
        with _without_cycle_collection():
            rows = next(batches, None)
            columns = None if rows is None else read_columns(rows, schema)
        if rows is None or columns is None:
            return
        yield rows, columns


@contextmanager
def _without_cycle_collection() -> Iterator[None]:
    """The values of rows are many and form no cycles, so the cycle collector would waste a tenth of a run's time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _batches(
    connection: Connection, model_version: str, bounds: WindowBounds, archive: Archive | None
) -> Iterator[WindowRows]:
    """The window's rows in batches: first those of the log, then those that only the archive has."""
    selection = (bounds.start, bounds.end, bounds.fresh_start, model_version, bounds.last_prediction_row)
    log_ids: set[int] = set()
    for rows in window_batches(connection, *selection, with_ids=archive is not None):
        log_ids.update(rows.ids)
        yield rows
    if archive is not None:
        yield archive.window_rows(*selection, log_ids)


def _refusal_count(
    connection: Connection, since: datetime, bounds: WindowBounds, model_version: str, archive: Archive | None
) -> int:
    if archive is None:
        return refusal_count(connection, since, bounds.end, model_version, bounds.last_refusal_row)
    ids = request_ids(connection, RequestTable.REFUSALS, since, bounds.end, model_version)
    ids += archive.refusal_ids(since, bounds.end, model_version)
    return sum(row_id <= bounds.last_refusal_row for row_id in set(ids))


def _bounds(connection: Connection, settings: Settings, memory: Memory, now: datetime) -> WindowBounds:
    return WindowBounds(
        start=now - timedelta(seconds=settings.policy.window_seconds),
        end=now,
        fresh_since=memory.last_conclusive_at,
        last_prediction_row=last_prediction_row(connection),
        last_refusal_row=last_refusal_row(connection),
    )


def _require_later(memory: Memory, now: datetime) -> None:
    if memory.last_run_at is not None and now < memory.last_run_at:
        raise RunRefused(
            f"The last run's window ended at {memory.last_run_at.isoformat()}, after the time now "
            f"({now.isoformat()}): runs go forward in time. Check the clock, or --now."
        )


def _log(run_id: int, window: Window, old_memory: Memory, decision: Decision) -> None:
    fields = {
        "run": run_id,
        "window_end": window.end.isoformat(),
        "predictions": window.total.prediction_count,
        "fresh": window.fresh.prediction_count,
        "evidence": decision.evidence.value,
        "severity": decision.severity.value,
        "state_before": old_memory.effective_state.value,
        "state_after": decision.memory.effective_state.value,
        "reason": decision.reason,
    }
    logger.info("run", extra={"fields": fields})
    incident = decision.incident
    if incident is not None:
        level, event = (
            (logging.INFO, "recovery") if incident.event is IncidentEvent.RESOLVED else (logging.WARNING, "incident")
        )
        fields = {"incident": incident.incident_id, "event_kind": incident.event.value, "reason": decision.reason}
        logger.log(level, event, extra={"fields": fields})
