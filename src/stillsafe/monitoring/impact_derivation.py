"""How an estimated loss came about: what each damaged feature costs, what moved predictions show, and the shift."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from stillsafe.core.evidence.corruption import Diagnosis
from stillsafe.core.evidence.corruption_loss import CorruptionLoss, corruption_loss, expected_predictions, touched_share
from stillsafe.core.evidence.impact import (
    Corruption,
    DistributionShift,
    Numbers,
    PerformanceImpact,
    total_variation,
    total_variation_noise,
)
from stillsafe.core.evidence.impact_estimate import estimate_impact
from stillsafe.core.evidence.measures import RunMeasures
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.shift_loss import ShiftLoss, effect_losses, shift_loss
from stillsafe.core.policy import EvidencePolicy, Policy
from stillsafe.core.signals import METRIC_SIGNALS, Reading
from stillsafe.monitoring.derivation import Step, bin_labels, evaluated_steps, level_steps

TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class _Side:
    """The features that are taken for damaged, and what the estimate makes of them.

    Attributes:
        impact: the study by the metric of the reading.
        corruptions: the damaged features.
        damage, genuine: the loss that they cost, and that of the shift, in the unit of the study.
        unit: the unit of the reading in that of the study.
    """

    impact: PerformanceImpact
    corruptions: Mapping[str, Corruption]
    damage: CorruptionLoss
    genuine: ShiftLoss
    unit: float


def impact_steps(policy: Policy, run: RunMeasures, diagnosis: Diagnosis, reading: Reading) -> tuple[Step, ...]:
    """The derivation of an estimated loss.

    Args:
        policy: the rules' numbers.
        run: what the window measures.
        diagnosis: which features are damaged.
        reading: the estimated loss.
    """
    shift, impact = run.shift, _impact_of(run, reading)
    if shift is None or impact is None:
        return ()
    side = _side(policy.evidence, impact, shift, diagnosis)
    return (
        *_damage_steps(policy.evidence, run, shift, side),
        *_shift_steps(policy.evidence, run, shift, side),
        Step("unit", side.unit, "unit of the reading: the healthy error of a mean absolute error, else 1"),
        Step("damage", None, "loss by damage", "(study + movement) / unit"),
        Step("value", None, "estimated loss: a gain offsets no damage", "damage + max(shift, 0) / unit"),
        Step("reference", 0.0, "nothing is lost when healthy"),
        Step("standard_error", reading.standard_error, "by resampling the rows of the study at `init`"),
        Step("moderate_limit", reading.moderate_limit, "loss that is MODERATE: of the policy, or of [harm]"),
        Step("severe_limit", reading.severe_limit, "loss that is SEVERE: of the policy, or of [harm]"),
        *level_steps(reading, "value - reference"),
    )


def _impact_of(run: RunMeasures, reading: Reading) -> PerformanceImpact | None:
    """The results of the study by the metric of a reading."""
    harm = run.baseline.harm
    if harm is None:
        return None
    for impact in (harm, *harm.also):
        if METRIC_SIGNALS[impact.metric] is reading.signal and reading.metric in (None, impact.metric.value):
            return impact
    return None


def _side(policy: EvidencePolicy, impact: PerformanceImpact, shift: DistributionShift, diagnosis: Diagnosis) -> _Side:
    """The damaged features that the reading counts: of two explanations the one that costs more."""
    sides = [diagnosis.corruptions, *([diagnosis.alternatives] if diagnosis.alternatives else [])]
    corruptions = max(sides, key=lambda side: estimate_impact(impact, shift, side, policy).total)
    genuine = shift_loss(impact, shift, corruptions, policy)
    unit = max(impact.healthy_error, 1e-12) if impact.metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
    return _Side(impact, corruptions, corruption_loss(impact, shift, corruptions, policy), genuine, unit)


def _damage_steps(policy: EvidencePolicy, run: RunMeasures, shift: DistributionShift, side: _Side) -> Iterator[Step]:
    """What the damaged features cost: each by itself, all together, and what the predictions show beyond that."""
    damage = side.damage
    for number, (name, corruption) in enumerate(side.corruptions.items(), 1):
        yield from _feature_steps(run, shift, side, number, name, corruption)
    losses = " + ".join(f"max(loss_{number}, 0)" for number in range(1, len(side.corruptions) + 1)) or "0"
    total = sum(max(loss, 0.0) for loss in damage.features.values())
    meaning = "what tried pairs and groups of these features cost, beyond the sum of their single losses"
    yield Step("together", damage.study - total, meaning)
    yield Step("study", None, "loss by damage as it was tried at `init`", f"{losses} + together")
    yield from _movement_steps(policy, run, shift, side)


def _movement_steps(policy: EvidencePolicy, run: RunMeasures, shift: DistributionShift, side: _Side) -> Iterator[Step]:
    """What the predictions show beyond the study, where damage has moved them."""
    meaning = "further loss that the predictions show: they moved by more than the intact features explain"
    result = Step("movement", side.damage.movement, meaning)
    now, healthy = shift.outputs.get("prediction"), shift.healthy_outputs.get("prediction")
    swaps = side.impact.answer_swaps
    if not side.damage.movement or now is None or healthy is None or len(swaps) != len(now):
        yield result
        return
    expected = expected_predictions(side.impact, shift, side.corruptions, healthy)
    mean, sd = total_variation_noise(healthy, shift.variance_factor)
    movement = total_variation(now, expected)
    gains = np.maximum(now - expected, 0.0) / max(movement, 1e-12)
    meaning = "mean loss of a row with such a prediction that is given the new ones instead, tried at `init`"
    yield Step("prediction", bin_labels(run.baseline.outputs["prediction"]), "bins of the predictions")
    yield Step("prediction_share", tuple(now.tolist()), "share of the new rows in each")
    yield Step("expected_share", tuple(expected.tolist()), "share that health and the intact features explain")
    yield Step("swap_loss", tuple((np.array(swaps) @ gains).tolist()), meaning)
    yield Step("moved", None, "predictions that moved", "0.5 * sum(abs(prediction_share - expected_share))")
    yield Step("moved_noise", mean + policy.impact_deviations * sd, "moved by chance: mean and impact_deviations")
    largest_share = touched_share(side.impact, side.corruptions, policy)
    yield Step("touched", largest_share, "largest share of rows whose prediction this damage can have moved")
    yield Step("flips", None, "rows that count", "min(max(moved - moved_noise, 0), touched)")
    formula = "max(flips * sum(max(expected_share - prediction_share, 0) * swap_loss) / moved - study, 0)"
    yield replace(result, value=None, formula=formula)


def _feature_steps(
    run: RunMeasures, shift: DistributionShift, side: _Side, number: int, name: str, corruption: Corruption
) -> tuple[Step, ...]:
    """What one damaged feature costs: the loss of the values that it has in place of its own."""
    feature, loss = side.impact.features.get(name), side.damage.features.get(name, 0.0)
    kind = "beyond all that was tried" if corruption.extreme else "within the range of what was tried"
    steps: tuple[Step, ...] = (
        Step(f"feature_{number}", name, f"damaged feature; its values are {kind}"),
        Step(f"share_{number}", corruption.share, "share of its values that are damaged"),
    )
    result = Step(f"loss_{number}", loss, "what this damage costs by itself")
    if feature is None:
        return (*steps, result)
    now, healthy = shift.features[name], shift.healthy[name]
    bin_losses = tuple(feature.permuted if each is None else each for each in feature.at)
    steps += (Step(f"permuted_{number}", feature.permuted, "loss when `init` gave its values to other rows"),)
    if len(bin_losses) == len(now):
        columns = (
            (f"window_share_{number}", now, "share of the new rows in each bin"),
            (f"healthy_share_{number}", healthy, "share of the healthy rows in each bin"),
        )
        steps += (
            Step(f"bin_{number}", bin_labels(run.baseline.features[name]), "bins of its values"),
            *(Step(key, tuple(values.tolist()), meaning) for key, values, meaning in columns),
            Step(f"tried_{number}", bin_losses, "loss when `init` gave all rows a value of that bin"),
            Step(
                f"excess_{number}",
                None,
                "share of the rows with a damaged value there",
                f"max(window_share_{number} - (1 - share_{number}) * healthy_share_{number}, 0)",
            ),
        )
    by_bins = f"share_{number} * sum(excess_{number} * tried_{number}) / sum(excess_{number})"
    formulas = (by_bins, f"share_{number} * permuted_{number}", f"share_{number} * max(permuted_{number}, 0)")
    return (*steps, _matching_step(steps, result, formulas))


def _matching_step(steps: tuple[Step, ...], result: Step, formulas: tuple[str, ...]) -> Step:
    """The result with the first of the formulas that gives it; as a number by itself where none does."""
    for formula in formulas:
        step = Step(result.name, None, result.meaning, formula)
        try:
            value = evaluated_steps((*steps, step))[-1].value
        except (KeyError, ZeroDivisionError):
            continue
        if isinstance(value, float) and isinstance(result.value, float) and abs(value - result.value) < TOLERANCE:
            return step
    return result


def _shift_steps(policy: EvidencePolicy, run: RunMeasures, shift: DistributionShift, side: _Side) -> Iterator[Step]:
    """What the shift costs: bin by bin by the effects on the error, or by the mix of labels."""
    impact, genuine = side.impact, side.genuine
    losses = effect_losses(impact, shift, side.corruptions)
    largest_losses = _largest(losses)
    for number, (name, loss) in enumerate(largest_losses, 1):
        yield from _effect_steps(run, shift, side, number, name, loss)
    rest = math.fsum(losses.values()) - math.fsum(loss for _, loss in largest_losses)
    yield Step("shift_rest", rest, "what the shift of all further features and outputs costs")
    total = " + ".join([*(f"shift_{number}" for number in range(1, len(largest_losses) + 1)), "shift_rest"])
    yield Step("shift_sum", None, "all of them; a gain is negative", total)
    yield Step("count", shift.count, "new rows")
    yield Step("healthy_count", max(shift.healthy_count, 1), "rows behind the healthy shares")
    yield Step("effect_sd", impact.effect_sd, "standard deviation of one healthy row's effects")
    yield Step(
        "effect_variation", impact.effect_variation, "standard deviation between healthy chunks, beyond sampling"
    )
    yield Step("shift_deviations", policy.impact_deviations, "impact_deviations of the policy")
    sampling = "effect_sd * sqrt(1 / count + 1 / healthy_count)"
    noise = f"sqrt((shift_deviations * {sampling})**2 + effect_variation**2)"
    yield Step("shift_noise", None, "shift loss that noise explains", noise)
    yield Step("shift_doubt", policy.shift_error_factor * impact.shift_error, "what healthy blocks wrongly show")
    result = Step("shift", genuine.loss, "loss by the shift of the traffic")
    if genuine.loss and not genuine.by_feature:
        yield replace(result, meaning="loss by another mix of labels, which explains the shift better than the bins")
        return
    if abs(genuine.loss) <= policy.shift_error_factor * impact.shift_error:
        result = replace(result, value=0.0)
    formula = "shift_sum if abs(shift_sum) > max(shift_noise, shift_doubt) else 0"
    yield replace(result, value=None, formula=formula)


def _largest(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(parts.items(), key=lambda item: (-abs(item[1]), item[0]))[:3]


def _effect_steps(
    run: RunMeasures, shift: DistributionShift, side: _Side, number: int, name: str, loss: float
) -> tuple[Step, ...]:
    """What the shift of one feature or output costs, bin by bin."""
    is_output = name in shift.outputs
    profile = (run.baseline.outputs if is_output else run.baseline.features)[name]
    effects = side.impact.output_effects if is_output else _effects(side, shift)
    now: Numbers = shift.outputs[name] if is_output else shift.clipped_features[name]
    healthy: Numbers = shift.healthy_outputs[name] if is_output else shift.healthy[name]
    steps = (
        Step(f"shift_of_{number}", name, "one of the features or outputs whose shift costs most"),
        Step(f"shift_bin_{number}", bin_labels(profile), "its bins"),
        Step(f"shift_share_{number}", tuple(now.tolist()), "share of the new rows in each"),
        Step(f"shift_healthy_{number}", tuple(healthy.tolist()), "share of the healthy rows in each"),
        Step(f"effect_{number}", tuple(np.asarray(effects[name]).tolist()), "difference in error there, else equal"),
    )
    result = Step(f"shift_{number}", loss, "what its shift costs")
    formula = f"sum((shift_share_{number} - shift_healthy_{number}) * effect_{number})"
    return (*steps, _matching_step(steps, result, (formula,)))


def _effects(side: _Side, shift: DistributionShift) -> Mapping[str, tuple[float, ...]]:
    """The effects that the estimate used: of the features alone where the outputs are spoilt, or not there."""
    return side.impact.effects_alone if side.corruptions or not shift.outputs else side.impact.effects
