"""Statistics over the runs of a backtest: rates, signals, the fallback comparison, suggested limits. Pure."""

import math
from collections.abc import Callable, Iterable, Sequence

from stillsafe.backtest.result import (
    FALLBACK,
    BacktestRun,
    FallbackComparison,
    InjectionOutcome,
    SignalSummary,
    SuggestedLimit,
)
from stillsafe.backtest.run_scores import ScoreOfRuns
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal, distance, excess
from stillsafe.core.state import State

ACCEPTED_ALARM_RATE = 0.01
LIMIT_STEP = 0.01


def share(runs: Sequence[BacktestRun], predicate: Callable[[BacktestRun], bool]) -> float:
    """Fraction of the runs for which `predicate` is true, in [0, 1]; 0 without runs."""
    return sum(map(predicate, runs)) / len(runs) if runs else 0.0


def degradation_count(runs: Iterable[BacktestRun]) -> int:
    """How often a run entered DEGRADED."""
    return sum(run.state is State.DEGRADED and run.state_before is not State.DEGRADED for run in runs)


def deviation_ratio(reading: Reading) -> float | None:
    """Deviation from the baseline divided by the moderate limit; None if the reading was not evaluated."""
    if reading.evidence is Evidence.INSUFFICIENT or reading.value is None or not reading.moderate_limit:
        return None
    return excess(reading)


def signal_summaries(runs: Sequence[BacktestRun]) -> tuple[SignalSummary, ...]:
    """One summary for each evaluated signal: by deviation rate, then by largest ratio, descending."""
    conclusive = [run for run in runs if run.conclusive]
    bad_counts: dict[str, int] = {}
    largest_ratios: dict[str, float] = {}
    for run in conclusive:
        for reading in run.readings:
            if (ratio := deviation_ratio(reading)) is not None:
                bad_counts[reading.key] = bad_counts.get(reading.key, 0) + (reading.evidence is Evidence.BAD)
                largest_ratios[reading.key] = max(largest_ratios.get(reading.key, 0.0), ratio)
    summaries = [
        SignalSummary(key, count / len(conclusive), round(largest_ratios[key], 3)) for key, count in bad_counts.items()
    ]
    return tuple(sorted(summaries, key=lambda s: (-s.bad_rate, -(s.largest_ratio or 0.0), s.key)))


def compare_fallback(
    metric: Metric, runs: Sequence[BacktestRun], score_of_runs: ScoreOfRuns | None = None
) -> FallbackComparison:
    """Compare the fallback's score with the model's over the runs that the fallback would have answered.

    Args:
        metric: of the scores.
        runs: all runs.
        score_of_runs: one score over the rows of some runs; by default its mean over them.
    """

    def total(some_runs: Iterable[BacktestRun], name: str) -> float | None:
        labelled_runs = [run for run in some_runs if run.labelled_count]
        if score_of_runs is None:
            return _mean_score(labelled_runs, name)
        return score_of_runs([run.number for run in labelled_runs], name)

    bypassed_runs = [run for run in runs if run.decided_by == FALLBACK and run.labelled_count]
    model, fallback = total(bypassed_runs, "model_score"), total(bypassed_runs, "fallback_score")
    healthy = total([run for run in runs if _is_healthy(run)], "model_score")
    sign = 1 if metric.is_score else -1
    return FallbackComparison(
        run_count=len(bypassed_runs),
        row_count=sum(run.labelled_count for run in bypassed_runs),
        model_score=model,
        fallback_score=fallback,
        difference=None if model is None or fallback is None else fallback - model,
        healthy_score=healthy,
        lost=None if model is None or healthy is None else sign * (healthy - model),
        total_model_score=total(runs, "model_score"),
        total_served_score=total(runs, "served_score"),
    )


def is_fallback_worse(metric: Metric, model_score: float, fallback_score: float) -> bool:
    """Whether the fallback's score is worse than the model's, in the direction of the metric."""
    return metric.is_worse(fallback_score, model_score)


def suggested_limits(policy: Policy, runs: Sequence[BacktestRun]) -> tuple[SuggestedLimit, ...]:
    """For each signal that deviated, the smallest round limits that at most 1% of the runs would exceed.

    Each run counts a signal once, by its largest deviation over all features. A higher limit cannot make a new
    reading deviate, so readings that do not deviate now are left out.
    """
    conclusive = [run for run in runs if run.conclusive]
    signals = {reading.signal for run in conclusive for reading in run.readings if reading.level is not Level.NONE}
    limits = (_suggested_limit(policy, signal, conclusive) for signal in sorted(signals))
    return tuple(limit for limit in limits if limit is not None)


def _suggested_limit(policy: Policy, signal: Signal, runs: Sequence[BacktestRun]) -> SuggestedLimit | None:
    """New limits of one signal; None if the present ones suffice or the policy has none for it."""
    try:
        effects = policy.effects(signal)
    except AttributeError:
        return None
    accepted_count = int(ACCEPTED_ALARM_RATE * len(runs))
    deviations = [_largest_deviation(run, signal, (Level.MODERATE, Level.SEVERE)) for run in runs]
    moderate = _sufficient_limit(deviations, accepted_count, effects[0])
    severe = effects[1]
    if severe is not None:
        severe_deviations = [_largest_deviation(run, signal, (Level.SEVERE,)) for run in runs]
        severe = max(_sufficient_limit(severe_deviations, accepted_count, severe), moderate)
    if (moderate, severe) == effects:
        return None
    bad_rate = sum(deviation > 0 for deviation in deviations) / len(runs)
    return SuggestedLimit(signal.value, moderate, severe, *effects, bad_rate)


def toml_lines(limits: Sequence[SuggestedLimit]) -> tuple[str, ...]:
    """The changed limits as lines for `[policy]`."""
    return tuple(
        f"{limit.signal}_{level} = {new:g}  # {now:g} now"
        for limit in limits
        for level, new, now in (
            ("moderate", limit.moderate, limit.moderate_now),
            ("severe", limit.severe, limit.severe_now),
        )
        if new != now
    )


def injection_outcome(
    faults: tuple[str, ...], start_share: float, runs: Sequence[BacktestRun]
) -> InjectionOutcome | None:
    """How many runs it took to detect the injected faults; None if no run contains any."""
    injected_runs = [run for run in runs if run.injected]
    if not injected_runs:
        return None
    first_run = injected_runs[0]

    def runs_until(*states: State) -> int | None:
        numbers = (run.number for run in injected_runs if run.state in states)
        number = next(numbers, None)
        return None if number is None else number - first_run.number + 1

    return InjectionOutcome(
        faults,
        start_share,
        first_run.number,
        first_run.state_before,
        runs_to_warning=runs_until(State.WARNING, State.DEGRADED),
        runs_to_degraded=runs_until(State.DEGRADED),
    )


def _is_healthy(run: BacktestRun) -> bool:
    return run.evidence is Evidence.OK and run.state_before is run.state is State.NORMAL and not run.injected


def _largest_deviation(run: BacktestRun, signal: Signal, levels: tuple[Level, ...]) -> float:
    readings = (reading for reading in run.readings if reading.signal is signal and reading.level in levels)
    return max(map(distance, readings), default=0.0)


def _sufficient_limit(deviations: Sequence[float], accepted_count: int, current_limit: float) -> float:
    """The smallest round limit, not below the current one, that at most `accepted_count` deviations exceed."""
    descending = sorted(deviations, reverse=True)
    least = descending[accepted_count] if len(descending) > accepted_count else 0.0
    if least <= current_limit:
        return current_limit
    return round(math.ceil(round(least / LIMIT_STEP, 6)) * LIMIT_STEP, 6)


def _mean_score(runs: Iterable[BacktestRun], name: str) -> float | None:
    """Mean of one score over all labelled rows; None without any."""
    weighted_scores = [(score, run.labelled_count) for run in runs if (score := getattr(run, name)) is not None]
    count = sum(weight for _, weight in weighted_scores)
    return math.fsum(score * weight for score, weight in weighted_scores) / count if count else None
