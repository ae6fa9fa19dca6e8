"""From a baseline and a window to readings: how far each signal is from healthy, and whether that matters.

A signal deviates only where the difference exceeds both the policy's effect, so that it matters, and the noise limit
(`_noise_limit`): what sampling, the baseline's variation from chunk to chunk and the number of readings in the run
explain. So the same policy is right at 50 rows and at 500,000.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.corruption import distribution_shift
from stillsafe.core.evidence.diagnosis import diagnosis_readings
from stillsafe.core.evidence.impact import DistributionShift, total_variation, total_variation_noise
from stillsafe.core.evidence.watch import watched_part
from stillsafe.core.policy import EvidencePolicy, Policy
from stillsafe.core.signals import (
    DIGITS,
    METRIC_SIGNALS,
    OUTPUT_SIGNALS,
    SIGNALS,
    Evidence,
    Reading,
    Signal,
    evidence_of,
    insufficient,
    level_of,
    reading_key,
)
from stillsafe.core.window import FeatureTally, Tally, Window


@dataclass(frozen=True, slots=True)
class _Measure:
    """A value and its reference, not yet compared with limits.

    Attributes:
        noise: the standard error of their difference.
        grain: one row's share of `value`, where rows are counted; 0 for a mean.
    """

    signal: Signal
    feature: str | None
    value: float
    reference: float
    noise: float
    sample_count: int
    grain: float = 0.0

    @property
    def key(self) -> str:
        """Key of the reading that it becomes."""
        return reading_key(self.signal, self.feature)


def read_signals(
    policy: Policy, baseline: Baseline, window: Window, seconds_since_last: float | None = None
) -> tuple[Reading, ...]:
    """Every reading of one run, in a fixed order; `INSUFFICIENT` where there is too little data.

    Based on `window.fresh`. A window with too few rows, or with too few fresh ones, gives no evidence; nor does a
    silence soon after the last conclusive run, which has judged it already.

    Args:
        policy: the rules' numbers.
        baseline: the healthy period of the window's model version.
        window: the window.
        seconds_since_last: time since the end of the last conclusive run's window, or None without one.
    """
    baseline, tally = watched_part(baseline, window.fresh, policy.unwatched_features)
    has_predictions = window.total.judged_count >= policy.min_predictions
    # A refused request is a request, so refusals are judged even where there are no predictions.
    has_requests = window.total.prediction_count + window.total.refusal_count >= policy.min_predictions
    is_enough = has_enough_rows(policy, window)
    shift = distribution_shift(baseline, tally, policy.evidence) if is_enough else None
    measures = [
        *(_confidence_measures(baseline, tally) if has_predictions else ()),
        *(_repetition_measures(baseline, tally) if is_enough else ()),
        *(_refusal_measures(baseline, tally) if has_requests else ()),
        *(_model_error_measures(baseline, tally) if has_predictions else ()),
        *(_feature_measures(policy.evidence, baseline, tally) if has_predictions else ()),
        *(_distribution_measures(shift) if shift is not None else ()),
    ]
    measures = [m for m in measures if m.sample_count >= policy.min_fresh_predictions and _finite(m, baseline)]
    z = z_limit(policy.false_alarm_rate, len(measures) + (len(baseline.joint.features) if baseline.joint else 0))
    readings = {m.key: _judge(policy, m, baseline, z) for m in measures}
    if shift is not None:
        readings |= diagnosis_readings(policy, baseline, tally, shift, readings, z)
    silence = _silence(policy, baseline, window, seconds_since_last)
    signals = _expected_signals(policy.evidence, baseline)
    return (*(readings.get(reading_key(s, f)) or insufficient(s, f, tally.judged_count) for s, f in signals), silence)


def run_evidence(policy: Policy, window: Window, readings: tuple[Reading, ...]) -> Evidence:
    """Evidence of a whole run: BAD if any reading is; else OK only where there were enough rows to judge."""
    readings = () if window.clock_jump else readings
    if any(reading.evidence is Evidence.BAD for reading in readings):
        return Evidence.BAD
    is_enough = bool(readings) and math.isfinite(window.fresh.confidence_sum) and has_enough_rows(policy, window)
    return Evidence.OK if is_enough else Evidence.INSUFFICIENT


def leaves_predictions(policy: Policy, window: Window) -> bool:
    """Whether a window has new predictions that are too few to judge the model by: a later run judges them."""
    return window.fresh.prediction_count > 0 and not has_enough_rows(policy, window)


def has_enough_rows(policy: Policy, window: Window) -> bool:
    """Whether a window has enough predictions to judge the model by, whatever its clients send besides."""
    is_large = window.total.judged_count >= policy.min_predictions
    return is_large and window.fresh.judged_count >= policy.min_fresh_predictions


def z_limit(false_alarm_rate: float, reading_count: int) -> float:
    """Standard errors that noise exceeds in any of `reading_count` two-sided readings with the given probability.

    By Bonferroni's inequality: each reading gets an equal part of the probability.
    """
    return NormalDist().inv_cdf(1 - false_alarm_rate / (2 * max(reading_count, 1)))


def _expected_signals(evidence: EvidencePolicy, baseline: Baseline) -> list[tuple[Signal, str | None]]:
    pairs: list[tuple[Signal, str | None]] = []
    if baseline.confidence_count:
        pairs += [(Signal.AVG_CONFIDENCE, None), (Signal.LOW_CONFIDENCE_RATE, None)]
    pairs += [(signal, None) for signal in (Signal.REPEATED_ROW_RATE, Signal.REFUSAL_RATE, Signal.MODEL_ERROR_RATE)]
    for name, feature in sorted(baseline.features.items()):
        pairs.append((Signal.MISSING_RATE, name))
        if feature.is_categorical:
            pairs.append((Signal.UNSEEN_CATEGORY_RATE, name))
        elif feature.minimum is not None:
            pairs.append((Signal.OUT_OF_RANGE_RATE, name))
        if _is_continuous(evidence, feature):
            pairs.append((Signal.REPEATED_VALUE_RATE, name))
        if feature.bin_counts:
            pairs.append((Signal.DISTRIBUTION_CHANGE, name))
        if baseline.joint is not None and name in baseline.joint.features:
            pairs.append((Signal.BROKEN_RELATION_RATE, name))
    pairs += [(signal, None) for output, signal in OUTPUT_SIGNALS.items() if output in baseline.outputs]
    if baseline.harm is not None:
        pairs.append((METRIC_SIGNALS[baseline.harm.metric], None))
    return pairs


def _confidence_measures(baseline: Baseline, tally: Tally) -> list[_Measure]:
    n, healthy_n = tally.confidence_count, baseline.confidence_count
    mean, reference, healthy_sd = tally.avg_confidence, baseline.avg_confidence, baseline.confidence_sd
    if not n or not healthy_n or mean is None or reference is None or healthy_sd is None:
        return []
    # A float power raises where a product overflows to infinity, which `_finite` rejects, so products stand here.
    # `max` returns its first argument where that is NaN, so an unknown variance of the window stays unknown.
    variance = max(tally.confidence_square_sum / n - mean * mean, healthy_sd * healthy_sd)
    noise = math.sqrt(variance * (1 / n + 1 / healthy_n))
    measures = [_Measure(Signal.AVG_CONFIDENCE, None, mean, reference, noise, n)]
    if baseline.low_confidence_rate is not None:
        low = (Signal.LOW_CONFIDENCE_RATE, None, tally.low_confidence_count, n)
        measures.append(_rate(*low, baseline.low_confidence_rate, healthy_n))
    return measures


def _repetition_measures(baseline: Baseline, tally: Tally) -> list[_Measure]:
    # Only beside enough other rows: where nothing else comes nobody is judged, and copies that wait for other rows are
    # evidence once.
    copies = (tally.repeated_count, tally.prediction_count)
    return [_rate(Signal.REPEATED_ROW_RATE, None, *copies, 0.0, baseline.sample_size)]


def _refusal_measures(baseline: Baseline, tally: Tally) -> list[_Measure]:
    n = tally.prediction_count + tally.refusal_count
    healthy_n = baseline.sample_size + baseline.refusal_count
    reference = baseline.refusal_count / healthy_n if healthy_n else 0.0
    return [_rate(Signal.REFUSAL_RATE, None, tally.refusal_count, n, reference, healthy_n)] if n else []


def _model_error_measures(baseline: Baseline, tally: Tally) -> list[_Measure]:
    # A row without a score (bypassed, without a shadow) has no outcome of the model, so it does not count.
    by_model = max(tally.judged_count - tally.fallback_count, 0)
    n = (tally.confidence_count if baseline.confidence_count else by_model) + tally.model_error_count
    healthy_n = baseline.sample_size
    reference = baseline.model_error_count / healthy_n if healthy_n else 0.0
    return [_rate(Signal.MODEL_ERROR_RATE, None, tally.model_error_count, n, reference, healthy_n)] if n else []


def _feature_measures(evidence: EvidencePolicy, baseline: Baseline, tally: Tally) -> list[_Measure]:
    measures = []
    for name, healthy in baseline.features.items():
        now = tally.features.get(name, FeatureTally())
        n, healthy_n = now.value_count + now.missing_count, healthy.value_count + healthy.missing_count
        if n:
            measures.append(_rate(Signal.MISSING_RATE, name, now.missing_count, n, healthy.missing_rate, healthy_n))
        if now.value_count:
            measures += _value_measures(evidence, name, healthy, now)
    return measures


def _value_measures(evidence: EvidencePolicy, name: str, healthy: FeatureBaseline, now: FeatureTally) -> list[_Measure]:
    n, healthy_n = now.value_count, healthy.value_count
    if healthy.bin_counts and not now.bin_counts:
        return []  # the log hides the values
    if healthy.is_categorical:
        reference = healthy.expected_unseen_rate
        return [_rate(Signal.UNSEEN_CATEGORY_RATE, name, now.unseen_count, n, reference, healthy_n)]
    if healthy.minimum is not None:
        outside = now.below_count + now.above_count
        rate = _rate(Signal.OUT_OF_RANGE_RATE, name, outside, n, healthy.expected_out_of_range_rate, healthy_n)
        return [rate, *_repeated_measure(evidence, name, healthy, now)]
    return []


def _is_continuous(evidence: EvidencePolicy, feature: FeatureBaseline) -> bool:
    """Whether the feature has so many different numbers that one hardly ever repeats."""
    return feature.distinct_count >= evidence.repeat_min_distinct


def _repeated_measure(
    evidence: EvidencePolicy, name: str, healthy: FeatureBaseline, now: FeatureTally
) -> list[_Measure]:
    """The share of the most common number, 0 where it is about as common as in the healthy period."""
    if now.commonest is None or not _is_continuous(evidence, healthy):
        return []
    (number, count), n = now.commonest, now.value_count
    rate = healthy.usual_rate(number)
    if rate > evidence.repeat_max_usual_rate or count <= evidence.repeat_factor * rate * n:
        count, rate = 0, 0.0
    return [_rate(Signal.REPEATED_VALUE_RATE, name, count, n, rate, healthy.value_count)]


def _distribution_measures(shift: DistributionShift) -> list[_Measure]:
    change, features = Signal.DISTRIBUTION_CHANGE, shift.clipped_features
    comparisons = [
        *((change, name, features[name], shift.healthy[name]) for name in shift.features),
        *((OUTPUT_SIGNALS[name], None, shift.outputs[name], shift.healthy_outputs[name]) for name in shift.outputs),
    ]
    measures = []
    for signal, feature, now, healthy in comparisons:
        reference, noise = total_variation_noise(healthy, shift.variance_factor)
        measures.append(_Measure(signal, feature, total_variation(now, healthy), reference, noise, shift.count))
    return measures


def _rate(signal: Signal, feature: str | None, count: int, n: int, reference: float, healthy_n: int) -> _Measure:
    """A share of `n` against a share of `healthy_n`, with the pooled standard error of their difference.

    The two-proportion score test, with one success and one failure added to the pool so that a share of
    zero keeps a width (A. Agresti and B. Caffo, The American Statistician 54, 2000).
    """
    healthy_n = max(healthy_n, 1)
    share = (count + reference * healthy_n + 1) / (n + healthy_n + 2)
    # Counts that contradict one another give no standard error, so NaN marks them as too little data.
    noise = math.sqrt(share * (1 - share) * (1 / n + 1 / healthy_n)) if 0 <= share <= 1 else math.nan
    return _Measure(signal, feature, count / n, reference, noise, n, grain=1 / n)


def _noise_limit(measure: _Measure, variation: float, z: float) -> float:
    """The distance that noise alone exceeds with the policy's false alarm rate.

    `z` standard errors are enough for a mean but not for a few rare events, whose tail is longer than the normal
    one: two of 25 are no surprise where one in 200 is usual. Hence the linear term of Bernstein's inequality
    (S. Boucheron, G. Lugosi and P. Massart, Concentration Inequalities, 2013, section 2.8), with z² / 2 for the
    logarithm of the chance.
    """
    slack = z * z * measure.grain / 6
    return slack + math.hypot(slack, z * measure.noise, z * variation)


def _judge(policy: Policy, measure: _Measure, baseline: Baseline, z: float) -> Reading:
    noise = _noise_limit(measure, baseline.variation.get(measure.key, 0.0), z)
    impact_known = baseline.harm is not None
    moderate_effect, severe_effect = policy.effects(measure.signal, measure.feature, impact_known=impact_known)
    moderate = round(max(moderate_effect, noise), DIGITS)
    severe = None if severe_effect is None else round(max(severe_effect, noise), DIGITS)
    value, reference = round(measure.value, DIGITS), round(measure.reference, DIGITS)
    difference = abs(value - reference) if SIGNALS[measure.signal].two_sided else value - reference
    level = level_of(round(difference, DIGITS), moderate, severe)
    n = measure.sample_count
    return Reading(measure.signal, measure.feature, evidence_of(level), level, value, reference, moderate, severe, n)


def _silence(policy: Policy, baseline: Baseline, window: Window, seconds_since_last: float | None) -> Reading:
    signal, evidence, pause = Signal.SILENCE_SECONDS, policy.evidence, baseline.longest_pause_seconds
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


def _finite(measure: _Measure, baseline: Baseline) -> bool:
    variation = baseline.variation.get(measure.key, 0.0)
    return all(math.isfinite(number) for number in (measure.value, measure.reference, measure.noise, variation))
