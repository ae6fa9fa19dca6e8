"""Readings that need a diagnosis: broken relations, the estimated loss, and values that a genuine shift explains."""

import math
from collections.abc import Mapping
from dataclasses import replace

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.corruption import Diagnosis, Limits, Suspicion, diagnose
from stillsafe.core.evidence.impact import DistributionShift, estimate_impact
from stillsafe.core.policy import Policy
from stillsafe.core.signals import (
    DIGITS,
    METRIC_SIGNALS,
    SIGNALS,
    Evidence,
    Level,
    Reading,
    Signal,
    evidence_of,
    insufficient,
    level_of,
    reading_key,
)
from stillsafe.core.window import Tally


def diagnosis_readings(
    policy: Policy,
    baseline: Baseline,
    tally: Tally,
    shift: DistributionShift,
    readings: Mapping[str, Reading],
    z: float,
) -> dict[str, Reading]:
    """The readings of broken relations and of the estimated loss, and those that the diagnosis rebuts.

    Args:
        policy: the rules' numbers.
        baseline: the healthy period.
        tally: the fresh rows.
        shift: how their distributions differ from the baseline's.
        readings: by key, those that single counts give.
        z: standard errors that noise exceeds with the policy's false alarm rate.
    """
    limits = Limits(z, policy.broken_relation_rate_moderate, policy.evidence)
    diagnosis = diagnose(baseline, tally, shift, _suspicion(shift, readings), limits)
    rebuttals = {
        key: _rebut(reading)
        for key, reading in readings.items()
        if SIGNALS[reading.signal].rebuttable
        and reading.feature in diagnosis.intact
        and not policy.is_written(reading.signal, reading.feature)
    }
    relations = _relation_readings(policy, baseline, tally, diagnosis)
    return rebuttals | relations | _impact_reading(policy, baseline, shift, diagnosis)


def _rebut(reading: Reading) -> Reading:
    """All other features have shifted along with these values: a genuine shift, whose impact is estimated instead."""
    return replace(reading, evidence=Evidence.OK, level=Level.NONE, moderate_limit=None, severe_limit=None)


def _suspicion(shift: DistributionShift, readings: Mapping[str, Reading]) -> Suspicion:
    """The share of a feature's values that deviate, by what is wrong with them."""
    absent: dict[str, float] = {}
    repeated_number: dict[str, float] = {}
    out_of_range: dict[str, float] = {}
    for reading in readings.values():
        name = reading.feature
        if name is None or name not in shift.features or reading.evidence is not Evidence.BAD or reading.value is None:
            continue
        healthy = reading.reference or 0.0
        share = (reading.value - healthy) / max(1 - healthy, 1e-9)
        match reading.signal:
            case Signal.MISSING_RATE | Signal.UNSEEN_CATEGORY_RATE:
                absent[name] = absent.get(name, 0.0) + share
            case Signal.REPEATED_VALUE_RATE:
                repeated_number[name] = share
            case Signal.OUT_OF_RANGE_RATE:
                out_of_range[name] = share
    return Suspicion(absent, repeated_number, out_of_range)


def _relation_readings(policy: Policy, baseline: Baseline, tally: Tally, diagnosis: Diagnosis) -> dict[str, Reading]:
    readings = {}
    signal = Signal.BROKEN_RELATION_RATE
    _, severe_effect = policy.effects(signal, impact_known=baseline.harm is not None)
    for name, (share, limit, is_detectable) in diagnosis.associations.items():
        limit = max(limit, policy.feature_limits.get(reading_key(signal, name), 0.0))
        is_corrupt = (name in diagnosis.corruptions or name in diagnosis.alternatives) and share > limit
        if not is_detectable and not is_corrupt:
            readings[reading_key(signal, name)] = insufficient(signal, name, tally.judged_count)
            continue
        value = round(min(max(share, 0.0), 1.0), DIGITS)
        severe = max(limit, severe_effect) if severe_effect else None
        level = level_of(value, limit, severe) if is_corrupt else Level.NONE
        readings[reading_key(signal, name)] = Reading(
            signal,
            name,
            evidence_of(level),
            level,
            value,
            0.0,
            round(limit, DIGITS),
            None if severe is None else round(severe, DIGITS),
            tally.judged_count,
            tuple(sorted(diagnosis.alternatives_to(name))),
        )
    return readings


def _impact_reading(
    policy: Policy, baseline: Baseline, shift: DistributionShift, diagnosis: Diagnosis
) -> dict[str, Reading]:
    """The estimated loss; where the data does not show which features are corrupted, the larger one."""
    impact = baseline.harm
    if impact is None:
        return {}
    signal = METRIC_SIGNALS[impact.metric]
    loss = estimate_impact(impact, shift, diagnosis.corruptions, policy.evidence).total
    if diagnosis.alternatives:
        loss = max(loss, estimate_impact(impact, shift, diagnosis.alternatives, policy.evidence).total)
    value = round(loss, DIGITS)
    if not math.isfinite(value):
        return {}
    moderate, severe = policy.effects(signal)
    level = level_of(value, moderate, severe)
    return {signal.value: Reading(signal, None, evidence_of(level), level, value, 0.0, moderate, severe, shift.count)}
