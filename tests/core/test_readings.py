"""Readings: what is large enough to matter and beyond what noise explains."""

import math
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from statistics import NormalDist

import pytest

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.measures import leaves_predictions
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.noise_limit import z_limit
from stillsafe.core.policy import Policy
from stillsafe.core.readings import read_signals, run_evidence
from stillsafe.core.schema import FeatureType
from stillsafe.core.signals import Evidence, Level, Reading
from stillsafe.core.window import FeatureTally, Tally, Window

from .healthy import START, a_baseline, a_tally, a_window

POLICY = Policy()
HEALTHY = Baseline(
    "b",
    "1",
    START,
    a_baseline(Random(0), 10).source,
    sample_size=10_000,
    confidence_count=10_000,
    avg_confidence=0.86,
    confidence_sd=0.12,
    low_confidence_threshold=0.7,
    low_confidence_rate=0.1,
    features={
        "temp": FeatureBaseline(FeatureType.NUMERIC, 9_900, 100, -20.0, 40.0),
        "word": FeatureBaseline(FeatureType.CATEGORY, 10_000, 0, category_counts={"a": 9_970, "b": 30}),
    },
)


def tally(n: int = 500, mean: float = 0.86, **changes: object) -> Tally:
    """A healthy tally of `n` rows but for the changes."""
    healthy = Tally(
        prediction_count=n,
        confidence_count=n,
        confidence_sum=mean * n,
        confidence_square_sum=(mean * mean + 0.0144) * n,
        low_confidence_count=round(0.1 * n),
        features={"temp": FeatureTally(n - n // 100, n // 100), "word": FeatureTally(n)},
    )
    return replace(healthy, **changes)  # type: ignore[arg-type] # the names are checked by the call itself


def by_key(
    fresh: Tally, policy: Policy = POLICY, baseline: Baseline = HEALTHY, window: Window | None = None
) -> Mapping[str, Reading]:
    """The readings of a window."""
    return {reading.key: reading for reading in read_signals(policy, baseline, window or a_window(fresh))}


@pytest.mark.parametrize("n", [25, 30, 50, 200, 5_000, 500_000])
@pytest.mark.parametrize("baseline_size", [300, 10_000])
def test_healthy_windows_hardly_ever_deviate(n: int, baseline_size: int) -> None:
    """Of 2000 healthy windows of any size, rates near zero included, at most one in a hundred has a reading deviate."""
    random, alarms = Random(n + baseline_size), 0
    for turn in range(2_000):
        if turn % 50 == 0:
            baseline = a_baseline(random, baseline_size)
        fresh = a_tally(random, n, baseline_size)
        window = a_window(fresh, total=replace(fresh, prediction_count=max(n, 50)))
        alarms += any(reading.evidence is Evidence.BAD for reading in read_signals(POLICY, baseline, window))
    assert alarms <= 20


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1])
def test_rare_events_in_small_windows_are_no_alarm(rate: float) -> None:
    """A handful of rare events has a longer tail than the normal one, and the limit knows it."""
    random, alarms = Random(3), 0
    words = {"a": 10_000 - round(rate * 10_000)} | {f"once-{k}": 1 for k in range(round(rate * 10_000))}
    word = FeatureBaseline(FeatureType.CATEGORY, 10_000, 0, category_counts=words)
    baseline = replace(HEALTHY, features={"word": word})
    for _ in range(2_000):
        unseen = sum(random.random() < rate for _ in range(30))
        fresh = tally(30, features={"word": FeatureTally(30, unseen_count=unseen)})
        reading = by_key(fresh, baseline=baseline, window=a_window(fresh, tally(50)))["unseen_category_rate:word"]
        assert reading.evidence is not Evidence.INSUFFICIENT
        alarms += reading.evidence is Evidence.BAD
    assert alarms <= 2


@pytest.mark.parametrize(
    ("fresh", "key"),
    [
        (tally(1_000_000, mean=0.82), "avg_confidence"),
        (tally(1_000_000, low_confidence_count=190_000), "low_confidence_rate"),
        (tally(1_000_000, features={"temp": FeatureTally(945_000, 55_000)}), "missing_rate:temp"),
        (tally(1_000_000, features={"temp": FeatureTally(1_000_000, above_count=45_000)}), "out_of_range_rate:temp"),
        (
            tally(1_000_000, features={"word": FeatureTally(1_000_000, unseen_count=45_000)}),
            "unseen_category_rate:word",
        ),
        (tally(1_000_000, refusal_count=40_000), "refusal_rate"),
        (tally(1_000_000, model_error_count=15_000), "model_error_rate"),
    ],
)
def test_what_does_not_matter_is_calm_however_certain(fresh: Tally, key: str) -> None:
    """A million rows make any difference significant; only an effect that matters deviates."""
    assert by_key(fresh)[key].evidence is Evidence.OK


@pytest.mark.parametrize(
    ("fresh", "key"),
    [
        (tally(mean=0.73), "avg_confidence"),
        (tally(mean=0.99), "avg_confidence"),
        (tally(low_confidence_count=200), "low_confidence_rate"),
        (tally(features={"temp": FeatureTally(300, 200)}), "missing_rate:temp"),
        (tally(features={"temp": FeatureTally(500, above_count=100, below_count=100)}), "out_of_range_rate:temp"),
        (tally(features={"word": FeatureTally(500, unseen_count=150)}), "unseen_category_rate:word"),
        (tally(model_error_count=100), "model_error_rate"),
    ],
)
def test_what_harms_is_severe(fresh: Tally, key: str) -> None:
    """Each signal sees the failure that it is there for, and no other signal does."""
    readings = by_key(fresh)
    assert readings[key].level is Level.SEVERE
    assert [other for other, reading in readings.items() if reading.evidence is Evidence.BAD] == [key]


def test_only_confidence_hurts_on_both_sides() -> None:
    """Fewer missing values, refusals or unsure answers than usual are no deviation; more confidence is."""
    baseline = replace(HEALTHY, refusal_count=5_000, model_error_count=3_000, low_confidence_rate=0.6)
    readings = by_key(tally(5_000, mean=0.96, low_confidence_count=0), baseline=baseline)
    assert [key for key, reading in readings.items() if reading.evidence is Evidence.BAD] == ["avg_confidence"]


def test_a_level_is_reached_beyond_its_limit_not_at_it() -> None:
    """The limit itself is still allowed, whatever binary fractions make of it."""
    levels = [by_key(tally(100_000, mean=mean))["avg_confidence"].level for mean in (0.81, 0.8099, 0.74, 0.7399)]
    assert levels == [Level.NONE, Level.MODERATE, Level.MODERATE, Level.SEVERE]


def test_the_baselines_own_variation_widens_the_limit() -> None:
    """What differs from one healthy stretch to the next is no deviation, however large the window."""
    fresh = tally(100_000, mean=0.80)
    assert by_key(fresh)["avg_confidence"].evidence is Evidence.BAD
    varying = replace(HEALTHY, variation={"avg_confidence": 0.03})
    assert by_key(fresh, baseline=varying)["avg_confidence"].evidence is Evidence.OK


def test_more_readings_ask_more_of_each() -> None:
    """The chance of a false alarm is the run's, not the reading's."""
    limits = [z_limit(0.001, count) for count in (0, 1, 10, 1_000)]
    assert limits[0] == limits[1] == pytest.approx(NormalDist().inv_cdf(0.9995))
    assert limits == sorted(limits)


def test_references_of_things_never_seen_are_not_zero() -> None:
    """New categories and new extremes are expected at the rates of Good-Turing and 2 / (n + 1)."""
    words = {"a": 9_998, "b": 1, "c": 1}
    word = FeatureBaseline(FeatureType.CATEGORY, 10_000, 0, category_counts=words)
    readings = by_key(tally(), baseline=replace(HEALTHY, features={**HEALTHY.features, "word": word}))
    assert readings["unseen_category_rate:word"].reference == 0.0002
    assert readings["out_of_range_rate:temp"].reference == round(2 / 9_901, 6)


@pytest.mark.parametrize(
    "fresh",
    [
        tally(confidence_sum=math.nan),
        tally(confidence_sum=math.inf),
        tally(confidence_sum=-math.inf),
        tally(confidence_square_sum=math.nan),
        tally(confidence_square_sum=math.inf),
    ],
)
def test_sums_that_are_no_numbers_are_too_little_evidence(fresh: Tally) -> None:
    """NaN and infinity are neither calm nor deviating; the other signals are read all the same."""
    readings = by_key(fresh)
    assert readings["avg_confidence"].evidence is Evidence.INSUFFICIENT
    assert readings["missing_rate:temp"].evidence is Evidence.OK


def test_a_run_whose_confidences_are_no_numbers_is_not_calm() -> None:
    """However calm the inputs are, nobody knows about the model."""
    window = a_window(tally(confidence_sum=math.nan))
    assert run_evidence(POLICY, window, read_signals(POLICY, HEALTHY, window)) is Evidence.INSUFFICIENT


def test_numbers_beyond_belief_overflow_nothing() -> None:
    """A sum that is finite and absurd deviates instead of raising."""
    assert by_key(tally(confidence_sum=1e300))["avg_confidence"].level is Level.SEVERE


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_variation_that_is_no_number_is_too_little_evidence(wrong: float) -> None:
    """A limit of infinity would be calm for ever."""
    baseline = replace(HEALTHY, variation={"missing_rate:temp": wrong})
    assert by_key(tally(), baseline=baseline)["missing_rate:temp"].evidence is Evidence.INSUFFICIENT


@pytest.mark.parametrize(
    ("total", "fresh", "expected"),
    [
        (50, 25, Evidence.OK),
        (49, 49, Evidence.INSUFFICIENT),
        (500, 24, Evidence.INSUFFICIENT),
        (0, 0, Evidence.INSUFFICIENT),
    ],
)
def test_a_run_is_calm_only_with_rows_enough(total: int, fresh: int, expected: Evidence) -> None:
    """Hardly any rows, or hardly any new ones, conclude nothing."""
    window = a_window(tally(fresh), tally(total))
    assert run_evidence(POLICY, window, read_signals(POLICY, HEALTHY, window)) is expected


def test_only_fresh_rows_are_judged() -> None:
    """A burst that an earlier run has judged is not evidence twice."""
    window = a_window(tally(200), total=tally(500, mean=0.4))
    assert by_key(tally(), window=window)["avg_confidence"].evidence is Evidence.OK


def test_refusals_are_judged_also_where_nothing_was_served() -> None:
    """A caller that is refused altogether leaves no prediction to count."""
    readings = by_key(Tally(refusal_count=60))
    assert readings["refusal_rate"].level is Level.MODERATE
    assert all(reading.evidence is not Evidence.OK for reading in readings.values())


def test_unscored_rows_say_nothing_about_the_model() -> None:
    """While the model is bypassed and nobody scores, its errors cannot be read; the inputs still can."""
    readings = by_key(tally(confidence_count=0, confidence_sum=0.0, confidence_square_sum=0.0, low_confidence_count=0))
    unread = sorted(key for key, reading in readings.items() if reading.evidence is Evidence.INSUFFICIENT)
    assert unread == ["avg_confidence", "low_confidence_rate", "model_error_rate", "silence_seconds"]


def test_a_feature_with_no_present_values_is_read_as_missing_only() -> None:
    """A column that is gone altogether cannot be out of range."""
    readings = by_key(tally(features={"temp": FeatureTally(0, 500), "word": FeatureTally(500)}))
    assert readings["missing_rate:temp"].level is Level.SEVERE
    assert readings["out_of_range_rate:temp"].evidence is Evidence.INSUFFICIENT


@pytest.mark.parametrize(
    ("policy_limit", "pause", "silent", "evidence", "limit"),
    [
        (None, None, 1e6, Evidence.INSUFFICIENT, None),
        (None, 60.0, 900.0, Evidence.OK, 900.0),
        (None, 600.0, 1_801.0, Evidence.BAD, 1_800.0),
        (300.0, 600.0, 301.0, Evidence.BAD, 300.0),
        (0, 600.0, 1e6, Evidence.INSUFFICIENT, None),
        (300.0, None, None, Evidence.INSUFFICIENT, None),
        (300.0, None, math.inf, Evidence.INSUFFICIENT, None),
        (None, math.nan, 1e6, Evidence.INSUFFICIENT, None),
    ],
)
def test_silence(
    policy_limit: float | None, pause: float | None, silent: float | None, evidence: Evidence, limit: float | None
) -> None:
    """Silence has the policy's limit, or three times the longest healthy pause but a window at least; never severe."""
    policy, baseline = Policy(silence_seconds=policy_limit), replace(HEALTHY, longest_pause_seconds=pause)
    window = a_window(Tally(), silent_seconds=silent)
    reading = by_key(Tally(), policy, baseline, window)["silence_seconds"]
    assert (reading.evidence, reading.moderate_limit, reading.severe_limit) == (evidence, limit, None)
    assert reading.level is not Level.SEVERE


def test_the_same_readings_in_the_same_order_every_run() -> None:
    """What cannot be read says so instead of being left out."""
    keys = [reading.key for reading in read_signals(POLICY, HEALTHY, a_window(tally()))]
    assert keys == [reading.key for reading in read_signals(POLICY, HEALTHY, a_window(Tally()))]
    assert keys == [
        "avg_confidence",
        "low_confidence_rate",
        "repeated_row_rate",
        "refusal_rate",
        "model_error_rate",
        "missing_rate:temp",
        "out_of_range_rate:temp",
        "missing_rate:word",
        "unseen_category_rate:word",
        "silence_seconds",
    ]


def test_a_model_without_confidences_is_watched_by_its_inputs() -> None:
    """No confidence in the baseline: none is asked for."""
    baseline = replace(HEALTHY, confidence_count=0, avg_confidence=None, confidence_sd=None, low_confidence_rate=None)
    fresh = tally(confidence_count=0, confidence_sum=0.0, confidence_square_sum=0.0, low_confidence_count=0)
    window = a_window(fresh)
    readings = read_signals(POLICY, baseline, window)
    assert "avg_confidence" not in {reading.key for reading in readings}
    assert run_evidence(POLICY, window, readings) is Evidence.OK


def test_one_silence_is_evidence_once() -> None:
    """Runs in quick succession over the same silence do not add up to a streak."""
    quiet, healthy = a_window(Tally(), silent_seconds=90_000.0), replace(HEALTHY, longest_pause_seconds=60.0)
    assert read_signals(POLICY, healthy, quiet)[-1].evidence is Evidence.BAD
    assert read_signals(POLICY, healthy, quiet, 3.0)[-1].evidence is Evidence.INSUFFICIENT
    assert read_signals(POLICY, healthy, quiet, POLICY.every_seconds)[-1].evidence is Evidence.BAD


@pytest.mark.parametrize(
    ("fresh", "key"),
    [(tally(refusal_count=5_000), "refusal_rate"), (tally(2_000, repeated_count=1_900), "repeated_row_rate")],
)
def test_what_clients_send_is_never_severe(fresh: Tally, key: str) -> None:
    """However many requests are refused or repeated: the model is not at fault."""
    reading = by_key(fresh)[key]
    assert (reading.level, reading.severe_limit) == (Level.MODERATE, None)


def test_copies_are_no_evidence() -> None:
    """A window is judged by its other rows: where they are too few nothing is judged, and they wait for more."""
    few, enough = tally(500, repeated_count=460), tally(500, repeated_count=400)
    readings = by_key(few)
    assert all(reading.evidence is not Evidence.BAD for reading in readings.values())
    assert readings["repeated_row_rate"].evidence is Evidence.INSUFFICIENT
    assert leaves_predictions(POLICY, a_window(few))
    assert not leaves_predictions(POLICY, a_window(enough))
    assert not leaves_predictions(POLICY, a_window(Tally(refusal_count=90)))
    assert (by_key(enough)["repeated_row_rate"].value, by_key(enough)["missing_rate:temp"].evidence) == (
        0.8,
        Evidence.OK,
    )


def test_a_written_limit_is_severe_where_the_impact_is_known() -> None:
    """Second limits rest where the impact can be estimated, but for those that the owner wrote."""
    impact = PerformanceImpact(Metric.ACCURACY, labelled=True, healthy_error=0.1, all_permuted=0.4, features={})
    baseline = replace(HEALTHY, harm=impact)
    fresh = tally(features={"temp": FeatureTally(300, 200), "word": FeatureTally(500, unseen_count=150)})
    policy = replace(POLICY, missing_rate_severe=0.06, written_limits=("missing_rate_severe",))
    resting, written_readings = (by_key(fresh, each, baseline) for each in (replace(policy, written_limits=()), policy))
    assert (resting["missing_rate:temp"].level, resting["missing_rate:temp"].severe_limit) == (Level.MODERATE, None)
    assert (written_readings["missing_rate:temp"].level, written_readings["missing_rate:temp"].severe_limit) == (
        Level.SEVERE,
        0.06,
    )
    assert written_readings["unseen_category_rate:word"].level is Level.MODERATE


def test_of_a_value_that_the_log_hides_only_its_absence_is_read() -> None:
    """A window without bins, where the baseline has them, shows no range and no category."""
    bins = {"temp": Bins((0.0,), -50.0, 70.0), "word": Bins(categories=("a", "b"))}
    features = {
        name: replace(feature, bins=bins[name], bin_counts=(1,) * bins[name].size)
        for name, feature in HEALTHY.features.items()
    }
    readings = by_key(tally(), baseline=replace(HEALTHY, features=features))
    evidence = {key: r.evidence for key, r in readings.items() if r.feature is not None}
    assert {key for key, each in evidence.items() if each is Evidence.OK} == {"missing_rate:temp", "missing_rate:word"}
    assert Evidence.BAD not in evidence.values()
