"""What a backtest found: frozen values, and the figures that follow from its runs. Pure.

Beside the layers that make it (`monitoring`) and draw it (`dashboard`), which do not see each other.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillsafe.core.evidence.impact import Metric
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading
from stillsafe.core.state import Severity, State

FALLBACK, MODEL = "fallback", "model"
ACCEPTED_ALARM_RATE = 0.01
ROUND_STEP = 0.01


class Basis(StrEnum):
    """What a run's window is: a stretch of time, as the live monitor has it, or a fixed number of rows."""

    TIME = "time"
    ROWS = "rows"


@dataclass(frozen=True, slots=True)
class BacktestRun:
    """One run over the history: what the live monitor would have concluded, and what the answers were worth.

    Attributes:
        number: counted from 1.
        window_start, window_end: aware UTC; made up, one interval after the other, where runs are by rows.
        data_from, data_until: times of the first and the last request since the run before, or None where unknown.
        prediction_count, refusal_count: in the window.
        evidence, severity, reason, readings: of the decision.
        state, state_before: after the run and before it.
        decided_by: who would have answered the requests since the run before, `model` or `fallback`.
        shadow: whether bypassed rows were scored aside for this run.
        injected: whether any request since the run before was broken on purpose.
        avg_confidence, low_confidence_rate: over the window, or None without any confidence.
        labelled_count: of the answers since the run before, those whose truth is known; the scores are over them.
        model_score: had the model answered; None without labels, as are the other two.
        fallback_score: had the fallback answered.
        served_score: of who would have answered.
    """

    number: int
    window_start: datetime
    window_end: datetime
    data_from: datetime | None
    data_until: datetime | None
    prediction_count: int
    refusal_count: int
    evidence: Evidence
    severity: Severity
    state: State
    state_before: State
    readings: tuple[Reading, ...]
    reason: str
    decided_by: str
    shadow: bool
    injected: bool
    avg_confidence: float | None
    low_confidence_rate: float | None
    labelled_count: int
    model_score: float | None
    fallback_score: float | None
    served_score: float | None

    @property
    def conclusive(self) -> bool:
        """Whether there was evidence enough to say anything."""
        return self.evidence is not Evidence.INSUFFICIENT


@dataclass(frozen=True, slots=True)
class BacktestIncident:
    """One incident that there would have been.

    Attributes:
        incident_id: as the live monitor would have called it.
        start, end: windows' ends of the runs that opened and resolved it; `end` is None where the history ends first.
        first_run, last_run: the numbers of these runs; the last run of the history where it was not resolved.
        severity: the worst.
        reason: why, at its worst.
        resolution: how it ended, or None.
        trigger_signals: reading keys behind it, at its worst.
        fallback_run_count: runs that the fallback would have answered.
    """

    incident_id: str
    start: datetime
    end: datetime | None
    first_run: int
    last_run: int
    severity: Severity
    reason: str
    resolution: str | None
    trigger_signals: tuple[str, ...]
    fallback_run_count: int


@dataclass(frozen=True, slots=True)
class SignalSummary:
    """One signal over all runs.

    Attributes:
        key: which signal, of which feature.
        bad_rate: share of the conclusive runs in which it deviated, in [0, 1].
        largest_ratio: its largest distance from healthy in moderate limits; above 1 it deviates. None if never judged.
    """

    key: str
    bad_rate: float
    largest_ratio: float | None


@dataclass(frozen=True, slots=True)
class FallbackPrice:
    """What the fallback would have cost or saved, over the labelled answers of the runs that it would have answered.

    Attributes:
        run_count, row_count: how many runs and labelled answers; the scores are None where there are none.
        model_score, fallback_score: had the model gone on, and with the fallback.
        difference: the fallback's score less the model's: above 0 the fallback is better if the score is accuracy,
            worse if it is an error.
        healthy_score: the model's in the calm runs in NORMAL that were not broken on purpose, or None without any.
        lost: how much worse the model was in the bypassed runs than in the calm ones, or None where unknown.
        total_model_score, total_served_score: over all labelled answers of the history.
    """

    run_count: int
    row_count: int
    model_score: float | None
    fallback_score: float | None
    difference: float | None
    healthy_score: float | None
    lost: float | None
    total_model_score: float | None
    total_served_score: float | None


@dataclass(frozen=True, slots=True)
class SuggestedLimit:
    """A pair of effects of the policy under which hardly any of these runs would deviate.

    Attributes:
        signal: which signal's, as `[policy]` names it.
        moderate, severe: suggested; no severe one of a signal that is never severe.
        moderate_now, severe_now: in force.
        bad_rate: share of the conclusive runs in which the signal deviates now, in [0, 1].
    """

    signal: str
    moderate: float
    severe: float | None
    moderate_now: float
    severe_now: float | None
    bad_rate: float


@dataclass(frozen=True, slots=True)
class InjectedStretch:
    """What was broken on purpose, and how soon that was told.

    Attributes:
        faults: as they were asked for.
        share: where in the history they begin, in [0, 1).
        first_run: the first run with broken requests.
        state_before: the state that they met.
        runs_to_warning, runs_to_degraded: how many runs it took, the first one included, until the state was WARNING
            (or worse) and DEGRADED; None where it never was, 1 where it was so already.
    """

    faults: tuple[str, ...]
    share: float
    first_run: int
    state_before: State
    runs_to_warning: int | None
    runs_to_degraded: int | None


@dataclass(frozen=True, slots=True)
class Backtest:
    """What the rules would have done on a history.

    Attributes:
        service, model_version, baseline_id: whose, and what it was judged by.
        basis: what a run's window is.
        rows_per_run: where runs are by rows.
        window_seconds, every_seconds: where they are by time.
        row_count, refused_count: rows of the history, and those of them that the schema refuses.
        metric: what the scores are, or None without labels.
        runs, incidents: in time order.
        conclusive_rate: share of the runs with evidence enough, in [0, 1].
        alarm_rate, critical_rate: share of the conclusive runs with severity WARNING or worse, and CRITICAL.
        degraded_rate: share of the time in DEGRADED, in [0, 1].
        degraded_count, relapse_count: times that DEGRADED was entered, and those of them soon after a recovery.
        signals: those that ever deviated or came near it, the worst first.
        price: None without labels.
        suggested_limits, suggested_toml: limits, and the same as lines for `[policy]`.
        injection: None where nothing was broken on purpose.
        notices: what a person should know about how this was done, one sentence each.
    """

    service: str
    model_version: str
    baseline_id: str
    basis: Basis
    rows_per_run: int | None
    window_seconds: float | None
    every_seconds: float | None
    row_count: int
    refused_count: int
    metric: Metric | None
    runs: tuple[BacktestRun, ...]
    incidents: tuple[BacktestIncident, ...]
    conclusive_rate: float
    alarm_rate: float
    critical_rate: float
    degraded_rate: float
    degraded_count: int
    relapse_count: int
    signals: tuple[SignalSummary, ...]
    price: FallbackPrice | None
    suggested_limits: tuple[SuggestedLimit, ...]
    suggested_toml: tuple[str, ...]
    injection: InjectedStretch | None
    notices: tuple[str, ...]


def share(runs: Sequence[BacktestRun], holds: Callable[[BacktestRun], bool]) -> float:
    """Share of the runs of which something holds, in [0, 1]; 0 without runs."""
    return sum(map(holds, runs)) / len(runs) if runs else 0.0


def ratio(reading: Reading) -> float | None:
    """How far a reading lies from healthy, in moderate limits; None where it was not judged, 0 on the good side."""
    apart = _distance(reading)
    if apart is None or not reading.moderate_limit:
        return None
    return apart / reading.moderate_limit


def signal_summaries(runs: Sequence[BacktestRun]) -> tuple[SignalSummary, ...]:
    """Every signal that was judged, the one that deviated most often first, then the one that came nearest."""
    conclusive = [run for run in runs if run.conclusive]
    bad: dict[str, int] = {}
    largest: dict[str, float] = {}
    for run in conclusive:
        for reading in run.readings:
            if (apart := ratio(reading)) is not None:
                bad[reading.key] = bad.get(reading.key, 0) + (reading.evidence is Evidence.BAD)
                largest[reading.key] = max(largest.get(reading.key, 0.0), apart)
    found = [SignalSummary(key, bad[key] / len(conclusive), round(largest[key], 3)) for key in bad]
    return tuple(sorted(found, key=lambda s: (-s.bad_rate, -(s.largest_ratio or 0.0), s.key)))


def fallback_price(metric: Metric, runs: Sequence[BacktestRun]) -> FallbackPrice:
    """What the fallback would have cost or saved."""
    bypassed = [run for run in runs if run.decided_by == FALLBACK and run.labelled_count]
    calm = [run for run in runs if _calm(run)]
    model, fallback = _mean(bypassed, "model_score"), _mean(bypassed, "fallback_score")
    healthy = _mean(calm, "model_score")
    sign = 1 if metric is Metric.ACCURACY else -1
    return FallbackPrice(
        run_count=len(bypassed),
        row_count=sum(run.labelled_count for run in bypassed),
        model_score=model,
        fallback_score=fallback,
        difference=None if model is None or fallback is None else fallback - model,
        healthy_score=healthy,
        lost=None if model is None or healthy is None else sign * (healthy - model),
        total_model_score=_mean(runs, "model_score"),
        total_served_score=_mean(runs, "served_score"),
    )


def suggested_limits(policy: Policy, runs: Sequence[BacktestRun]) -> tuple[SuggestedLimit, ...]:
    """For each effect of the policy that made readings deviate, the smallest round one that hardly ever would have.

    Taken on each signal's furthest reading of each run, so that a signal of many features counts once a run. Raising
    an effect never makes a reading deviate that does not now, so only the deviating ones need be looked at.
    """
    conclusive = [run for run in runs if run.conclusive]
    tolerated = int(ACCEPTED_ALARM_RATE * len(conclusive))
    signals = sorted({reading.signal for run in conclusive for reading in run.readings if reading.level is not _CALM})
    found = []
    for signal in signals:
        effects = _effects(policy, signal.value)
        if effects is None:
            continue
        bad = [_furthest(run, signal.value, (Level.MODERATE, Level.SEVERE)) for run in conclusive]
        moderate = _enough(bad, tolerated, effects[0])
        severe = effects[1]
        if severe is not None:
            worst = [_furthest(run, signal.value, (Level.SEVERE,)) for run in conclusive]
            severe = max(_enough(worst, tolerated, severe), moderate)
        if (moderate, severe) != effects:
            bad_rate = sum(distance > 0 for distance in bad) / len(conclusive)
            found.append(SuggestedLimit(signal.value, moderate, severe, *effects, bad_rate))
    return tuple(found)


def toml_lines(limits: Sequence[SuggestedLimit]) -> tuple[str, ...]:
    """The limits that would change, as lines for `[policy]`."""
    return tuple(
        f"{limit.signal}_{level} = {new:g}  # {now:g} now"
        for limit in limits
        for level, new, now in (
            ("moderate", limit.moderate, limit.moderate_now),
            ("severe", limit.severe, limit.severe_now),
        )
        if new != now
    )


def injected_stretch(faults: tuple[str, ...], start: float, runs: Sequence[BacktestRun]) -> InjectedStretch | None:
    """How soon what was broken on purpose was told; None where no run saw it."""
    broken = [run for run in runs if run.injected]
    if not broken:
        return None
    first = broken[0]
    warned = next((run.number for run in broken if run.state is not State.NORMAL), None)
    degraded = next((run.number for run in broken if run.state is State.DEGRADED), None)
    return InjectedStretch(
        faults,
        start,
        first.number,
        first.state_before,
        None if warned is None else warned - first.number + 1,
        None if degraded is None else degraded - first.number + 1,
    )


def degradations(runs: Iterable[BacktestRun]) -> int:
    """How often DEGRADED was entered."""
    return sum(run.state is State.DEGRADED and run.state_before is not State.DEGRADED for run in runs)


def fallback_worse(metric: Metric, model_score: float, fallback_score: float) -> bool:
    """Whether the fallback's answers were worth less than the model's."""
    return fallback_score < model_score if metric is Metric.ACCURACY else fallback_score > model_score


def _calm(run: BacktestRun) -> bool:
    return run.evidence is Evidence.OK and run.state_before is run.state is State.NORMAL and not run.injected


_CALM = Level.NONE


def _distance(reading: Reading) -> float | None:
    """How far a reading lies from healthy on the side that hurts, or None where it was not judged."""
    if reading.evidence is Evidence.INSUFFICIENT or reading.value is None:
        return None
    # A silence has no reference distance: its limit counts from zero.
    reference = 0.0 if reading.signal.value.endswith("_seconds") else reading.reference or 0.0
    apart = reading.value - reference
    # Signals with one bad side deviate upwards only, so what deviates downwards is read in both directions.
    return abs(apart) if reading.level is not _CALM or reading.signal.value == "avg_confidence" else max(apart, 0.0)


def _furthest(run: BacktestRun, signal: str, levels: tuple[Level, ...]) -> float:
    return max(
        (_distance(r) or 0.0 for r in run.readings if r.signal.value == signal and r.level in levels), default=0.0
    )


def _effects(policy: Policy, signal: str) -> tuple[float, float | None] | None:
    """The policy's pair of effects, or None of a signal that has none."""
    try:
        return policy.effects(signal)
    except AttributeError:
        return None


def _enough(distances: Sequence[float], tolerated: int, now: float) -> float:
    """The smallest round effect, not below the present one, that at most `tolerated` of the distances exceed."""
    over = sorted(distances, reverse=True)
    needed = over[tolerated] if len(over) > tolerated else 0.0
    return now if needed <= now else round(math.ceil(round(needed / ROUND_STEP, 6)) * ROUND_STEP, 6)


def _mean(runs: Iterable[BacktestRun], score: str) -> float | None:
    """A score over all labelled answers of some runs."""
    known = [(getattr(run, score), run.labelled_count) for run in runs if getattr(run, score) is not None]
    count = sum(n for _, n in known)
    return math.fsum(value * n for value, n in known) / count if count else None
