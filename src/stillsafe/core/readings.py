"""From a baseline and a window to readings: how far each signal lies from healthy, and whether that matters.

A signal deviates only where two things hold at once: the difference is large enough to matter (the policy's
effect), and larger than sampling noise, the baseline's own variation from stretch to stretch, and the number
of readings in the run explain together (`_noise`). So the same policy is right at 50 rows and at 500,000.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.corruption import Diagnosis, diagnose, movement
from stillsafe.core.evidence.impact import Harm, Metric, Movement, distance, distance_noise, estimate
from stillsafe.core.policy import Policy
from stillsafe.core.schema import FeatureType
from stillsafe.core.signals import FAILURE, Evidence, Level, Reading, Signal
from stillsafe.core.window import FeatureTally, Tally, Window

DIGITS = 6
MANY_NUMBERS = 21  # different healthy values from which on a number hardly ever repeats
LARGEST_USUAL_RATE = 0.1  # a number that was more common than this may well become the commonest
MANY_TIMES = 6  # as common as in health, before a number counts as repeated


@dataclass(frozen=True, slots=True)
class _Measure:
    """A value and its reference before they are judged.

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
    two_sided: bool = False


def read(
    policy: Policy, baseline: Baseline, window: Window, judged_seconds_ago: float | None = None
) -> tuple[Reading, ...]:
    """Every reading of one run, in a fixed order; those without enough evidence say so.

    Judged on `window.fresh`. A window too small as a whole, or with hardly any fresh rows, gives no evidence; nor
    does a silence that the last conclusive run, less than half an interval ago, has judged already.
    """
    tally = window.fresh
    # A request that was refused is a request: refusals are judged also where nothing was served.
    served = window.total.prediction_count >= policy.min_predictions
    asked = window.total.prediction_count + window.total.refusal_count >= policy.min_predictions
    moved = movement(baseline, tally) if served and tally.prediction_count >= policy.min_fresh_predictions else None
    measures = [
        *(_confidence_measures(baseline, tally) if served else ()),
        *(_refusal_measures(baseline, tally) if asked else ()),
        *(_model_error_measures(baseline, tally) if served else ()),
        *(_feature_measures(baseline, tally) if served else ()),
        *(_distribution_measures(moved) if moved is not None else ()),
    ]
    enough = [m for m in measures if m.sample_count >= policy.min_fresh_predictions and _finite(m, baseline)]
    z = z_limit(policy.false_alarm_rate, len(enough) + (len(baseline.joint.features) if baseline.joint else 0))
    judged = {_key(m.signal, m.feature): _judge(policy, m, baseline, z) for m in enough}
    if moved is not None:
        diagnosis = _diagnosis(policy, baseline, tally, moved, judged, z)
        judged |= {
            key: _in_step(r) for key, r in judged.items() if r.signal in _REBUTTABLE and r.feature in diagnosis.sound
        }
        judged |= _relation_readings(policy, baseline, tally, diagnosis)
        judged |= _harm_reading(policy, baseline, moved, diagnosis)
    silence = _silence(policy, baseline, window, judged_seconds_ago)
    readings = [judged.get(_key(s, f)) or _insufficient(s, f, tally) for s, f in _expected(baseline)]
    return (*readings, silence)


def z_limit(false_alarm_rate: float, reading_count: int) -> float:
    """Standard errors beyond which noise takes one of `reading_count` two-sided readings with the given chance.

    Bonferroni's inequality: the chance is shared out equally.
    """
    return NormalDist().inv_cdf(1 - false_alarm_rate / (2 * max(reading_count, 1)))


def _expected(baseline: Baseline) -> list[tuple[Signal, str | None]]:
    pairs: list[tuple[Signal, str | None]] = []
    if baseline.confidence_count:
        pairs += [(Signal.AVG_CONFIDENCE, None), (Signal.LOW_CONFIDENCE_RATE, None)]
    pairs += [(Signal.REFUSAL_RATE, None), (Signal.MODEL_ERROR_RATE, None)]
    for name, feature in sorted(baseline.features.items()):
        pairs.append((Signal.MISSING_RATE, name))
        if feature.type is FeatureType.CATEGORY:
            pairs.append((Signal.UNSEEN_CATEGORY_RATE, name))
        elif feature.minimum is not None:
            pairs.append((Signal.OUT_OF_RANGE_RATE, name))
        if _hardly_repeats(feature):
            pairs.append((Signal.REPEATED_VALUE_RATE, name))
        if feature.bin_counts:
            pairs.append((Signal.DISTRIBUTION_CHANGE, name))
        if baseline.joint is not None and name in baseline.joint.features:
            pairs.append((Signal.BROKEN_RELATION_RATE, name))
    pairs += [(_OUTPUTS[name], None) for name in _OUTPUTS if name in baseline.outputs]
    if baseline.harm is not None:
        pairs.append((_HARM[baseline.harm.metric], None))
    return pairs


def _confidence_measures(baseline: Baseline, tally: Tally) -> list[_Measure]:
    n, healthy_n = tally.confidence_count, baseline.confidence_count
    mean, reference, healthy_sd = tally.avg_confidence, baseline.avg_confidence, baseline.confidence_sd
    if not n or not healthy_n or mean is None or reference is None or healthy_sd is None:
        return []
    # Products, not powers: a float power raises where a product overflows to infinity, and infinity is told apart.
    # The window's variance comes first, so that an unknown one (NaN) stays unknown.
    variance = max(tally.confidence_square_sum / n - mean * mean, healthy_sd * healthy_sd)
    measures = [
        _Measure(
            Signal.AVG_CONFIDENCE,
            None,
            mean,
            reference,
            math.sqrt(variance * (1 / n + 1 / healthy_n)),
            n,
            two_sided=True,
        )
    ]
    if baseline.low_confidence_rate is not None:
        measures.append(
            _rate(
                Signal.LOW_CONFIDENCE_RATE, None, tally.low_confidence_count, n, baseline.low_confidence_rate, healthy_n
            )
        )
    return measures


def _refusal_measures(baseline: Baseline, tally: Tally) -> list[_Measure]:
    asked = tally.prediction_count + tally.refusal_count
    healthy = baseline.sample_size + baseline.refusal_count
    reference = baseline.refusal_count / healthy if healthy else 0.0
    return [_rate(Signal.REFUSAL_RATE, None, tally.refusal_count, asked, reference, healthy)] if asked else []


def _model_error_measures(baseline: Baseline, tally: Tally) -> list[_Measure]:
    # Rows that nobody scored (bypassed, without a shadow) say nothing about the model.
    by_model = max(tally.prediction_count - tally.fallback_count, 0)
    n = (tally.confidence_count if baseline.confidence_count else by_model) + tally.model_error_count
    reference = baseline.model_error_count / baseline.sample_size if baseline.sample_size else 0.0
    return (
        [_rate(Signal.MODEL_ERROR_RATE, None, tally.model_error_count, n, reference, baseline.sample_size)] if n else []
    )


def _feature_measures(baseline: Baseline, tally: Tally) -> list[_Measure]:
    measures = []
    for name, healthy in baseline.features.items():
        now = tally.features.get(name, FeatureTally())
        seen = now.value_count + now.missing_count
        if seen:
            healthy_n = healthy.value_count + healthy.missing_count
            measures.append(_rate(Signal.MISSING_RATE, name, now.missing_count, seen, healthy.missing_rate, healthy_n))
        if now.value_count:
            measures += _value_measures(name, healthy, now)
    return measures


def _value_measures(name: str, healthy: FeatureBaseline, now: FeatureTally) -> list[_Measure]:
    n, healthy_n = now.value_count, healthy.value_count
    if healthy.type is FeatureType.CATEGORY:
        reference = healthy.expected_unseen_rate
        return [_rate(Signal.UNSEEN_CATEGORY_RATE, name, now.unseen_count, n, reference, healthy_n)]
    if healthy.minimum is not None:
        outside = now.below_count + now.above_count
        rate = _rate(Signal.OUT_OF_RANGE_RATE, name, outside, n, healthy.expected_out_of_range_rate, healthy_n)
        return [rate, *_repeated_measure(name, healthy, now)]
    return []


def _hardly_repeats(feature: FeatureBaseline) -> bool:
    return feature.distinct_count >= MANY_NUMBERS


def _repeated_measure(name: str, healthy: FeatureBaseline, now: FeatureTally) -> list[_Measure]:
    """The share of the commonest number, where numbers hardly ever repeat and this one has become far more common."""
    if now.commonest is None or not _hardly_repeats(healthy):
        return []
    number, count = now.commonest
    usual = healthy.usual_rate(number)
    told = count if usual <= LARGEST_USUAL_RATE and count > MANY_TIMES * usual * now.value_count else 0
    return [_rate(Signal.REPEATED_VALUE_RATE, name, told, now.value_count, usual if told else 0.0, healthy.value_count)]


def _distribution_measures(moved: Movement) -> list[_Measure]:
    pairs = [
        *((Signal.DISTRIBUTION_CHANGE, name, moved.inside[name], moved.healthy[name]) for name in moved.features),
        *((_OUTPUTS[name], None, moved.outputs[name], moved.healthy_outputs[name]) for name in moved.outputs),
    ]
    measures = []
    for signal, feature, now, healthy in pairs:
        usual, noise = distance_noise(healthy, moved.scatter)
        measures.append(_Measure(signal, feature, distance(now, healthy), usual, noise, moved.count))
    return measures


def _diagnosis(
    policy: Policy, baseline: Baseline, tally: Tally, moved: Movement, judged: Mapping[str, Reading], z: float
) -> Diagnosis:
    suspected: dict[str, float] = {}
    repeated: dict[str, float] = {}
    outside: dict[str, float] = {}
    for reading in judged.values():
        name = reading.feature
        if name is None or name not in moved.features or reading.evidence is not Evidence.BAD or reading.value is None:
            continue
        healthy = reading.reference or 0.0
        share = (reading.value - healthy) / max(1 - healthy, 1e-9)
        if reading.signal in (Signal.MISSING_RATE, Signal.UNSEEN_CATEGORY_RATE):
            suspected[name] = suspected.get(name, 0.0) + share
        elif reading.signal is Signal.REPEATED_VALUE_RATE:
            repeated[name] = share
        elif reading.signal is Signal.OUT_OF_RANGE_RATE:
            outside[name] = share
    return diagnose(baseline, tally, moved, suspected, repeated, outside, z, policy.broken_relation_rate_moderate)


def _in_step(reading: Reading) -> Reading:
    """Unusual values with which all else has moved along are a genuine shift, whose cost is estimated: no deviation."""
    return replace(reading, evidence=Evidence.OK, level=Level.NONE, moderate_limit=None, severe_limit=None)


def _relation_readings(policy: Policy, baseline: Baseline, tally: Tally, diagnosis: Diagnosis) -> dict[str, Reading]:
    readings = {}
    severe = None if baseline.harm is not None else policy.broken_relation_rate_severe
    for name, (share, limit, visible) in diagnosis.relations.items():
        signal, rows = Signal.BROKEN_RELATION_RATE, tally.prediction_count
        found = (name in diagnosis.damaged or name in diagnosis.otherwise) and share > limit
        if not visible and not found:
            readings[_key(signal, name)] = _insufficient(signal, name, tally)
            continue
        value = round(min(max(share, 0.0), 1.0), DIGITS)
        level = Level.NONE if not found else _level(value, limit, max(limit, severe) if severe else None)
        evidence = Evidence.BAD if level is not Level.NONE else Evidence.OK
        top = round(max(limit, severe), DIGITS) if severe else None
        instead = tuple(sorted(diagnosis.instead_of(name)))
        readings[_key(signal, name)] = Reading(
            signal, name, evidence, level, value, 0.0, round(limit, DIGITS), top, rows, instead
        )
    return readings


def _harm_reading(policy: Policy, baseline: Baseline, moved: Movement, diagnosis: Diagnosis) -> dict[str, Reading]:
    if baseline.harm is None:
        return {}
    signal = _HARM[baseline.harm.metric]
    value = round(_worse(baseline.harm, moved, diagnosis), DIGITS)
    moderate, severe = policy.effects(signal.value)
    if not math.isfinite(value):
        return {}
    level = _level(value, moderate, severe)
    evidence = Evidence.OK if level is Level.NONE else Evidence.BAD
    return {signal.value: Reading(signal, None, evidence, level, value, 0.0, moderate, severe, moved.count)}


def _worse(harm: Harm, moved: Movement, diagnosis: Diagnosis) -> float:
    """The estimated harm; where nothing tells which features are damaged, the larger one."""
    told = estimate(harm, moved, diagnosis.damaged).total
    return max(told, estimate(harm, moved, diagnosis.otherwise).total) if diagnosis.otherwise else told


def _rate(signal: Signal, feature: str | None, count: int, n: int, reference: float, healthy_n: int) -> _Measure:
    """A share of `n` against a share of `healthy_n`, with the pooled standard error of their difference.

    The two-proportion score test, with one success and one failure added to the pool so that a share of
    zero keeps a width (A. Agresti and B. Caffo, The American Statistician 54, 2000).
    """
    healthy_n = max(healthy_n, 1)
    pooled = (count + reference * healthy_n + 1) / (n + healthy_n + 2)
    # Counts that contradict one another have no width; NaN sorts them out as too little evidence.
    noise = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / healthy_n)) if 0 <= pooled <= 1 else math.nan
    return _Measure(signal, feature, count / n, reference, noise, n, grain=1 / n)


def _noise_limit(measure: _Measure, variation: float, z: float) -> float:
    """The distance that noise alone reaches in one of many runs.

    `z` standard errors are enough for a mean, not for a handful of rare events, whose tail is longer than the
    normal one: two of 25 are no surprise where one in 200 is usual. Hence the linear term of Bernstein's inequality
    (S. Boucheron, G. Lugosi and P. Massart, Concentration Inequalities, 2013, section 2.8), with z² / 2 for the
    logarithm of the chance.
    """
    slack = z * z * measure.grain / 6
    return slack + math.hypot(slack, z * measure.noise, z * variation)


def _judge(policy: Policy, measure: _Measure, baseline: Baseline, z: float) -> Reading:
    variation = baseline.variation.get(_key(measure.signal, measure.feature), 0.0)
    noise = _noise_limit(measure, variation, z)
    moderate_effect, severe_effect = policy.effects(measure.signal.value)
    moderate = round(max(moderate_effect, noise), DIGITS)
    # What a change costs is known better where harm can be estimated: change alone is not severe then.
    only_change = baseline.harm is not None and measure.signal not in FAILURE
    severe = None if only_change or severe_effect is None else round(max(severe_effect, noise), DIGITS)
    value, reference = round(measure.value, DIGITS), round(measure.reference, DIGITS)
    apart = abs(value - reference) if measure.two_sided else value - reference
    level = _level(round(apart, DIGITS), moderate, severe)
    evidence = Evidence.OK if level is Level.NONE else Evidence.BAD
    return Reading(
        measure.signal, measure.feature, evidence, level, value, reference, moderate, severe, measure.sample_count
    )


def _level(distance: float, moderate: float, severe: float | None) -> Level:
    if severe is not None and distance > severe:
        return Level.SEVERE
    return Level.MODERATE if distance > moderate else Level.NONE


def _silence(policy: Policy, baseline: Baseline, window: Window, judged_seconds_ago: float | None) -> Reading:
    if judged_seconds_ago is not None and judged_seconds_ago < policy.every_seconds / 2:
        # The same silence, looked at twice in a row, is no second piece of evidence.
        return _insufficient(Signal.SILENCE_SECONDS, None, Tally())
    limit = policy.silence_seconds
    if limit is None and baseline.longest_pause_seconds is not None:
        limit = max(3 * baseline.longest_pause_seconds, policy.window_seconds)
    silent = window.silent_seconds
    if not limit or silent is None or not (math.isfinite(silent) and math.isfinite(limit)):
        return _insufficient(Signal.SILENCE_SECONDS, None, Tally())
    level = Level.MODERATE if silent > limit else Level.NONE
    evidence = Evidence.BAD if level is Level.MODERATE else Evidence.OK
    reading = Reading(Signal.SILENCE_SECONDS, None, evidence, level, round(silent, 3), 0.0, round(limit, 3), None, 0)
    return replace(reading, reference=baseline.longest_pause_seconds) if baseline.longest_pause_seconds else reading


def _insufficient(signal: Signal, feature: str | None, tally: Tally) -> Reading:
    return Reading(signal, feature, Evidence.INSUFFICIENT, Level.NONE, None, None, None, None, tally.prediction_count)


def _finite(measure: _Measure, baseline: Baseline) -> bool:
    variation = baseline.variation.get(_key(measure.signal, measure.feature), 0.0)
    return all(math.isfinite(number) for number in (measure.value, measure.reference, measure.noise, variation))


def _key(signal: Signal, feature: str | None) -> str:
    return signal.value if feature is None else f"{signal.value}:{feature}"


_REBUTTABLE = (Signal.OUT_OF_RANGE_RATE, Signal.REPEATED_VALUE_RATE)
_OUTPUTS = {"confidence": Signal.CONFIDENCE_CHANGE, "prediction": Signal.PREDICTION_CHANGE}
_HARM = {
    Metric.ACCURACY: Signal.ESTIMATED_ACCURACY_LOSS,
    Metric.MEAN_ABSOLUTE_ERROR: Signal.ESTIMATED_ERROR_GROWTH,
}
