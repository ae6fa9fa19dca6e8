"""One monitoring run: it evaluates a window and writes the state that follows.

The caller reads settings and clock once. One transaction writes window, readings, memory, state and incident together,
so a killed run leaves nothing behind, and the next run starts where the last complete one ended.
"""

import gc
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import Decision, decide
from stillsafe.core.evidence.measures import leaves_predictions
from stillsafe.core.evidence.time_text import exact_time_text
from stillsafe.core.policy import Policy
from stillsafe.core.readings import evidence_without_labels
from stillsafe.core.schema import Schema
from stillsafe.core.signals import Evidence
from stillsafe.core.state import Memory, State
from stillsafe.core.window import Tally, Window
from stillsafe.errors import RunRefused
from stillsafe.monitoring.alerts import append_alerts, run_alerts
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.columns import ColumnBuilder, Columns, ShadowScorer, read_columns, with_shadow_scores
from stillsafe.monitoring.label_evidence import LabelSource, is_labelled, read_labels
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.memory import current_memory
from stillsafe.monitoring.outliers import with_sources
from stillsafe.monitoring.run_log import log_run, log_skipped
from stillsafe.monitoring.views import needs_times
from stillsafe.monitoring.window_tally import WindowTallies
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import dumps, stored_value, to_document
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.label_rows import LabelSelection, next_label_marks, select_labels
from stillsafe.store.read.requests import (
    WindowRows,
    fresh_batches,
    fresh_refusal_sources,
    judged_batches,
    judged_refusal_sources,
    last_request_at,
    synthetic_count,
)
from stillsafe.store.read.row_selection import NO_RANGES, RowMarks, RowSelection, RunSpan, next_marks, select_rows
from stillsafe.store.read.runs import RunRecord, last_run, run_at
from stillsafe.store.read.state import has_state
from stillsafe.store.row_ranges import RowRanges
from stillsafe.store.tables import prediction_logs
from stillsafe.store.tables import refusals as refusals_table
from stillsafe.store.write.decisions import RunRows, decision_columns, record_run, window_columns
from stillsafe.tracing import with_span

DAY_SECONDS = 86400.0
"""A pause without a request that is longer than this looks like a jump of the clock."""


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
        shadow_problem: why bypassed rows could not be scored, where that may soon be needed.
    """

    outcome: RunOutcome
    run_id: int | None = None
    old_memory: Memory | None = None
    window: Window | None = None
    decision: Decision | None = None
    shadow_problem: str | None = None


@dataclass(frozen=True, slots=True)
class WindowRowsRead:
    """Which rows of the log belong to a window; stored with the run, so that a replay counts the same rows.

    Attributes:
        start, end: of the window, half open, by timestamp.
        carry_start: fresh rows are not older than this.
        old: the marks of predictions and refusals that the run started from.
        predictions, refusals: the fresh rows.
        synthetic_count: synthetic requests in the window.
        last_run_at: end of the version's last window, or None.
        policy: the policy that judges them.
        labels: the labels that no earlier run has read.
        waiting_labels: ids of those that wait for a later run, because they are too few.
    """

    start: datetime
    end: datetime
    carry_start: datetime
    old: tuple[RowMarks, RowMarks]
    predictions: RowSelection
    refusals: RowSelection
    synthetic_count: int
    last_run_at: datetime | None
    policy: Policy
    labels: LabelSelection = field(default_factory=LabelSelection)
    waiting_labels: RowRanges = NO_RANGES

    @property
    def window_start(self) -> datetime:
        """Time of the oldest row carried, or the start of the window if that is earlier."""
        return min(self.start, self.predictions.oldest_at or self.start)

    @property
    def fresh_span(self) -> tuple[datetime, datetime]:
        """The times of fresh rows, half open."""
        return self.carry_start, self.end


@with_span("monitor.run")
def run(
    engine: Engine,
    settings: Settings,
    *,
    now: datetime,
    score: ShadowScorer | None,
    shadow_problem: Callable[[], str | None] = lambda: None,
) -> Run:
    """Evaluate the window that ends now.

    Of two runs at once the second does nothing. A window end that is stored already is not evaluated again.

    Args:
        engine: the store.
        settings: the service.
        now: the window's end, aware UTC.
        score: scores bypassed rows, or None where the log lacks features that the model needs.
        shadow_problem: tries whether bypassed rows could be scored; None, or what prevents it. Called where that may
            soon be needed, so that the problem is known before the model is bypassed.

    Raises:
        RunRefused: `now` is before the last run, or rows must be scored and cannot.
        StoreError: the store failed, and nothing was written.
    """
    with database.try_lock(engine, lock_purpose(settings)) as owns_lock:
        if not owns_lock:
            log_skipped(settings, RunOutcome.BUSY.value)
            return Run(RunOutcome.BUSY)
        version = settings.model.version
        with database.reading(engine) as connection:
            if run_at(connection, now, version) is not None:
                log_skipped(settings, RunOutcome.ALREADY_DONE.value)
                return Run(RunOutcome.ALREADY_DONE)
            memory = current_memory(connection, version)
            _require_later(memory, now)
            problem = shadow_problem() if may_bypass_soon(settings.policy, memory) else None
            rows = select_window(connection, settings.policy, version, memory, now)
            baseline = active_baseline(connection, version)
            log_format = LogFormat.of(settings)
            window = observe(connection, log_format, version, baseline, rows, score)
            is_same = memory.labels is not None and memory.model_version == version
            rows_from = memory.labels.rows_from if memory.labels is not None and is_same else None
            window, waiting = with_labels(connection, log_format.schema, baseline, rows, window, rows_from, score)
            rows = replace(rows, waiting_labels=waiting)
        return _conclude(engine, settings, baseline, window, rows, problem)


def may_bypass_soon(policy: Policy, memory: Memory) -> bool:
    """Whether the model is bypassed, or may be after one of the next runs: then rows need shadow scores."""
    is_severe = any(streak.severe for streak in memory.streaks.values())
    return is_severe or memory.effective_state is not State.NORMAL or policy.critical_runs == 1


def lock_purpose(settings: Settings) -> str:
    """The lock that one run of a service's version holds: versions and services are evaluated side by side."""
    key = f"{settings.service.name}\0{settings.model.version}"
    return f"monitor-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def select_window(
    connection: Connection, policy: Policy, model_version: str, memory: Memory, now: datetime
) -> WindowRowsRead:
    """Select the rows of the window that ends now: those that no conclusive run has judged, wherever they lie."""
    start, carry_start = (now - timedelta(seconds=s) for s in (policy.window_seconds, policy.max_carry_seconds))
    span = RunSpan(carry_start, now, memory.last_conclusive_at, policy.max_carry_predictions)
    earlier = last_run(connection, model_version)
    old = row_marks(earlier)
    predictions, refusals = (
        select_rows(connection, table, model_version, marks, span)
        for table, marks in zip((prediction_logs, refusals_table), old, strict=True)
    )
    synthetic = synthetic_count(connection, start, now, model_version)
    last_run_at = None if earlier is None else earlier.window_end
    labels = select_labels(connection, label_marks(earlier))
    return WindowRowsRead(start, now, carry_start, old, predictions, refusals, synthetic, last_run_at, policy, labels)


def row_marks(run: RunRecord | None) -> tuple[RowMarks, RowMarks]:
    """What a run left of predictions and refusals.

    Runs of rules 1 had judged the rows up to their row ids, and of those the ones from before the last conclusive run.
    """
    if run is None:
        return RowMarks(), RowMarks()
    if run.rows is None:
        old_run = stored_value(Memory, run.memory or {}).last_conclusive_at
        ids = (run.last_prediction_row or 0, run.last_refusal_row or 0) if old_run else (0, 0)
        return RowMarks(ids[0], settled_before=old_run), RowMarks(ids[1], settled_before=old_run)
    return stored_value(RowMarks, run.rows["predictions"]), stored_value(RowMarks, run.rows["refusals"])


def label_marks(run: RunRecord | None) -> RowMarks:
    """What a run left of the labels."""
    return stored_value(RowMarks, ((run.rows if run is not None else None) or {}).get("labels") or {})


def with_labels(
    connection: Connection,
    schema: Schema,
    baseline: Baseline | None,
    rows: WindowRowsRead,
    window: Window,
    rows_from: datetime | None,
    score: ShadowScorer | None,
) -> tuple[Window, RowRanges]:
    """The window with the labels of the run, and the ids of those that wait for a later run.

    Args:
        connection: reads one snapshot.
        schema: of the features in the log.
        baseline: without one, all labels wait.
        rows: the rows of the run.
        window: the window, counted.
        rows_from: older rows are no evidence any more.
        score: scores the rows that the fallback answered.
    """
    oldest = rows.end - timedelta(seconds=rows.policy.label_max_age_seconds)
    newest, gaps = rows.predictions.newest, rows.predictions.gaps
    source = LabelSource(rows.labels, window.model_version, rows.end, oldest, rows_from, newest, gaps)
    if baseline is None:
        return window, rows.labels.read
    tally, ids = read_labels(connection, source, baseline, schema, score, rows.policy)
    return replace(window, labels=tally), NO_RANGES if is_labelled(rows.policy, tally) else ids


def observe(
    connection: Connection,
    log_format: LogFormat,
    model_version: str,
    baseline: Baseline | None,
    rows: WindowRowsRead,
    score: ShadowScorer | None,
    archive: Archive | None = None,
) -> Window:
    """Count the window of these rows, from the log and from an archive of pruned rows."""
    with_times = baseline is not None and (baseline.slots is not None or needs_times(baseline.features))
    batches = _batches(connection, model_version, rows, archive, with_times=with_times)
    columns, shadow = count_columns(batches, log_format.schema, score)
    judged_refusals, fresh_refusals = _refusal_sources(connection, model_version, rows, archive)
    newest = rows.predictions.newest, rows.refusals.newest
    gaps = rows.predictions.gaps, rows.refusals.gaps
    last_at = last_request_at(connection, rows.end, *newest, gaps=gaps)
    if archive is not None:
        last_at = archive.last_request_at(last_at, rows.end, *newest)
    waiting_times = [each.oldest_unjudged_at for each in (rows.predictions, rows.refusals)]
    empty_window = Window(
        rows.window_start,
        rows.end,
        model_version,
        total=Tally(),
        fresh=Tally(),
        shadow=shadow,
        silent_seconds=None if last_at is None else (rows.end - last_at).total_seconds(),
        oldest_unjudged_at=min((at for at in waiting_times if at is not None), default=None),
        late_count=rows.predictions.late_count,
        expired_count=rows.predictions.expired_count,
        synthetic_count=rows.synthetic_count,
        clock_jump=_is_clock_jump(connection, rows, last_at),
        min_count=log_format.min_count,
    )
    window_rows = WindowTallies(columns, judged_refusals, fresh_refusals, baseline, log_format)
    return with_sources(rows.policy, window_rows, window_rows.window(empty_window))


def count_columns(batches: Iterator[WindowRows], schema: Schema, score: ShadowScorer | None) -> tuple[Columns, bool]:
    """The columns of all batches, and whether bypassed rows were scored."""
    builder, shadow = ColumnBuilder(schema), False
    for rows, batch in _columns(batches, schema):
        if score is not None and bool((batch.fallback_used & ~batch.model_errors).any()):
            batch, shadow = with_shadow_scores(batch, rows.input_summaries, schema, score), True
        builder.add(batch)
    return builder.columns(), shadow


def stored_columns(window: Window, old_memory: Memory, decision: Decision) -> dict[str, Any]:
    """The columns of a run's row that follow from its window, so that a replay can compare each of them."""
    return {**window_columns(window), **decision_columns(old_memory, decision)}


def _conclude(
    engine: Engine,
    settings: Settings,
    baseline: Baseline | None,
    window: Window,
    rows: WindowRowsRead,
    shadow_problem: str | None,
) -> Run:
    """Decide and write. An operator may act while the window is counted, so the memory is read again."""
    version, policy = settings.model.version, settings.policy
    with database.writing(engine) as connection:
        is_first = last_run(connection, version) is None or not has_state(connection, version)
        old_memory = current_memory(connection, version)
        decision = decide(policy, baseline, window, old_memory)
        evidence = evidence_without_labels(policy, window, decision.readings, decision.evidence)
        is_conclusive = evidence is not Evidence.INSUFFICIENT
        span = RunSpan(rows.carry_start, rows.end, None, policy.max_carry_predictions)
        judges_predictions = is_conclusive and not leaves_predictions(policy, window)
        marks = [
            next_marks(rows.old[0], rows.predictions, span, is_conclusive=judges_predictions),
            next_marks(rows.old[1], rows.refusals, span, is_conclusive=is_conclusive),
        ]
        schema = to_document(settings.schema_of_features)
        run_rows = RunRows(
            predictions=marks[0],
            refusals=marks[1],
            late_count=window.late_count,
            expired_count=window.expired_count,
            inherited=to_document(replace(old_memory, hold=None)) if is_first and old_memory != Memory() else None,
            schema=schema,
            shadow_problem=shadow_problem,
            labels=next_label_marks(rows.labels, rows.waiting_labels, rows.end, rows.carry_start),
            schema_digest=hashlib.sha256(dumps(schema).encode()).hexdigest(),
        )
        enforce = settings.service.mode == "enforce"
        run_id = record_run(connection, policy, window, old_memory, decision, run_rows, enforce=enforce)
        append_alerts(connection, settings, run_alerts(connection, settings, decision, window.end))
    log_run(settings, run_id, window, old_memory, decision)
    return Run(RunOutcome.SUCCESS, run_id, old_memory, window, decision, shadow_problem)


def _is_clock_jump(connection: Connection, rows: WindowRowsRead, last_request: datetime | None) -> bool:
    """Whether the clock seems to have jumped: more than a day since the last run, and no request in between.

    A database server's clock is a second witness, so only SQLite needs this.
    """
    if connection.dialect.name != "sqlite" or rows.last_run_at is None:
        return False
    is_long = (rows.end - rows.last_run_at).total_seconds() > DAY_SECONDS
    return is_long and (last_request is None or last_request <= rows.last_run_at)


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
    connection: Connection,
    model_version: str,
    rows: WindowRowsRead,
    archive: Archive | None,
    *,
    with_times: bool,
) -> Iterator[WindowRows]:
    """The window's rows in batches: first those of the log, then those that only the archive has."""
    log_ids: set[int] = set()
    marks, columns = rows.old[0], {"with_ids": archive is not None, "with_times": with_times}
    ids = rows.predictions.read
    for batch in chain(
        fresh_batches(connection, ids, rows.fresh_span, model_version, **columns),
        judged_batches(connection, marks, (rows.start, rows.end), model_version, **columns),
    ):
        log_ids.update(batch.ids)
        yield batch
    if archive is not None:
        is_settled = partial(_is_settled, marks, marks.open_ids())
        yield archive.window_rows(
            rows.fresh_span, model_version, lambda _at, row_id: row_id in ids, log_ids, fresh=True
        )
        yield archive.window_rows((rows.start, rows.end), model_version, is_settled, log_ids, fresh=False)


def _is_settled(marks: RowMarks, open_ids: RowRanges, at: datetime, row_id: int) -> bool:
    is_before = marks.settled_before is None or at < marks.settled_before
    return is_before and row_id <= marks.settled_to and row_id not in open_ids


def _refusal_sources(
    connection: Connection, model_version: str, rows: WindowRowsRead, archive: Archive | None
) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """The source of each refusal of the window that earlier runs had settled, and of each fresh one."""
    marks, ids = rows.old[1], rows.refusals.read
    judged = judged_refusal_sources(connection, marks, (rows.start, rows.end), model_version)
    fresh = fresh_refusal_sources(connection, ids, rows.fresh_span, model_version)
    if archive is not None:
        is_settled = partial(_is_settled, marks, marks.open_ids())
        judged |= archive.refusal_sources(rows.start, rows.end, model_version, is_settled)
        fresh |= archive.refusal_sources(*rows.fresh_span, model_version, lambda _at, row_id: row_id in ids)
    return list(judged.values()), list(fresh.values())


def _require_later(memory: Memory, now: datetime) -> None:
    if memory.last_run_at is not None and now < memory.last_run_at:
        raise RunRefused(
            f"The last run's window ended at {exact_time_text(memory.last_run_at)}, after the time now "
            f"({exact_time_text(now)}): runs go forward in time. Check the clock, or --now. If the clock was ahead "
            f"then: `stillsafe monitor --discard-after {exact_time_text(now)} --reason ...`."
        )
