"""The statistics of a backtest follow from its runs alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stillsafe.backtest.result import BacktestRun, SuggestedLimit
from stillsafe.backtest.summary import (
    compare_fallback,
    deviation_ratio,
    injection_outcome,
    is_fallback_worse,
    signal_summaries,
    suggested_limits,
    toml_lines,
)
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Severity, State

START = datetime(2026, 3, 1, tzinfo=UTC)


def reading(value: float, *, signal: Signal = Signal.MISSING_RATE, feature: str | None = "size") -> Reading:
    """A reading with the limits of the default policy around a baseline of 10%."""
    moderate, severe = Policy().effects(signal)
    deviation = abs(value - 0.1) if signal is Signal.AVG_CONFIDENCE else value - 0.1
    level = Level.SEVERE if severe and deviation > severe else Level.MODERATE if deviation > moderate else Level.NONE
    evidence = Evidence.OK if level is Level.NONE else Evidence.BAD
    return Reading(signal, feature, evidence, level, value, 0.1, moderate, severe, 500)


NOT_EVALUATED = Reading(Signal.MISSING_RATE, "size", Evidence.INSUFFICIENT, Level.NONE, None, None, None, None, 3)


def run(number: int, *readings: Reading, **changes: Any) -> BacktestRun:
    """A conclusive run in state NORMAL; its evidence is BAD if a reading deviates."""
    bad = any(one.evidence is Evidence.BAD for one in readings)
    fields: dict[str, Any] = {
        "number": number,
        "window_start": START + timedelta(minutes=10 * (number - 1)),
        "window_end": START + timedelta(minutes=10 * number),
        "data_from": None,
        "data_until": None,
        "prediction_count": 500,
        "refusal_count": 0,
        "evidence": Evidence.BAD if bad else Evidence.OK,
        "severity": Severity.NORMAL,
        "state": State.NORMAL,
        "state_before": State.NORMAL,
        "readings": readings,
        "reason": "synthetic",
        "decided_by": "model",
        "shadow": False,
        "injected": False,
        "avg_confidence": None,
        "low_confidence_rate": None,
        "labelled_count": 0,
        "model_score": None,
        "fallback_score": None,
        "served_score": None,
    }
    return BacktestRun(**{**fields, **changes})


def test_a_deviation_is_measured_in_moderate_limits() -> None:
    """Above 1 a reading deviates; below the baseline of a one-sided signal it is 0; without a value it is None."""
    assert deviation_ratio(reading(0.2)) == pytest.approx(2.0)
    assert deviation_ratio(reading(0.0)) == 0.0
    assert deviation_ratio(NOT_EVALUATED) is None
    both = reading(0.0, signal=Signal.AVG_CONFIDENCE, feature=None)
    assert deviation_ratio(both) == pytest.approx(2.0)
    silence = Reading(Signal.SILENCE_SECONDS, None, Evidence.BAD, Level.MODERATE, 1200.0, 180.0, 600.0, None, 0)
    assert deviation_ratio(silence) == pytest.approx(2.0)


def test_signals_are_sorted_by_deviation_rate() -> None:
    """Ties are sorted by the largest ratio; inconclusive runs do not count."""
    inconclusive = run(3, NOT_EVALUATED, evidence=Evidence.INSUFFICIENT)
    summaries = signal_summaries(
        [run(1, reading(0.4), reading(0.11, feature="floor")), run(2, reading(0.1)), inconclusive]
    )
    assert [(one.key, one.bad_rate) for one in summaries] == [("missing_rate:size", 0.5), ("missing_rate:floor", 0.0)]
    assert summaries[0].largest_ratio == pytest.approx(6.0)


def test_a_suggested_limit_accepts_one_percent_of_the_runs() -> None:
    """It is the smallest round limit that the other runs stay within; a signal that does not deviate gets none."""
    runs = [run(i, reading(0.1)) for i in range(1, 199)]
    runs += [run(199, reading(0.223)), run(200, reading(0.9))]
    assert suggested_limits(Policy(), runs) == ()  # 2 of 200 are 1%
    runs += [run(201, reading(0.18), reading(0.5, feature="floor"))]
    (limit,) = suggested_limits(Policy(), runs)
    assert (limit.signal, limit.moderate, limit.moderate_now) == ("missing_rate", 0.13, 0.05)
    assert (limit.severe, limit.severe_now) == (0.25, 0.25)
    assert limit.bad_rate == pytest.approx(3 / 201)


def test_toml_lines_contain_only_changed_limits() -> None:
    """A line has the form of `[policy]` and the present value as a comment."""
    limits = [SuggestedLimit("missing_rate", 0.3, 0.3, 0.05, 0.25, 0.5), SuggestedLimit("a", 0.2, None, 0.1, None, 0.5)]
    assert toml_lines(limits) == (
        "missing_rate_moderate = 0.3  # 0.05 now",
        "missing_rate_severe = 0.3  # 0.25 now",
        "a_moderate = 0.2  # 0.1 now",
    )


def test_the_fallback_comparison_weights_rows_not_runs() -> None:
    """A run with many labels counts for more; runs with injected faults do not count towards the healthy score."""
    scores = {"model_score": 0.9, "fallback_score": 0.5, "served_score": 0.9}
    by_fallback = {"decided_by": "fallback", "state": State.DEGRADED, "state_before": State.DEGRADED}
    runs = [
        run(1, labelled_count=100, **scores),
        run(2, labelled_count=100, injected=True, **{**scores, "model_score": 0.1, "served_score": 0.1}),
        run(3, labelled_count=300, model_score=0.4, fallback_score=0.6, served_score=0.6, **by_fallback),
        run(4, labelled_count=100, model_score=0.8, fallback_score=0.2, served_score=0.2, **by_fallback),
        run(5, **by_fallback),
    ]
    comparison = compare_fallback(Metric.ACCURACY, runs)
    assert (comparison.run_count, comparison.row_count) == (2, 400)
    assert comparison.model_score == pytest.approx(0.5)
    assert comparison.fallback_score == pytest.approx(0.5)
    assert comparison.difference == pytest.approx(0.0)
    assert comparison.healthy_score == pytest.approx(0.9)
    assert comparison.lost == pytest.approx(0.4)
    assert comparison.total_model_score == pytest.approx((90 + 10 + 120 + 80) / 600)
    assert comparison.total_served_score == pytest.approx((90 + 10 + 180 + 20) / 600)
    error = compare_fallback(Metric.MEAN_ABSOLUTE_ERROR, runs)
    assert error.lost == pytest.approx(-0.4)


def test_worse_depends_on_the_metric() -> None:
    """A higher accuracy is better, a higher error is worse, and an equal score is not worse."""
    assert is_fallback_worse(Metric.ACCURACY, 0.9, 0.6)
    assert not is_fallback_worse(Metric.ACCURACY, 0.6, 0.6)
    assert is_fallback_worse(Metric.MEAN_ABSOLUTE_ERROR, 0.6, 0.9)


def test_detection_is_timed_from_the_first_run_with_injected_faults() -> None:
    """That run counts; a state that is never reached is None; without such a run there is no outcome."""
    states = [State.NORMAL, State.NORMAL, State.WARNING, State.WARNING]
    runs = [run(i, state=state, injected=i > 1) for i, state in enumerate(states, start=1)]
    outcome = injection_outcome(("nulls:size",), 0.5, runs)
    assert outcome is not None
    assert (outcome.first_run, outcome.runs_to_warning, outcome.runs_to_degraded) == (2, 2, None)
    assert injection_outcome(("nulls:size",), 0.5, runs[:1]) is None
