"""What the rules would have done on a user's own history: the live core, folded over windows of a table.

Everything that does not depend on the state is done once and for all rows: checking, scoring, counting columns. The
fold over the windows is the live one, and needs no store and no clock.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stillsafe.backtest import fault_injection
from stillsafe.backtest.history import History, moment
from stillsafe.backtest.result import (
    FALLBACK,
    MODEL,
    Backtest,
    BacktestIncident,
    BacktestRun,
    Basis,
    degradations,
    fallback_price,
    injected_stretch,
    share,
    signal_summaries,
    suggested_limits,
    toml_lines,
)
from stillsafe.backtest.run_schedule import MICROS, ROWS_PER_RUN, Pace, micros_of, pace
from stillsafe.backtest.scoring import Judges, Numbers, Progress, Served, conservative, serve, worth
from stillsafe.core.decide import Decision, decide
from stillsafe.core.incident import Incident, IncidentEvent
from stillsafe.core.policy import Policy
from stillsafe.core.readings import DIGITS
from stillsafe.core.state import Memory, Severity, State
from stillsafe.core.window import Window
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring.columns import SHADOW_DIGITS, Columns, Mask, tally


def backtest(
    history: History,
    judges: Judges,
    *,
    rows_per_run: int | None = None,
    inject: Sequence[str] = (),
    inject_from: float = 0.5,
    progress: Progress | None = None,
) -> Backtest:
    """Fold the core over a history.

    Args:
        history: requests of the past.
        judges: what it is judged by.
        rows_per_run: judge so many rows a run, without overlap; default by time, as the live monitor does, where that
            gives windows that are full enough, else 500.
        inject: faults to break the history with, as `faults.parse` reads them.
        inject_from: where in the history they begin, as a share of its rows in [0, 1).
        progress: told what is being done.

    Raises:
        ConfigurationError: the arguments are wrong, the labels are not the model's, or every row is refused.
    """
    tell = progress or (lambda _what, _done: None)
    _require_sound(rows_per_run, inject_from)
    settings = judges.settings
    broken = np.arange(len(history)) >= int(inject_from * len(history)) if inject else np.zeros(len(history), bool)
    history = _broken(history, inject, broken) if inject else history
    schedule = pace(history, settings.policy, rows_per_run)
    served = serve(history, judges, schedule.at, broken, tell)
    fold = _Fold(judges, schedule, served, known=history.labels is not None)
    runs = tuple(fold.runs(tell))
    before = [run for run in runs if not run.injected]
    limits = suggested_limits(settings.policy, before)
    conclusive = [run for run in runs if run.conclusive]
    by_time = schedule.basis is Basis.TIME
    return Backtest(
        service=settings.service.name,
        model_version=settings.model.version,
        baseline_id=judges.baseline.baseline_id,
        basis=schedule.basis,
        rows_per_run=None if by_time else rows_per_run or ROWS_PER_RUN,
        window_seconds=settings.policy.window_seconds if by_time else None,
        every_seconds=settings.policy.every_seconds if by_time else None,
        row_count=len(history),
        refused_count=len(served.refused_at),
        metric=None if history.labels is None else judges.metric,
        runs=runs,
        incidents=tuple(fold.incidents.values()),
        conclusive_rate=share(runs, lambda run: run.conclusive),
        alarm_rate=share(conclusive, lambda run: run.severity is not Severity.NORMAL),
        critical_rate=share(conclusive, lambda run: run.severity is Severity.CRITICAL),
        degraded_rate=share(runs, lambda run: run.state_before is State.DEGRADED),
        degraded_count=degradations(runs),
        relapse_count=fold.relapses,
        signals=signal_summaries(runs),
        price=None if history.labels is None else fallback_price(judges.metric, runs),
        suggested_limits=limits,
        suggested_toml=toml_lines(limits),
        injection=injected_stretch(tuple(inject), inject_from, runs) if inject else None,
        notices=(*schedule.notices, *_doubts(history, served, settings.policy, schedule, rows_per_run)),
    )


def _require_sound(rows_per_run: int | None, inject_from: float) -> None:
    if rows_per_run is not None and rows_per_run < 1:
        raise ConfigurationError("A run has at least one row.", "Give --rows-per-run a whole number above zero.")
    if not 0 <= inject_from < 1:
        raise ConfigurationError(
            f"{inject_from:g} is no place in the history.", "It is a share of its rows: 0 the start, 0.5 the middle."
        )


def _broken(history: History, inject: Sequence[str], rows: Mask) -> History:
    """The history with the faults in it, one after the other.

    Raises:
        ConfigurationError: a fault is none, or does not fit the columns.
    """
    columns = dict(history.columns)
    labelled = {} if history.label is None or history.labels is None else {history.label: history.labels}
    for seed, text in enumerate(inject):
        injection = fault_injection.parse(text)
        if history.label in injection.features:
            raise ConfigurationError(f"{history.label!r} is the label, and no feature.", "Break a feature.")
        # The labels go along: a fault leaves them alone, a shift brings whole rows of other customers.
        moved = fault_injection.inject({**columns, **labelled}, injection, rows, seed)
        columns, labelled = {name: moved[name] for name in columns}, {name: moved[name] for name in labelled}
    return replace(history, columns=columns, labels=next(iter(labelled.values()), None))


class _Fold:
    """The live fold over the history: from one run's memory to the next.

    Attributes:
        incidents: by id, those that there would have been.
        relapses: degradations soon after a recovery.
    """

    def __init__(self, judges: Judges, schedule: Pace, served: Served, *, known: bool) -> None:
        self._judges, self._schedule, self._served = judges, schedule, served
        self._known = known
        self._scorable = judges.settings.schema_of_features.scorable_from_log
        self._bypassed = np.zeros(len(served.rows), dtype=np.bool_)
        self._shadow_confidences = np.round(served.found.confidences, SHADOW_DIGITS)
        self.incidents: dict[str, BacktestIncident] = {}
        self.relapses = 0

    def runs(self, tell: Progress) -> Iterator[BacktestRun]:
        """Every run, in time order."""
        memory, reached = Memory(), 0
        ends = self._schedule.ends.tolist()
        for number, end in enumerate(ends, start=1):
            new = slice(reached, int(np.searchsorted(self._served.at, end)))
            self._bypassed[new] = memory.effective_state is State.DEGRADED
            window = self._window(end, memory)
            decision = decide(self._judges.settings.policy, self._judges.baseline, window, memory)
            run = self._run(number, window, memory, decision, new)
            self._follow(run, memory, decision)
            if run.state is State.DEGRADED and run.state_before is not State.DEGRADED and decision.memory.relapses:
                self.relapses += 1
            yield run
            memory, reached = decision.memory, new.stop
            tell("Judging", number / len(ends))

    def _window(self, end: int, memory: Memory) -> Window:
        served, start = self._served, end - self._schedule.length
        since = start if memory.last_conclusive_at is None else max(start, micros_of(memory.last_conclusive_at))
        first, fresh, last = np.searchsorted(served.at, [start, since, end]).tolist()
        refused = np.searchsorted(served.refused_at, [start, since, end]).tolist()
        part = self._part(first, last)
        total = tally(part, self._judges.baseline, refused[2] - refused[0])
        newer = np.arange(first, last) >= fresh
        judged_whole = fresh == first and refused[1] == refused[0]
        return Window(
            moment(start),
            moment(end),
            self._judges.settings.model.version,
            total=total,
            fresh=total if judged_whole else tally(part, self._judges.baseline, refused[2] - refused[1], newer),
            shadow=self._scorable and bool(self._bypassed[first:last].any()),
            silent_seconds=self._silent(end, last, refused[2]),
        )

    def _part(self, first: int, last: int) -> Columns:
        """The rows of a window as the live monitor counts them: the bypassed ones scored aside, where that can be."""
        part, bypassed = _cut(self._served.found, first, last), self._bypassed[first:last]
        if not bypassed.any():
            return part
        if self._scorable:
            confidences = np.where(bypassed, self._shadow_confidences[first:last], part.confidences)
            return replace(part, confidences=confidences, fallback_used=part.fallback_used | bypassed)
        return replace(
            part,
            confidences=np.where(bypassed, math.nan, part.confidences),
            answers=part.answers.without(bypassed),
            model_errors=part.model_errors & ~bypassed,
            fallback_used=part.fallback_used | bypassed,
        )

    def _silent(self, end: int, last: int, last_refused: int) -> float | None:
        """Seconds since the last request before `end`, None if there was none."""
        served = self._served
        came = [int(served.at[last - 1])] if last else []
        came += [int(served.refused_at[last_refused - 1])] if last_refused else []
        return (end - max(came)) / MICROS if came else None

    def _run(self, number: int, window: Window, memory: Memory, decision: Decision, new: slice) -> BacktestRun:
        degraded = memory.effective_state is State.DEGRADED
        model, fallback, labelled = self._scores(new, memory)
        dated = None if self._served.dated is None else self._served.dated[new]
        broken_at, counts = self._served.broken_at, window.total
        return BacktestRun(
            number=number,
            window_start=window.start,
            window_end=window.end,
            data_from=moment(dated[0]) if dated is not None and len(dated) else None,
            data_until=moment(dated[-1]) if dated is not None and len(dated) else None,
            prediction_count=counts.prediction_count,
            refusal_count=counts.refusal_count,
            evidence=decision.evidence,
            severity=decision.severity,
            state=decision.memory.effective_state,
            state_before=memory.effective_state,
            readings=decision.readings,
            reason=decision.reason,
            decided_by=FALLBACK if degraded else MODEL,
            shadow=window.shadow,
            injected=broken_at is not None and micros_of(window.end) > broken_at,
            avg_confidence=_rounded(counts.avg_confidence),
            low_confidence_rate=_rounded(counts.low_confidence_rate),
            labelled_count=labelled,
            model_score=model,
            fallback_score=fallback,
            served_score=fallback if degraded else model,
        )

    def _scores(self, new: slice, memory: Memory) -> tuple[float | None, float | None, int]:
        """The model's score on the rows since the run before, the fallback's, and how many labels both rest on."""
        if not self._known or new.start == new.stop:
            return None, None, 0
        truth = self._served.truth[new]
        answers = [conservative(self._judges.fallback, row, memory.damaged_features) for row in self._served.rows[new]]
        fallback = worth(answers, truth, self._judges.metric)
        failed = self._served.found.model_errors[new]
        # A row on which the model fails is answered by the fallback, whoever answers the others.
        model = np.where(failed, fallback, self._served.worth[new])
        known = np.isfinite(model) & np.isfinite(fallback)
        if not known.any():
            return None, None, 0
        return _mean(model[known]), _mean(fallback[known]), int(known.sum())

    def _follow(self, run: BacktestRun, memory: Memory, decision: Decision) -> None:
        """Keep the incidents up to date."""
        if memory.incident_id is not None:
            known = self.incidents[memory.incident_id]
            by_fallback = known.fallback_run_count + (run.decided_by == FALLBACK)
            self.incidents[memory.incident_id] = replace(known, last_run=run.number, fallback_run_count=by_fallback)
        happened = decision.incident
        if happened is None:
            return
        known = self.incidents.get(happened.incident_id) or _opened(run, happened)
        if happened.event is IncidentEvent.RESOLVED:
            known = replace(known, end=run.window_end, resolution=happened.reason)
        else:
            triggers = happened.trigger_signals
            known = replace(known, severity=happened.severity, reason=happened.reason, trigger_signals=triggers)
        self.incidents[happened.incident_id] = known


def _opened(run: BacktestRun, happened: Incident) -> BacktestIncident:
    return BacktestIncident(
        incident_id=happened.incident_id,
        start=run.window_end,
        end=None,
        first_run=run.number,
        last_run=run.number,
        severity=happened.severity,
        reason=happened.reason,
        resolution=None,
        trigger_signals=happened.trigger_signals,
        fallback_run_count=0,
    )


def _doubts(
    history: History, served: Served, policy: Policy, schedule: Pace, rows_per_run: int | None
) -> Iterator[str]:
    """What a person should know before believing the figures."""
    if rows_per_run is not None and rows_per_run < policy.min_predictions:
        yield f"Runs of {rows_per_run} rows conclude nothing: the policy's min_predictions is {policy.min_predictions}."
    if refused := len(served.refused_at):
        yield f"The schema refuses {refused} of the {len(history)} rows; they count as refused requests."
    if failed := int(served.found.model_errors.sum()):
        yield f"The model fails on {failed} rows; they would have been answered by the fallback."
    if history.labels is not None and (unknown := sum(answer is None for answer in served.truth)):
        yield f"{unknown} rows without a usable label count for the rules and not for the scores."
    if schedule.basis is Basis.ROWS and policy.silence_seconds:
        yield "Silence cannot be judged in runs by rows, whose times are made up."


def _cut(found: Columns, first: int, last: int) -> Columns:
    """A stretch of the rows, as views."""
    cut: dict[str, Any] = {
        field.name: {name: column[first:last] for name, column in value.items()}
        if isinstance(value := getattr(found, field.name), Mapping)
        else value[first:last]
        for field in dataclasses.fields(found)
    }
    return Columns(**cut)


def _mean(values: Numbers) -> float:
    return math.fsum(values.tolist()) / len(values)


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, DIGITS)
