"""The loss that corrupted features cost: by the study at `init`, and by the predictions that have moved since.

The study set each feature to a value of each of its bins, and permuted single features, pairs and groups. Where several
features are corrupted at once, their single losses and the pairs' interactions are added, and the sum is held between
the largest group that it contains and the smallest that contains it.

Values that the study did not try together may cost more than that. They show in the predictions: rows whose prediction
moved, beyond what the shift of the intact features explains, at most as many as the corruption touches.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stillsafe.core.evidence.impact import (
    Corruption,
    DistributionShift,
    FeatureImpact,
    Numbers,
    PerformanceImpact,
    total_variation,
    total_variation_noise,
)
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.policy import EvidencePolicy


@dataclass(frozen=True, slots=True)
class CorruptionLoss:
    """What corrupted features cost, in the unit of the study.

    Attributes:
        features: per corrupted feature, the loss by itself.
        study: loss of all together by the study.
        movement: loss beyond it that the predictions show.
        standard_error: of `study`, by the rows of the study.
    """

    features: Mapping[str, float]
    study: float
    movement: float
    standard_error: float

    @property
    def total(self) -> float:
        """Both."""
        return self.study + self.movement


def corruption_loss(
    impact: PerformanceImpact,
    shift: DistributionShift,
    corruptions: Mapping[str, Corruption],
    policy: EvidencePolicy,
) -> CorruptionLoss:
    """The loss of such corruption."""
    if not corruptions:
        return CorruptionLoss({}, 0.0, 0.0, 0.0)
    estimates = {
        name: _feature_loss(impact, shift, name, each, policy.negligible_shift) for name, each in corruptions.items()
    }
    estimates = _costliest_views(impact, estimates)
    losses = {name: loss for name, (loss, _) in estimates.items()}
    served_losses = {impact.served_name(name): loss for name, loss in losses.items()}
    study = max(_study_loss(impact, served_corruptions(impact, corruptions), served_losses), 0.0)
    movement = _movement_loss(impact, shift, corruptions, policy)
    if any(name in impact.features and impact.features[name].most_changed is None for name in corruptions):
        # An older study does not tell which features can move the predictions.
        extreme = any(corruption.extreme for corruption in corruptions.values())
        movement = min(movement, math.inf if extreme else policy.untested_factor * study)
    return CorruptionLoss(
        losses, study, max(movement - study, 0.0), math.sqrt(math.fsum(error**2 for _, error in estimates.values()))
    )


def served_corruptions(impact: PerformanceImpact, corruptions: Mapping[str, Corruption]) -> dict[str, Corruption]:
    """The corruptions of the features that the model takes: views of one feature show one damage, the larger counts."""
    by_feature: dict[str, Corruption] = {}
    for name, corruption in corruptions.items():
        key = impact.served_name(name)
        other = by_feature.get(key, corruption)
        by_feature[key] = Corruption(
            max(corruption.share, other.share),
            corruption.extreme or other.extreme,
            corruption.is_constant and other.is_constant,
        )
    return by_feature


def _costliest_views(
    impact: PerformanceImpact, estimates: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Of the views of one feature, and of the feature itself, the one with the largest loss."""
    costliest: dict[str, str] = {}
    for name, (loss, _) in estimates.items():
        key = impact.served_name(name)
        if key not in costliest or loss > estimates[costliest[key]][0]:
            costliest[key] = name
    return {name: estimates[name] for name in costliest.values()}


def _study_loss(impact: PerformanceImpact, corruptions: Mapping[str, Corruption], losses: Mapping[str, float]) -> float:
    """The loss of all together: single losses and tried pairs, between the groups that were tried."""
    total = math.fsum(max(loss, 0.0) for loss in losses.values())
    for first, second, pair_loss in impact.together:
        if first in corruptions and second in corruptions:
            share = min(corruptions[first].share, corruptions[second].share)
            total += share * (pair_loss - impact.features[first].permuted - impact.features[second].permuted)
    worst = max(losses.values(), default=0.0)
    most = max(impact.all_permuted, worst)
    for names, group_loss in impact.groups:
        share = min((corruptions[name].share for name in names if name in corruptions), default=0.0)
        if corruptions.keys() >= set(names):
            worst = max(worst, share * group_loss)
        elif set(names) >= {name for name, loss in losses.items() if loss > 0}:
            most = min(most, max(group_loss, *losses.values()))
    return min(max(total, worst), max(most, worst))


def feature_loss(
    impact: PerformanceImpact, shift: DistributionShift, name: str, corruption: Corruption, policy: EvidencePolicy
) -> tuple[float, float]:
    """The loss of one corrupted feature and its standard error, in the unit of the study."""
    return _feature_loss(impact, shift, name, corruption, policy.negligible_shift)


def unexplained_movement(impact: PerformanceImpact, shift: DistributionShift, policy: EvidencePolicy) -> float:
    """The loss of predictions that moved although no feature explains it, whatever their cause."""
    now, healthy = shift.outputs.get("prediction"), shift.healthy_outputs.get("prediction")
    if now is None or healthy is None or len(now) != len(healthy):
        return 0.0
    expected = expected_predictions(impact, shift, {}, healthy)
    if not impact.metric.is_regression:
        return _swap_loss(impact, shift, expected, 1.0, policy)
    steps = np.diff(np.array(impact.answers))
    if len(steps) + 1 > len(now) or not len(steps):
        return 0.0
    earth = float(np.abs(np.cumsum(now - expected)[: len(steps)]) @ steps)
    return math.hypot(impact.healthy_error, earth) - impact.healthy_error


def _feature_loss(
    impact: PerformanceImpact, shift: DistributionShift, name: str, corruption: Corruption, permuted_max: float
) -> tuple[float, float]:
    """The loss of one corrupted feature and its standard error."""
    feature, share = impact.features.get(name), corruption.share
    if feature is None or share <= 0:
        return 0.0, 0.0
    now, healthy = shift.features[name], shift.healthy[name]
    # The healthy values keep their distribution, so what the window has beyond their share are the corrupted values.
    excess = np.maximum(now - (1 - share) * healthy, 0.0)
    bin_losses = np.array([feature.permuted if loss is None else loss for loss in feature.at])
    if len(bin_losses) != len(excess) or excess.sum() <= 0:
        return share * feature.permuted, share * feature.permuted_error
    weights = excess / excess.sum()
    loss, error = float(weights @ bin_losses), _bin_error(feature, weights)
    if total_variation(now, healthy) < permuted_max and feature.permuted > loss:
        loss, error = feature.permuted, feature.permuted_error
    if feature.scaled_loss is not None and corruption.extreme and not corruption.is_constant:
        # Numbers in another unit differ from row to row, which the trial of one number far outside does not show.
        loss = max(loss, feature.scaled_loss)
    return share * loss, share * error


def _bin_error(feature: FeatureImpact, weights: Numbers) -> float:
    """Standard error of a mean over bins. The same rows were tried in each bin, so their errors are added."""
    if len(feature.at_errors) != len(weights):
        return feature.permuted_error
    return float(weights @ np.array([feature.permuted_error if e is None else e for e in feature.at_errors]))


def _movement_loss(
    impact: PerformanceImpact,
    shift: DistributionShift,
    corruptions: Mapping[str, Corruption],
    policy: EvidencePolicy,
) -> float:
    """The least loss that the movement of the predictions implies, beyond what intact features explain."""
    now, healthy = shift.outputs.get("prediction"), shift.healthy_outputs.get("prediction")
    if now is None or healthy is None or len(now) != len(healthy):
        return 0.0
    expected = expected_predictions(impact, shift, corruptions, healthy)
    if not impact.metric.is_regression:
        return _swap_loss(impact, shift, expected, touched_share(impact, corruptions, policy), policy)
    if touched_share(impact, corruptions, policy) <= 0:
        return 0.0
    steps = np.diff(np.array(impact.answers))
    if len(steps) + 1 > len(now) or impact.metric is not Metric.MEAN_ABSOLUTE_ERROR:
        return 0.0
    # The earth mover's distance of the predictions in one dimension. The bins end at the outermost ordinary one, so
    # predictions far outside show only in the mean.
    earth = float(np.abs(np.cumsum(now - expected)[: len(steps)]) @ steps) if len(steps) else 0.0
    loss = math.hypot(impact.healthy_error, max(earth, shift.mean_difference)) - impact.healthy_error
    loss_limit = _only_tried(impact, corruptions, policy)
    return loss if loss_limit is None else min(loss, loss_limit)


def _swap_loss(
    impact: PerformanceImpact, shift: DistributionShift, expected: Numbers, largest_share: float, policy: EvidencePolicy
) -> float:
    """The loss of the rows whose answer has been replaced: as few as explain the distributions."""
    now, healthy = shift.outputs["prediction"], shift.healthy_outputs["prediction"]
    mean, sd = total_variation_noise(healthy, shift.variance_factor)
    movement = total_variation(now, expected)
    flips = min(max(0.0, movement - mean - policy.impact_deviations * sd), largest_share)
    if flips <= 0:
        return 0.0
    gains, losses = np.maximum(now - expected, 0.0) / movement, np.maximum(expected - now, 0.0) / movement
    if len(impact.answer_swaps) == len(now):
        return max(0.0, flips * float(losses @ np.array(impact.answer_swaps) @ gains))
    if impact.metric is not Metric.ACCURACY:
        return 0.0
    accuracy, other_classes = 1 - impact.healthy_error, max(int((healthy > 0).sum()) - 1, 1)
    return flips * max(0.0, accuracy - (1 - accuracy) / other_classes)


def touched_share(impact: PerformanceImpact, corruptions: Mapping[str, Corruption], policy: EvidencePolicy) -> float:
    """Largest share of rows whose prediction the corruption can have moved.

    One feature moves no more predictions than the most harmful value that the study tried; several of them, or values
    beyond all that it tried, may move every row that they touch.
    """
    corruptions = served_corruptions(impact, corruptions)
    influential = [name for name in corruptions if _can_move(impact, name, corruptions[name], policy)]
    if len(influential) == 1 and not corruptions[influential[0]].extreme:
        change_share = impact.features[influential[0]].most_changed
        if change_share is not None and not impact.metric.is_regression:
            return corruptions[influential[0]].share * change_share
    return min(1.0, math.fsum(corruptions[name].share for name in influential))


def _can_move(impact: PerformanceImpact, name: str, corruption: Corruption, policy: EvidencePolicy) -> bool:
    feature = impact.features.get(name)
    if feature is None or corruption.extreme or feature.most_changed is None:
        return feature is not None
    unit = max(impact.healthy_error, 1e-12) if impact.metric.is_regression else 1.0
    return feature.most_changed > policy.negligible_influence * unit


def _only_tried(
    impact: PerformanceImpact, corruptions: Mapping[str, Corruption], policy: EvidencePolicy
) -> float | None:
    """The most that one feature within the values of the study can cost; None for several, or beyond them."""
    corruptions = served_corruptions(impact, corruptions)
    influential = [name for name in corruptions if _can_move(impact, name, corruptions[name], policy)]
    if len(influential) != 1 or corruptions[influential[0]].extreme:
        return None
    feature = impact.features[influential[0]]
    if feature.most_changed is None:
        return None
    return corruptions[influential[0]].share * max(feature.permuted, *(loss or 0.0 for loss in feature.at), 0.0)


def expected_predictions(
    impact: PerformanceImpact, shift: DistributionShift, corruptions: Mapping[str, Corruption], healthy: Numbers
) -> Numbers:
    """The predictions' distribution that the shift of the intact features explains."""
    expected, damaged_names = healthy.copy(), impact.with_views(corruptions)
    for name, effects in impact.answer_effects.items():
        now = shift.clipped_features.get(name)
        if now is None or name in damaged_names:
            continue
        by_bin = np.array(effects)
        if by_bin.shape == (len(now), len(healthy)):
            expected += (now - shift.healthy[name]) @ by_bin
    expected = np.clip(expected, 0.0, None)
    total = float(expected.sum())
    return expected / total if total > 0 else healthy
