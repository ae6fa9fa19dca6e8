"""What a window's counts of features measure: rates and distances with their standard errors, not yet judged."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.distributions import distribution_shift
from stillsafe.core.evidence.impact import DistributionShift, total_variation, total_variation_noise
from stillsafe.core.evidence.noise_limit import mean_noise_limit, rate_noise_limit, rate_standard_error, z_limit
from stillsafe.core.evidence.watch import watched_part
from stillsafe.core.policy import EvidencePolicy, Policy
from stillsafe.core.signals import (
    DIGITS,
    METRIC_SIGNALS,
    OUTPUT_SIGNALS,
    SIGNALS,
    Reading,
    Signal,
    evidence_of,
    insufficient,
    level_of,
    reading_key,
)
from stillsafe.core.window import FeatureTally, Tally, Window


@dataclass(frozen=True, slots=True)
class Measure:
    """A value and its reference, not yet compared with limits.

    Attributes:
        noise: the standard error of their difference by sampling.
        healthy_count: rows behind the reference of a rate; 0 for a mean.
    """

    signal: Signal
    feature: str | None
    value: float
    reference: float
    noise: float
    sample_count: int
    healthy_count: int = 0

    @property
    def key(self) -> str:
        """Key of the reading that it becomes."""
        return reading_key(self.signal, self.feature)


@dataclass(frozen=True, slots=True)
class RunMeasures:
    """What a window measures, before anything is judged.

    Attributes:
        baseline, tally: the healthy period and the fresh rows without the unwatched features.
        shift: their distributions, or None where there are too few rows or no bins.
        measures: those of single counts, with enough rows.
        reading_count: readings that share the false alarm rate.
        z: standard errors that noise exceeds with that rate.
        false_alarm_rate: of the run, as the policy has it.
    """

    baseline: Baseline
    tally: Tally
    shift: DistributionShift | None
    measures: tuple[Measure, ...]
    reading_count: int
    z: float
    false_alarm_rate: float


def measure_run(policy: Policy, baseline: Baseline, window: Window) -> RunMeasures:
    """Measure the fresh rows of a window against a baseline."""
    baseline, tally = watched_part(baseline, window.fresh, policy.unwatched_features)
    has_predictions = window.total.judged_count >= policy.min_predictions
    # A refused request is a request, so refusals are judged even where there are no predictions.
    has_requests = window.total.prediction_count + window.total.refusal_count >= policy.min_predictions
    is_enough = has_enough_rows(policy, window)
    shift = distribution_shift(baseline, tally, policy.evidence) if is_enough else None
    measures = [
        *(confidence_measures(baseline, tally) if has_predictions else ()),
        *(repetition_measures(baseline, tally) if is_enough else ()),
        *(refusal_measures(baseline, tally) if has_requests else ()),
        *(model_error_measures(baseline, tally) if has_predictions else ()),
        *(feature_measures(policy.evidence, baseline, tally, window.end) if has_predictions else ()),
        *(distribution_measures(shift, new_shares(baseline, window.end)) if shift is not None else ()),
    ]
    measures = [m for m in measures if m.sample_count >= policy.min_fresh_predictions and _is_finite(m, baseline)]
    reading_count = len(measures) + (len(baseline.joint.features) if baseline.joint else 0)
    z = z_limit(policy.false_alarm_rate, reading_count)
    return RunMeasures(baseline, tally, shift, tuple(measures), reading_count, z, policy.false_alarm_rate)


def has_enough_rows(policy: Policy, window: Window) -> bool:
    """Whether a window has enough predictions to judge the model by, whatever its clients send besides."""
    is_large = window.total.judged_count >= policy.min_predictions
    return is_large and window.fresh.judged_count >= policy.min_fresh_predictions


def leaves_predictions(policy: Policy, window: Window) -> bool:
    """Whether a window has new predictions that are too few to judge the model by: a later run judges them."""
    return window.fresh.prediction_count > 0 and not has_enough_rows(policy, window)


def confidence_measures(baseline: Baseline, tally: Tally) -> list[Measure]:
    """The mean confidence and the share of low ones."""
    n, healthy_n = tally.confidence_count, baseline.confidence_count
    mean, reference, healthy_sd = tally.avg_confidence, baseline.avg_confidence, baseline.confidence_sd
    if not n or not healthy_n or mean is None or reference is None or healthy_sd is None:
        return []
    if not math.isfinite(healthy_sd):  # a comparison with it would take the window's own variance for the noise
        return []
    # A float power raises where a product overflows to infinity, which `_finite` rejects, so products stand here.
    # `max` returns its first argument where that is NaN, so an unknown variance of the window stays unknown.
    variance = max(tally.confidence_square_sum / n - mean * mean, healthy_sd * healthy_sd)
    noise = math.sqrt(variance * (1 / n + 1 / healthy_n))
    measures = [Measure(Signal.AVG_CONFIDENCE, None, mean, reference, noise, n)]
    if baseline.low_confidence_rate is not None:
        low = (Signal.LOW_CONFIDENCE_RATE, None, tally.low_confidence_count, n)
        measures.append(rate_measure(*low, baseline.low_confidence_rate, healthy_n))
    return measures


def repetition_measures(baseline: Baseline, tally: Tally) -> list[Measure]:
    """The share of unexplained copies of repeated rows."""
    # Not while the copies wait for other rows, with which they are evidence once.
    copies = (tally.repeated_count + tally.judged_copy_count, tally.prediction_count)
    return [rate_measure(Signal.REPEATED_ROW_RATE, None, *copies, 0.0, baseline.sample_size)]


def refusal_measures(baseline: Baseline, tally: Tally) -> list[Measure]:
    """The share of requests that the schema refused."""
    n = tally.prediction_count + tally.refusal_count
    healthy_n = baseline.sample_size + baseline.refusal_count
    reference = baseline.refusal_count / healthy_n if healthy_n else 0.0
    return [rate_measure(Signal.REFUSAL_RATE, None, tally.refusal_count, n, reference, healthy_n)] if n else []


def model_error_measures(baseline: Baseline, tally: Tally) -> list[Measure]:
    """The share of predictions on which the model failed."""
    # A row without a score (bypassed, without a shadow) has no outcome of the model, so it does not count.
    by_model = max(tally.judged_count - tally.fallback_count, 0)
    n = (tally.confidence_count if baseline.confidence_count else by_model) + tally.model_error_count
    healthy_n = baseline.sample_size
    reference = baseline.model_error_count / healthy_n if healthy_n else 0.0
    return [rate_measure(Signal.MODEL_ERROR_RATE, None, tally.model_error_count, n, reference, healthy_n)] if n else []


def feature_measures(
    evidence: EvidencePolicy, baseline: Baseline, tally: Tally, at: datetime | None = None
) -> list[Measure]:
    """Missing values, and what is wrong with those that are present, per feature; `at` tells how many are new."""
    measures = []
    effective, shares = baseline.effective_size, new_shares(baseline, at)
    for name, healthy in baseline.features.items():
        now = tally.features.get(name, FeatureTally())
        n, healthy_n = now.value_count + now.missing_count, healthy.value_count + healthy.missing_count
        healthy_n = healthy_n if effective is None else min(effective, healthy_n)
        if n and healthy.view is None:  # a view is missing where its feature is
            missing = (now.missing_count, n, healthy.missing_rate, healthy_n)
            measures.append(rate_measure(Signal.MISSING_RATE, name, *missing))
        if now.value_count:
            measures += clock_measures(baseline, name, now) or _value_measures(
                evidence, name, healthy, now, shares.get(name, 0.0)
            )
    return measures


def clock_measures(baseline: Baseline, name: str, now: FeatureTally) -> list[Measure]:
    """The share of a clock feature's values that contradict the clock, of those whose time the baseline knows.

    Empty of another feature. Of a clock feature whose values the baseline cannot compare, the share is 0 of all values.
    """
    clock = baseline.clock.get(name)
    if clock is None:
        return []
    counts = (now.contradiction_count, now.clock_count) if now.clock_count else (0, now.value_count)
    healthy_n = sum(map(sum, clock.table.values()))
    return [rate_measure(Signal.CLOCK_CONTRADICTION_RATE, name, *counts, 0.0, healthy_n)]


def _value_measures(
    evidence: EvidencePolicy, name: str, healthy: FeatureBaseline, now: FeatureTally, new_share: float
) -> list[Measure]:
    n, healthy_n = now.value_count, healthy.value_count
    if healthy.bin_counts and not now.bin_counts:
        return []  # the log hides the values
    if healthy.is_categorical:
        reference = min(1.0, healthy.expected_unseen_rate + new_share)
        return [rate_measure(Signal.UNSEEN_CATEGORY_RATE, name, now.unseen_count, n, reference, healthy_n)]
    if healthy.minimum is not None:
        outside = now.below_count + now.above_count
        reference = healthy.expected_out_of_range_rate
        out_of_range = rate_measure(Signal.OUT_OF_RANGE_RATE, name, outside, n, reference, healthy_n)
        return [out_of_range, *_repeated_measure(evidence, name, healthy, now)]
    return []


def is_continuous(evidence: EvidencePolicy, feature: FeatureBaseline) -> bool:
    """Whether the feature has so many different numbers that one hardly ever repeats."""
    return feature.distinct_count >= evidence.repeat_min_distinct


def _repeated_measure(
    evidence: EvidencePolicy, name: str, healthy: FeatureBaseline, now: FeatureTally
) -> list[Measure]:
    """The share of the most common number, 0 where it is about as common as in the healthy period."""
    if not is_continuous(evidence, healthy):
        return []
    # A number that few values share is not in the window, so it is no repeated one.
    (number, count), n = now.commonest or (0.0, 0), now.value_count
    rate = healthy.usual_rate(math.nan if number is None else number)  # an erased one was not frequent
    if rate > evidence.repeat_max_usual_rate or count <= evidence.repeat_factor * rate * n:
        count, rate = 0, 0.0
    return [rate_measure(Signal.REPEATED_VALUE_RATE, name, count, n, rate, healthy.value_count)]


def new_shares(baseline: Baseline, at: datetime | None) -> dict[str, float]:
    """Per feature, the share of values that are expected to be new at a time because time has passed."""
    features = baseline.features.items()
    return {name: each.new_values.share_at(at) for name, each in features if each.new_values is not None}


def distribution_measures(
    shift: DistributionShift, new_by_feature: Mapping[str, float] = MappingProxyType({})
) -> list[Measure]:
    """The total variation distance of each feature and output from the baseline; new values move as well."""
    change, features = Signal.DISTRIBUTION_CHANGE, shift.clipped_features
    comparisons = [
        *((change, name, now, shift.healthy[name]) for name, now in features.items()),
        *((OUTPUT_SIGNALS[name], None, shift.outputs[name], shift.healthy_outputs[name]) for name in shift.outputs),
    ]
    measures = []
    for signal, feature, now, healthy in comparisons:
        reference, noise = total_variation_noise(healthy, shift.variance_factor)
        reference = min(1.0, reference + new_by_feature.get(feature or "", 0.0))
        measures.append(Measure(signal, feature, total_variation(now, healthy), reference, noise, shift.count))
    return measures


def rate_measure(signal: Signal, feature: str | None, count: int, n: int, reference: float, healthy_n: int) -> Measure:
    """A share of `n` against a share of `healthy_n`; one without a standard error counts as too little data."""
    value, healthy_n = count / n, max(healthy_n, 1)
    noise = rate_standard_error(value, n, reference, healthy_n)
    return Measure(signal, feature, value, reference, noise, n, healthy_n)


def noise_limit(measure: Measure, variation: float, z: float) -> float:
    """The distance from the reference that noise alone exceeds in one of so many standard errors `z`.

    Args:
        measure: a rate, a mean or a distance.
        variation: its standard deviation between chunks of the healthy period beyond sampling.
        z: see `z_limit`.
    """
    if measure.healthy_count:
        return rate_noise_limit(z, measure.sample_count, measure.reference, measure.healthy_count, variation)
    return mean_noise_limit(z, measure.noise, variation)


def measure_reading(policy: Policy, measure: Measure, baseline: Baseline, z: float) -> Reading:
    """A measure compared with the limits: deviating only beyond both the effect that matters and noise."""
    noise = noise_limit(measure, baseline.variation.get(measure.key, 0.0), z)
    if not math.isfinite(noise):
        return insufficient(measure.signal, measure.feature, measure.sample_count)
    impact_known = baseline.harm is not None
    moderate_effect, severe_effect = policy.effects(measure.signal, measure.feature, impact_known=impact_known)
    moderate = round(max(moderate_effect, noise), DIGITS)
    severe = None if severe_effect is None else round(max(severe_effect, noise), DIGITS)
    value, reference = round(measure.value, DIGITS), round(measure.reference, DIGITS)
    difference = abs(value - reference) if SIGNALS[measure.signal].two_sided else value - reference
    level = level_of(round(difference, DIGITS), moderate, severe)
    limits = moderate, severe, measure.sample_count
    evidence, noise = evidence_of(level), round(noise, DIGITS)
    return Reading(measure.signal, measure.feature, evidence, level, value, reference, *limits, noise=noise)


def silence_reading(policy: Policy, baseline: Baseline, window: Window, seconds_since_last: float | None) -> Reading:
    """The time since the last request; not judged without a limit, or where a run has just judged it."""
    signal, evidence, pause = Signal.SILENCE_SECONDS, policy.evidence, baseline.longest_pause_seconds
    pause = None if pause is None or not math.isfinite(pause) else pause  # a damaged baseline knows none
    is_recheck = (
        seconds_since_last is not None and seconds_since_last < evidence.silence_recheck_fraction * policy.every_seconds
    )
    limit = policy.silence_seconds
    if limit is None and pause is not None:
        limit = max(evidence.silence_pause_factor * pause, policy.window_seconds)
    silent = window.silent_seconds
    # Two runs in a row would count the same silence twice, so the second does not judge it.
    if is_recheck or not limit or silent is None or not (math.isfinite(silent) and math.isfinite(limit)):
        return insufficient(signal, None, 0)
    level = level_of(silent, limit, None)
    return Reading(signal, None, evidence_of(level), level, round(silent, 3), pause or 0.0, round(limit, 3), None, 0)


def _is_finite(measure: Measure, baseline: Baseline) -> bool:
    variation = baseline.variation.get(measure.key, 0.0)
    return all(math.isfinite(number) for number in (measure.value, measure.reference, measure.noise, variation))


def expected_signals(evidence: EvidencePolicy, baseline: Baseline) -> list[tuple[Signal, str | None]]:
    """The signals of a run in order, each with its feature: those that the baseline has a reference for."""
    pairs: list[tuple[Signal, str | None]] = []
    if baseline.confidence_count:
        pairs += [(Signal.AVG_CONFIDENCE, None), (Signal.LOW_CONFIDENCE_RATE, None)]
    pairs += [(signal, None) for signal in (Signal.REPEATED_ROW_RATE, Signal.REFUSAL_RATE, Signal.MODEL_ERROR_RATE)]
    for name, feature in sorted(baseline.features.items()):
        pairs += [(Signal.MISSING_RATE, name)] if feature.view is None else []
        if name in baseline.clock:
            pairs.append((Signal.CLOCK_CONTRADICTION_RATE, name))
            continue
        if feature.is_categorical:
            pairs.append((Signal.UNSEEN_CATEGORY_RATE, name))
        elif feature.minimum is not None:
            pairs.append((Signal.OUT_OF_RANGE_RATE, name))
        if is_continuous(evidence, feature):
            pairs.append((Signal.REPEATED_VALUE_RATE, name))
        if feature.bin_counts:
            pairs.append((Signal.DISTRIBUTION_CHANGE, name))
        if baseline.joint is not None and name in baseline.joint.features:
            pairs.append((Signal.BROKEN_RELATION_RATE, name))
    pairs += [(signal, None) for output, signal in OUTPUT_SIGNALS.items() if output in baseline.outputs]
    if baseline.harm is not None:
        signals = (METRIC_SIGNALS[each.metric] for each in (baseline.harm, *baseline.harm.also))
        pairs += [(signal, None) for signal in dict.fromkeys(signals)]
    return pairs
