"""Readings that need a diagnosis: broken relations, the estimated loss, and values that a genuine shift explains."""

import math
from collections.abc import Mapping
from dataclasses import replace

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.clock_claim import foreign_rows
from stillsafe.core.evidence.corruption import Diagnosis, Limits, Suspicion, diagnose
from stillsafe.core.evidence.impact import DistributionShift, PerformanceImpact
from stillsafe.core.evidence.impact_estimate import estimate_impact
from stillsafe.core.evidence.metric_limits import metric_limits
from stillsafe.core.evidence.possible_loss import minor_changes
from stillsafe.core.evidence.relation_record import NO_RECORD, Record, noise_factor
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
    record: Record = NO_RECORD,
) -> dict[str, Reading]:
    """The readings of broken relations and of the estimated loss, and those that the diagnosis rebuts.

    Args:
        policy: the rules' numbers.
        baseline: the healthy period.
        tally: the fresh rows.
        shift: how their distributions differ from the baseline's.
        readings: by key, those that single counts give.
        z: standard errors that noise exceeds with the policy's false alarm rate.
        record: of broken relations in the runs before.
    """
    diagnosis = run_diagnosis(policy, baseline, tally, shift, readings, z, record)
    rebuttals = {
        key: _rebut(reading)
        for key, reading in readings.items()
        if SIGNALS[reading.signal].rebuttable
        and reading.feature in diagnosis.intact
        and not policy.is_written(reading.signal, reading.feature)
    }
    relations = _relation_readings(policy, baseline, tally, diagnosis, z, record)
    judged = rebuttals | relations | _impact_reading(policy, baseline, shift, diagnosis)
    return judged | minor_changes(policy, baseline.harm, shift, diagnosis.genuine, {**readings, **judged})


def run_diagnosis(
    policy: Policy,
    baseline: Baseline,
    tally: Tally,
    shift: DistributionShift,
    readings: Mapping[str, Reading],
    z: float,
    record: Record = NO_RECORD,
) -> Diagnosis:
    """The corrupted features of a window; see `diagnosis_readings`."""
    limits = Limits(z, policy.broken_relation_rate_moderate, policy.evidence, record)
    suspicion = _suspicion(shift, readings)
    for name, share in foreign_rows(tally, shift, readings, policy.evidence).items():
        suspicion = replace(suspicion, absent={**suspicion.absent, name: max(share, suspicion.absent.get(name, 0.0))})
    return diagnose(baseline, tally, shift, suspicion, limits)


def _rebut(reading: Reading) -> Reading:
    """All other features have shifted along with these values: a genuine shift, whose impact is estimated instead."""
    return replace(reading, evidence=Evidence.OK, level=Level.NONE, moderate_limit=None, severe_limit=None)


def _suspicion(shift: DistributionShift, readings: Mapping[str, Reading]) -> Suspicion:
    """The share of a feature's values that deviate, by what is wrong with them."""
    absent: dict[str, float] = {}
    repeated_number: dict[str, float] = {}
    out_of_range: dict[str, float] = {}
    shifts: dict[str, float] = {}
    for reading in readings.values():
        name = reading.feature
        if name is None or name not in shift.features or reading.evidence is not Evidence.BAD or reading.value is None:
            continue
        healthy = reading.reference or 0.0
        share = (reading.value - healthy) / max(1 - healthy, 1e-9)
        match reading.signal:
            case Signal.MISSING_RATE | Signal.UNSEEN_CATEGORY_RATE | Signal.CLOCK_CONTRADICTION_RATE:
                absent[name] = absent.get(name, 0.0) + share
            case Signal.REPEATED_VALUE_RATE:
                repeated_number[name] = share
            case Signal.OUT_OF_RANGE_RATE:
                out_of_range[name] = share
            case Signal.DISTRIBUTION_CHANGE:
                shifts[name] = share
    return Suspicion(absent, repeated_number, out_of_range, shifts)


def _relation_readings(
    policy: Policy,
    baseline: Baseline,
    tally: Tally,
    diagnosis: Diagnosis,
    z: float,
    record: Record,
) -> dict[str, Reading]:
    readings = {}
    signal = Signal.BROKEN_RELATION_RATE
    _, severe_effect = policy.effects(signal, impact_known=baseline.harm is not None)
    for name, (share, limit, is_detectable, _, error) in diagnosis.associations.items():
        limit = max(limit, policy.feature_limits.get(reading_key(signal, name), 0.0))
        is_corrupt = (name in diagnosis.corruptions or name in diagnosis.alternatives) and share > limit
        if not is_detectable and not is_corrupt:
            too_few = insufficient(signal, name, tally.judged_count)
            readings[reading_key(signal, name)] = replace(too_few, shares_before=record.get(name, ()))
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
            noise=round(z * noise_factor(record.get(name, ()), policy.evidence) * error, DIGITS),
            shares_before=record.get(name, ()),
        )
    return readings


def _impact_reading(
    policy: Policy, baseline: Baseline, shift: DistributionShift, diagnosis: Diagnosis
) -> dict[str, Reading]:
    """The estimated loss; by several metrics of one signal, that of the metric which is worst for its limit."""
    impact = baseline.harm
    if impact is None:
        return {}
    # The limits in `[harm]` are in the unit of the metric there, which the impact may not have been studied for.
    is_owners = policy.metric in (None, impact.metric.value)
    losses = [
        _loss_reading(policy, each, shift, diagnosis, is_owners=is_owners and each is impact)
        for each in (impact, *impact.also)
    ]
    known_losses = [reading for reading in losses if reading is not None]
    # The worst one comes last, so it is the one that stays of its signal.
    order = sorted(known_losses, key=lambda r: (r.value or 0.0) / (r.severe_limit or 1.0))
    worst_losses = {reading.key: reading for reading in order}
    if losses[0] is None:
        return worst_losses
    # The fallback is priced in the first metric, so that is the unit of the damage part.
    return {key: replace(reading, corruption=losses[0].corruption) for key, reading in worst_losses.items()}


def _loss_reading(
    policy: Policy, impact: PerformanceImpact, shift: DistributionShift, diagnosis: Diagnosis, *, is_owners: bool
) -> Reading | None:
    """The loss by one metric; where the data does not show which features are corrupted, the larger one."""
    signal, metric = METRIC_SIGNALS[impact.metric], impact.metric
    sides = [diagnosis.corruptions, *([diagnosis.alternatives] if diagnosis.alternatives else [])]
    estimates = [estimate_impact(impact, shift, side, policy.evidence) for side in sides]
    estimate = max(estimates, key=lambda each: each.total)
    value = round(estimate.total, DIGITS)
    if not math.isfinite(value):
        return None
    limits = metric_limits(policy, metric, impact.healthy_error, is_owners=is_owners)
    moderate, severe = (round(limit, DIGITS) for limit in limits)
    level = level_of(value, moderate, severe)
    reading = Reading(
        signal,
        None,
        evidence_of(level),
        level,
        value,
        0.0,
        moderate,
        severe,
        shift.count,
        corruption=round(estimate.corruption, DIGITS),
        standard_error=round(estimate.standard_error, DIGITS),
        parts=estimate.parts,
    )
    if signal is not Signal.ESTIMATED_METRIC_LOSS:
        return reading
    return replace(
        reading, metric=metric.value, healthy_performance=round(metric.performance(impact.healthy_error), DIGITS)
    )
