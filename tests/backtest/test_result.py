"""The figures of a backtest follow from its runs, and from nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stillsafe.backtest.result import (
    BacktestRun,
    SuggestedLimit,
    fallback_price,
    fallback_worse,
    injected_stretch,
    ratio,
    signal_summaries,
    suggested_limits,
    toml_lines,
)
from stillsafe.core.evidence.impact import Metric
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Severity, State

START = datetime(2026, 3, 1, tzinfo=UTC)


def reading(value: float, *, signal: Signal = Signal.MISSING_RATE, feature: str | None = "size") -> Reading:
    """A reading with the policy's own limits around a healthy 10%."""
    moderate, severe = Policy().effects(signal.value)
    apart = abs(value - 0.1) if signal is Signal.AVG_CONFIDENCE else value - 0.1
    level = Level.SEVERE if severe and apart > severe else Level.MODERATE if apart > moderate else Level.NONE
    evidence = Evidence.OK if level is Level.NONE else Evidence.BAD
    return Reading(signal, feature, evidence, level, value, 0.1, moderate, severe, 500)


UNREAD = Reading(Signal.MISSING_RATE, "size", Evidence.INSUFFICIENT, Level.NONE, None, None, None, None, 3)


def run(number: int, *readings: Reading, **changes: Any) -> BacktestRun:
    """A run that concluded something, calm unless a reading deviates."""
    bad = any(one.evidence is Evidence.BAD for one in readings)
    given: dict[str, Any] = {
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
        "reason": "made up",
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
    return BacktestRun(**{**given, **changes})


def test_distance_is_told_in_limits() -> None:
    """Above 1 a reading deviates; on the good side of a one-sided signal, or unread, it is nowhere near."""
    assert ratio(reading(0.2)) == pytest.approx(2.0)
    assert ratio(reading(0.0)) == 0.0
    assert ratio(UNREAD) is None
    both = reading(0.0, signal=Signal.AVG_CONFIDENCE, feature=None)
    assert ratio(both) == pytest.approx(2.0)
    silence = Reading(Signal.SILENCE_SECONDS, None, Evidence.BAD, Level.MODERATE, 1200.0, 180.0, 600.0, None, 0)
    assert ratio(silence) == pytest.approx(2.0)


def test_signals_are_told_worst_first() -> None:
    """By how often they deviate, then by how near they came; runs that concluded nothing do not count."""
    inconclusive = run(3, UNREAD, evidence=Evidence.INSUFFICIENT)
    found = signal_summaries([run(1, reading(0.4), reading(0.11, feature="floor")), run(2, reading(0.1)), inconclusive])
    assert [(one.key, one.bad_rate) for one in found] == [("missing_rate:size", 0.5), ("missing_rate:floor", 0.0)]
    assert found[0].largest_ratio == pytest.approx(6.0)


def test_one_run_in_a_hundred_may_go_on_deviating() -> None:
    """The limit is the smallest round one that the others stay within; a calm signal needs none."""
    runs = [run(i, reading(0.1)) for i in range(1, 199)]
    runs += [run(199, reading(0.223)), run(200, reading(0.9))]
    assert suggested_limits(Policy(), runs) == ()  # 2 of 200 are 1%
    runs += [run(201, reading(0.18), reading(0.5, feature="floor"))]
    (limit,) = suggested_limits(Policy(), runs)
    assert (limit.signal, limit.moderate, limit.moderate_now) == ("missing_rate", 0.13, 0.05)
    assert (limit.severe, limit.severe_now) == (0.25, 0.25)
    assert limit.bad_rate == pytest.approx(3 / 201)


def test_limits_are_written_as_the_settings_want_them() -> None:
    """Only those that change."""
    limits = [SuggestedLimit("missing_rate", 0.3, 0.3, 0.05, 0.25, 0.5), SuggestedLimit("a", 0.2, None, 0.1, None, 0.5)]
    assert toml_lines(limits) == (
        "missing_rate_moderate = 0.3  # 0.05 now",
        "missing_rate_severe = 0.3  # 0.25 now",
        "a_moderate = 0.2  # 0.1 now",
    )


def test_a_price_weighs_answers_and_not_runs() -> None:
    """A run with many labels counts for more; what was broken on purpose is not how the model is when healthy."""
    scored = {"model_score": 0.9, "fallback_score": 0.5, "served_score": 0.9}
    by_fallback = {"decided_by": "fallback", "state": State.DEGRADED, "state_before": State.DEGRADED}
    runs = [
        run(1, labelled_count=100, **scored),
        run(2, labelled_count=100, injected=True, **{**scored, "model_score": 0.1, "served_score": 0.1}),
        run(3, labelled_count=300, model_score=0.4, fallback_score=0.6, served_score=0.6, **by_fallback),
        run(4, labelled_count=100, model_score=0.8, fallback_score=0.2, served_score=0.2, **by_fallback),
        run(5, **by_fallback),
    ]
    price = fallback_price(Metric.ACCURACY, runs)
    assert (price.run_count, price.row_count) == (2, 400)
    assert price.model_score == pytest.approx(0.5)
    assert price.fallback_score == pytest.approx(0.5)
    assert price.difference == pytest.approx(0.0)
    assert price.healthy_score == pytest.approx(0.9)
    assert price.lost == pytest.approx(0.4)
    assert price.total_model_score == pytest.approx((90 + 10 + 120 + 80) / 600)
    assert price.total_served_score == pytest.approx((90 + 10 + 180 + 20) / 600)
    error = fallback_price(Metric.MEAN_ABSOLUTE_ERROR, runs)
    assert error.lost == pytest.approx(-0.4)


def test_worse_depends_on_the_metric() -> None:
    """More accuracy is better, more error is worse, and the same is no worse."""
    assert fallback_worse(Metric.ACCURACY, 0.9, 0.6)
    assert not fallback_worse(Metric.ACCURACY, 0.6, 0.6)
    assert fallback_worse(Metric.MEAN_ABSOLUTE_ERROR, 0.6, 0.9)


def test_a_state_is_timed_from_the_first_broken_run() -> None:
    """That run included; never is None, and without a broken run there is nothing to tell."""
    states = [State.NORMAL, State.NORMAL, State.WARNING, State.WARNING]
    runs = [run(i, state=state, injected=i > 1) for i, state in enumerate(states, start=1)]
    found = injected_stretch(("nulls:size",), 0.5, runs)
    assert found is not None
    assert (found.first_run, found.runs_to_warning, found.runs_to_degraded) == (2, 2, None)
    assert injected_stretch(("nulls:size",), 0.5, runs[:1]) is None
