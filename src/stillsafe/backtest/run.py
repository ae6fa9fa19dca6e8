"""Run a backtest: apply the live monitor's decisions to consecutive windows of a history.

Validation and scoring do not depend on the state, so they run once for all rows. The runs then fold `decide` over the
windows exactly as the live monitor does, without a store and without a clock.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from stillsafe.backtest import fault_injection
from stillsafe.backtest.history import History, datetime_of, micros_of
from stillsafe.backtest.result import FALLBACK, MODEL, Backtest, BacktestIncident, BacktestRun, Basis
from stillsafe.backtest.run_schedule import ROWS_PER_RUN, RunSchedule, schedule_runs
from stillsafe.backtest.run_scores import RunScores, ScoreOfRuns, is_row_mean
from stillsafe.backtest.scoring import BacktestContext, Numbers, ScoredHistory, score_history, score_rows
from stillsafe.backtest.summary import (
    compare_fallback,
    degradation_count,
    injection_outcome,
    share,
    signal_summaries,
    suggested_limits,
    toml_lines,
)
from stillsafe.backtest.windows import WindowCounter
from stillsafe.core.decide import Decision, decide
from stillsafe.core.incident import Incident, IncidentEvent
from stillsafe.core.policy import Policy
from stillsafe.core.signals import DIGITS
from stillsafe.core.state import Memory, Severity, State
from stillsafe.core.window import Window
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring.columns import Mask
from stillsafe.progress import Progress, no_progress


def backtest(
    history: History,
    context: BacktestContext,
    *,
    rows_per_run: int | None = None,
    inject: Sequence[str] = (),
    inject_from: float = 0.5,
    progress: Progress = no_progress,
) -> Backtest:
    """Evaluate what the monitoring rules would have done on a history.

    Args:
        history: past requests.
        context: the service, the baseline, the model and the fallback.
        rows_per_run: rows of each run, without overlap; default by time, as the live monitor runs, if enough windows
            are full, else 500 rows.
        inject: faults to inject, as `fault_injection.parse` reads them.
        inject_from: where in the history the faults start, as a fraction of its rows in [0, 1).
        progress: called with the stage and the fraction of it that is complete.

    Raises:
        ConfigurationError: an argument is invalid, no label fits the model, or the schema refuses every row.
    """
    _require_valid(rows_per_run, inject_from)
    settings, policy = context.settings, context.settings.policy
    injected = np.arange(len(history)) >= int(inject_from * len(history)) if inject else np.zeros(len(history), bool)
    history = _inject_faults(history, inject, injected) if inject else history
    schedule = schedule_runs(history, policy, rows_per_run)
    scored_history = score_history(history, context, schedule.row_times, injected, progress)
    fold = _Fold(context, schedule, scored_history)
    runs = tuple(fold.runs(progress))
    conclusive = [run for run in runs if run.conclusive]
    limits = suggested_limits(policy, [run for run in runs if not run.injected])
    by_time, has_labels = schedule.basis is Basis.TIME, history.labels is not None
    return Backtest(
        service=settings.service.name,
        model_version=settings.model.version,
        baseline_id=context.baseline.baseline_id,
        basis=schedule.basis,
        rows_per_run=None if by_time else rows_per_run or ROWS_PER_RUN,
        window_seconds=policy.window_seconds if by_time else None,
        every_seconds=policy.every_seconds if by_time else None,
        row_count=len(history),
        refused_count=len(scored_history.refusal_times),
        metric=context.metric if has_labels else None,
        runs=runs,
        incidents=tuple(fold.incidents.values()),
        conclusive_rate=share(runs, lambda run: run.conclusive),
        alarm_rate=share(conclusive, lambda run: run.severity is not Severity.NORMAL),
        critical_rate=share(conclusive, lambda run: run.severity is Severity.CRITICAL),
        degraded_rate=share(runs, lambda run: run.state_before is State.DEGRADED),
        degraded_count=degradation_count(runs),
        relapse_count=fold.relapse_count,
        signals=signal_summaries(runs),
        price=compare_fallback(context.metric, runs, fold.score_of_runs) if has_labels else None,
        suggested_limits=limits,
        suggested_toml=toml_lines(limits),
        injection=injection_outcome(tuple(inject), inject_from, runs) if inject else None,
        notices=(*schedule.notices, *_caveats(history, scored_history, policy, schedule)),
    )


def _require_valid(rows_per_run: int | None, inject_from: float) -> None:
    if rows_per_run is not None and rows_per_run < 1:
        raise ConfigurationError("A run has at least one row.", "Give --rows-per-run a whole number above zero.")
    if not 0 <= inject_from < 1:
        raise ConfigurationError(
            f"{inject_from:g} is not a position in the history.",
            "Give a fraction of its rows in [0, 1): 0 is the start, 0.5 the middle.",
        )


def _inject_faults(history: History, inject: Sequence[str], rows: Mask) -> History:
    """Inject the faults into some rows of the history, one after another.

    Raises:
        ConfigurationError: a fault is unknown, or does not fit the columns.
    """
    columns = dict(history.columns)
    label_columns = (
        {} if history.label_column is None or history.labels is None else {history.label_column: history.labels}
    )
    for seed, text in enumerate(inject):
        injection = fault_injection.parse(text)
        if history.label_column in injection.features:
            message = f"{history.label_column!r} is the label, not a feature."
            raise ConfigurationError(message, "Inject the fault into a feature.")
        # A shift replaces whole rows, so the labels have to move with the features. Other faults leave labels alone.
        all_columns = fault_injection.inject({**columns, **label_columns}, injection, rows, seed)
        columns = {name: all_columns[name] for name in columns}
        label_columns = {name: all_columns[name] for name in label_columns}
    return replace(history, columns=columns, labels=next(iter(label_columns.values()), None))


class _Fold:
    """Folds `decide` over the windows of a history, each run with the memory of the previous one.

    Attributes:
        incidents: incident id -> incident, in the order in which they were opened.
        relapse_count: how often DEGRADED was entered soon after a recovery.
    """

    def __init__(self, context: BacktestContext, schedule: RunSchedule, history: ScoredHistory) -> None:
        self._context, self._schedule, self._history = context, schedule, history
        self._windows = WindowCounter(context, history, schedule.window_length)
        self.run_scores = RunScores(context.definition, context.classes, history.scores, history.labels)
        self.incidents: dict[str, BacktestIncident] = {}
        self.relapse_count = 0

    def runs(self, progress: Progress) -> Iterator[BacktestRun]:
        """Yield every run, in time order."""
        policy, baseline = self._context.settings.policy, self._context.baseline
        memory, first_new_row = Memory(), 0
        window_ends = self._schedule.window_ends.tolist()
        for number, end in enumerate(window_ends, start=1):
            new_rows = slice(first_new_row, int(np.searchsorted(self._history.times, end)))
            if memory.effective_state is State.DEGRADED:
                self._windows.mark_bypassed(new_rows)
            window = self._windows.window(end)
            decision = decide(policy, baseline, window, memory)
            self._windows.settle(window, decision.evidence)
            run = self._run(number, window, memory, decision, new_rows)
            self._update_incidents(run, memory, decision)
            if degradation_count([run]) and decision.memory.relapses:
                self.relapse_count += 1
            yield run
            memory, first_new_row = decision.memory, new_rows.stop
            progress("Evaluating runs", number / len(window_ends))

    def _run(self, number: int, window: Window, memory: Memory, decision: Decision, new_rows: slice) -> BacktestRun:
        by_fallback = memory.effective_state is State.DEGRADED
        model_score, fallback_score, labelled_count = self._scores(new_rows, memory)
        data_from, data_until = self._request_times(new_rows)
        injection_start, total = self._history.injection_start, window.total
        return BacktestRun(
            number=number,
            window_start=window.start,
            window_end=window.end,
            data_from=data_from,
            data_until=data_until,
            prediction_count=total.prediction_count,
            refusal_count=total.refusal_count,
            evidence=decision.evidence,
            severity=decision.severity,
            state=decision.memory.effective_state,
            state_before=memory.effective_state,
            readings=decision.readings,
            reason=decision.reason,
            decided_by=FALLBACK if by_fallback else MODEL,
            shadow=window.shadow,
            injected=injection_start is not None and micros_of(window.end) > injection_start,
            avg_confidence=_rounded_or_none(total.avg_confidence),
            low_confidence_rate=_rounded_or_none(total.low_confidence_rate),
            labelled_count=labelled_count,
            model_score=model_score,
            fallback_score=fallback_score,
            served_score=fallback_score if by_fallback else model_score,
        )

    @property
    def score_of_runs(self) -> ScoreOfRuns | None:
        """The score over several runs by a metric that is no mean over rows; None where it is."""
        return None if is_row_mean(self._context.metric) else self.run_scores.total

    def _request_times(self, rows: slice) -> tuple[datetime | None, datetime | None]:
        """Times of the first and the last of these rows, from the table; None where unknown."""
        times = self._history.request_times
        if times is None or rows.start == rows.stop:
            return None, None
        return datetime_of(times[rows.start]), datetime_of(times[rows.stop - 1])

    def _scores(self, rows: slice, memory: Memory) -> tuple[float | None, float | None, int]:
        """Mean scores of the model and of the fallback over the labelled rows, and the number of these."""
        labels, fallback = self._history.labels[rows], self._context.fallback
        if all(label is None for label in labels):
            self.run_scores.add(rows, [None] * len(labels), by_fallback=False)
            return None, None, 0
        answers = [each.answer for each in fallback.answers(self._history.rows[rows], memory.damaged_features)]
        fallback_scores = score_rows(answers, labels, self._context.metric)
        # Where the model fails on a row the service answers with the fallback, so the model gets the fallback's score.
        model_failed = self._history.columns.model_errors[rows]
        model_scores = np.where(model_failed, fallback_scores, self._history.row_scores[rows])
        is_scored = np.isfinite(model_scores) & np.isfinite(fallback_scores)
        if not is_row_mean(self._context.metric):
            by_fallback = memory.effective_state is State.DEGRADED
            model_score, fallback_score = self.run_scores.add(rows, answers, by_fallback=by_fallback)
            return model_score, fallback_score, sum(label is not None for label in labels)
        if not is_scored.any():
            return None, None, 0
        return _mean(model_scores[is_scored]), _mean(fallback_scores[is_scored]), int(is_scored.sum())

    def _update_incidents(self, run: BacktestRun, memory: Memory, decision: Decision) -> None:
        """Extend the open incident by this run, then apply what the decision does to an incident."""
        if memory.incident_id is not None:
            open_incident = self.incidents[memory.incident_id]
            fallback_run_count = open_incident.fallback_run_count + (run.decided_by == FALLBACK)
            self.incidents[memory.incident_id] = replace(
                open_incident, last_run=run.number, fallback_run_count=fallback_run_count
            )
        if (change := decision.incident) is not None:
            previous = self.incidents.get(change.incident_id) or _open_incident(run, change)
            self.incidents[change.incident_id] = _apply(change, previous, run)


def _open_incident(run: BacktestRun, change: Incident) -> BacktestIncident:
    return BacktestIncident(
        incident_id=change.incident_id,
        start=run.window_end,
        end=None,
        first_run=run.number,
        last_run=run.number,
        severity=change.severity,
        reason=change.reason,
        resolution=None,
        trigger_signals=change.trigger_signals,
        fallback_run_count=0,
    )


def _apply(change: Incident, incident: BacktestIncident, run: BacktestRun) -> BacktestIncident:
    if change.event is IncidentEvent.RESOLVED:
        return replace(incident, end=run.window_end, resolution=change.reason)
    if change.event is IncidentEvent.FALLBACK_ENDED:
        return incident
    return replace(incident, severity=change.severity, reason=change.reason, trigger_signals=change.trigger_signals)


def _caveats(history: History, scored_history: ScoredHistory, policy: Policy, schedule: RunSchedule) -> Iterator[str]:
    """What limits the conclusions that can be drawn, one sentence each."""
    if refusal_count := len(scored_history.refusal_times):
        yield f"The schema refuses {refusal_count} of the {len(history)} rows; they count as refused requests."
    if error_count := int(scored_history.columns.model_errors.sum()):
        yield f"The model fails on {error_count} rows; the fallback would have answered them."
    if history.labels is not None and (unknown_count := sum(label is None for label in scored_history.labels)):
        yield f"{unknown_count} rows have no usable label: they count for the rules but not for the scores."
    if schedule.basis is Basis.ROWS and policy.silence_seconds:
        yield "Silence is not evaluated in runs by rows, because their times are artificial."


def _mean(values: Numbers) -> float:
    return math.fsum(values.tolist()) / len(values)


def _rounded_or_none(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, DIGITS)
