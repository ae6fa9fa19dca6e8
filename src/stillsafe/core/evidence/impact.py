"""Performance impact: what a change is likely to cost this model, estimated without labels from a study made at `init`.

Two kinds of change cost differently:

    corruption            a feature's values no longer belong to their rows. The study measured that cost on labelled
                          rows: each feature permuted, and set to each of its bins for all rows (permutation
                          importance: L. Breiman, "Random forests", Machine Learning 45, 2001).
    distribution shift    other rows arrive than before, each of them intact. The model then errs on them as it did on
                          such rows in the study: by bin, confidence and prediction, other things equal (ridge
                          regression of the error on the bins), or by label where label shift explains the change
                          better (Z. Lipton, Y.-X. Wang and A. Smola, "Detecting and correcting for label shift with
                          black box predictors", 2018).

A classifier's loss is the accuracy lost, in [-1, 1]. A regressor's loss is the mean absolute error gained, in the unit
of the prediction; `ImpactEstimate` gives it as a share of the healthy error.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.policy import EVIDENCE, EvidencePolicy

Numbers = NDArray[np.float64]


class Metric(StrEnum):
    """How a model's performance is measured."""

    ACCURACY = "accuracy"
    """Share of correct predictions of a classifier."""
    MEAN_ABSOLUTE_ERROR = "mean_absolute_error"
    """Mean distance between prediction and label of a regressor."""


@dataclass(frozen=True, slots=True)
class FeatureImpact:
    """The loss if all values of one feature are corrupted.

    Attributes:
        permuted: loss if its values belong to other rows.
        at: per bin, loss if every row has a value of that bin; None where the model fails.
    """

    permuted: float
    at: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class LabelProfile:
    """The healthy rows with one label, or with labels in one range.

    Attributes:
        share: of the healthy rows, in [0, 1].
        error: the model's mean error on them.
        features, outputs: per feature or output, the share of these rows in each bin.
    """

    share: float
    error: float
    features: Mapping[str, tuple[float, ...]]
    outputs: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class PerformanceImpact:
    """Results of the impact study at `init`. Stored with the baseline.

    Attributes:
        metric: how losses are measured.
        labelled: whether labels were available; otherwise the model's own probabilities were used instead.
        healthy_error: mean error on the healthy sample.
        all_permuted: loss if the values of all features belong to other rows.
        features: per feature.
        together: (feature, feature, loss) if both are permuted alike, for the most important features.
        effects, output_effects: per feature or output and bin, the difference in error, other things equal.
        effects_alone: the same from the features alone, for rows without a prediction.
        effect_sd: standard deviation of one row's summed effects.
        effect_variation: standard deviation, from chunk to chunk of the healthy period and beyond sampling, of the
            error that the effects fail to predict.
        truths: the rows by label.
        answers: per bin of the prediction, a regressor's typical prediction; empty of a classifier.
    """

    metric: Metric
    labelled: bool
    healthy_error: float
    all_permuted: float
    features: Mapping[str, FeatureImpact]
    together: tuple[tuple[str, str, float], ...] = ()
    effects: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    output_effects: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    effects_alone: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    effect_sd: float = 0.0
    effect_variation: float = 0.0
    truths: tuple[LabelProfile, ...] = ()
    answers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Corruption:
    """The corruption of one feature.

    Attributes:
        share: of its values, in [0, 1].
        extreme: whether values are beyond all that the study tried.
    """

    share: float
    extreme: bool


@dataclass(frozen=True, slots=True)
class DistributionShift:
    """The distributions of features and outputs in the window and in health, as shares by bin.

    Attributes:
        features, healthy: per feature.
        clipped_features: per feature, with numbers far outside counted in the outermost ordinary bins.
        outputs, healthy_outputs: per output that both window and baseline have.
        count, healthy_count: rows.
        mean_difference: distance of a regressor's mean prediction from the healthy mean beyond noise, 0 or more.
    """

    features: Mapping[str, Numbers]
    clipped_features: Mapping[str, Numbers]
    healthy: Mapping[str, Numbers]
    outputs: Mapping[str, Numbers]
    healthy_outputs: Mapping[str, Numbers]
    count: int
    healthy_count: int
    mean_difference: float = 0.0

    @property
    def variance_factor(self) -> float:
        """Sampling variance of a share's difference, per unit of p (1 - p)."""
        return 1 / self.count + 1 / max(self.healthy_count, 1)


@dataclass(frozen=True, slots=True)
class ImpactEstimate:
    """The estimated loss: accuracy lost, or the share by which the mean absolute error has grown.

    Attributes:
        corruption: loss by corrupted features.
        shift: loss by a genuine shift, negative where the model performs better.
    """

    corruption: float
    shift: float

    @property
    def total(self) -> float:
        """Both. A gain by a shift does not offset corruption."""
        return self.corruption + max(self.shift, 0.0)


def estimate_impact(
    impact: PerformanceImpact,
    shift: DistributionShift,
    corruptions: Mapping[str, Corruption],
    policy: EvidencePolicy = EVIDENCE,
) -> ImpactEstimate:
    """The loss that the window's distributions cost, given the corrupted features."""
    loss = 0.0
    if corruptions:
        study_loss = corruption_loss(impact, shift, corruptions, policy.negligible_shift)
        by_predictions = _prediction_shift_loss(impact, shift, policy.impact_deviations)
        extreme = any(corruption.extreme for corruption in corruptions.values())
        most = math.inf if extreme else policy.untested_factor * study_loss
        loss = max(study_loss, min(by_predictions, most), 0.0)
    shift_loss = _shift_loss(impact, shift, corruptions, policy)
    unit = 1.0 if impact.metric is Metric.ACCURACY else max(impact.healthy_error, 1e-12)
    return ImpactEstimate(loss / unit, shift_loss / unit)


def total_variation(now: Numbers, healthy: Numbers) -> float:
    """Total variation distance of two distributions, in [0, 1]: the share of rows in another bin."""
    return float(0.5 * np.abs(now - healthy).sum())


def total_variation_noise(healthy: Numbers, variance_factor: float) -> tuple[float, float]:
    """Mean and standard deviation (an upper bound) of the total variation distance that sampling alone makes.

    Half the sum of absolute normal deviates, each of variance p (1 - p) times the factor.
    """
    variance = np.clip(healthy, 0.0, 1.0) * (1 - np.clip(healthy, 0.0, 1.0)) * variance_factor
    return float(0.5 * math.sqrt(2 / math.pi) * np.sqrt(variance).sum()), float(0.5 * math.sqrt(variance.sum()))


def corruption_loss(
    impact: PerformanceImpact, shift: DistributionShift, corruptions: Mapping[str, Corruption], permuted_max: float
) -> float:
    """The loss of such corruption in the study: in pairs where it studied pairs, at most that of all features."""
    losses = {name: _feature_loss(impact, shift, name, each.share, permuted_max) for name, each in corruptions.items()}
    total = math.fsum(max(loss, 0.0) for loss in losses.values())
    for first, second, pair_loss in impact.together:
        if first in corruptions and second in corruptions:
            share = min(corruptions[first].share, corruptions[second].share)
            total += share * (pair_loss - impact.features[first].permuted - impact.features[second].permuted)
    worst = max(losses.values(), default=0.0)
    return min(max(total, worst), max(impact.all_permuted, worst))


def _feature_loss(
    impact: PerformanceImpact, shift: DistributionShift, name: str, share: float, permuted_max: float
) -> float:
    feature = impact.features.get(name)
    if feature is None or share <= 0:
        return 0.0
    now, healthy = shift.features[name], shift.healthy[name]
    # The healthy values keep their distribution, so what the window has beyond their share are the corrupted values.
    excess = np.maximum(now - (1 - share) * healthy, 0.0)
    bin_losses = np.array([feature.permuted if loss is None else loss for loss in feature.at])
    if len(bin_losses) != len(excess) or excess.sum() <= 0:
        return share * feature.permuted
    loss = float(excess @ bin_losses / excess.sum())
    return share * (max(loss, feature.permuted) if total_variation(now, healthy) < permuted_max else loss)


def _prediction_shift_loss(impact: PerformanceImpact, shift: DistributionShift, deviations: float) -> float:
    """The least loss that the shift of the predictions' distribution implies."""
    now, healthy = shift.outputs.get("prediction"), shift.healthy_outputs.get("prediction")
    if now is None or healthy is None:
        return 0.0
    if impact.metric is Metric.ACCURACY:
        mean, sd = total_variation_noise(healthy, shift.variance_factor)
        flips = max(0.0, total_variation(now, healthy) - mean - deviations * sd)
        accuracy, other_classes = 1 - impact.healthy_error, max(int((healthy > 0).sum()) - 1, 1)
        return flips * max(0.0, accuracy - (1 - accuracy) / other_classes)
    steps = np.diff(np.array(impact.answers))
    if len(steps) + 1 > len(now):
        return 0.0
    # The earth mover's distance of the predictions in one dimension. The bins end at the outermost ordinary one, so
    # predictions far outside show only in the mean.
    earth = float(np.abs(np.cumsum(now - healthy)[: len(steps)]) @ steps) if len(steps) else 0.0
    return math.hypot(impact.healthy_error, max(earth, shift.mean_difference)) - impact.healthy_error


def _shift_loss(
    impact: PerformanceImpact, shift: DistributionShift, corruptions: Collection[str], policy: EvidencePolicy
) -> float:
    """The error that the shift of all intact features explains, where it is beyond noise."""
    total = 0.0
    outputs = {} if corruptions else shift.outputs
    effects = impact.effects if outputs else impact.effects_alone
    for name, effect in effects.items():
        now = shift.clipped_features.get(name)
        if name not in corruptions and now is not None and len(effect) == len(now):
            total += float((now - shift.healthy[name]) @ np.array(effect))
    for name, now in outputs.items():
        effect = impact.output_effects.get(name, ())
        if len(effect) == len(now):
            total += float((now - shift.healthy_outputs[name]) @ np.array(effect))
    noise = math.hypot(policy.impact_deviations * impact.effect_sd / math.sqrt(shift.count), impact.effect_variation)
    loss = total if abs(total) > noise else 0.0
    by_labels, explained_share = _label_shift_loss(impact, shift, corruptions, policy)
    return max(loss, by_labels * explained_share) if explained_share > policy.label_shift_explained_min else loss


def _label_shift_loss(
    impact: PerformanceImpact, shift: DistributionShift, corruptions: Collection[str], policy: EvidencePolicy
) -> tuple[float, float]:
    """The error gained if only the mix of labels has changed, and the share of the shift that this explains.

    Weighted least squares fits the mix to all shares at once.
    """
    labels = impact.truths
    if len(labels) < 2:
        return 0.0, 0.0
    names = [name for name in shift.clipped_features if name not in corruptions and name in labels[0].features]
    outputs = [name for name in shift.outputs if name in labels[0].outputs]
    now = [shift.clipped_features[name] for name in names] + [shift.outputs[name] for name in outputs]
    if not now:
        return 0.0, 0.0
    by_label = np.array(
        [np.concatenate([t.features[n] for n in names] + [t.outputs[n] for n in outputs]) for t in labels]
    )
    healthy = np.concatenate([shift.healthy[n] for n in names] + [shift.healthy_outputs[n] for n in outputs])
    if by_label.shape[1] != len(healthy):
        return 0.0, 0.0
    weight = 1 / np.sqrt(healthy + policy.label_shift_prior_rows / max(shift.healthy_count, 1))
    noise = shift.variance_factor * healthy * (1 - healthy) * weight**2
    differences = (np.concatenate(now) - healthy) * weight
    # The shares of the labels sum to one, so the last one follows from the others.
    basis = (by_label[:-1] - by_label[-1]) * weight
    solver = np.linalg.inv(basis @ basis.T + 1e-6 * np.eye(len(basis))) @ basis
    change = solver @ differences
    errors, shares = np.array([t.error for t in labels]), np.array([t.share for t in labels])
    mix = np.clip(shares + np.append(change, -change.sum()), 0.0, None)
    loss = float((mix / max(mix.sum(), 1e-12) - shares) @ errors)
    standard_error = math.sqrt(float((((errors[:-1] - errors[-1]) @ solver) ** 2) @ noise))
    rest = differences - change @ basis
    whole_size, rest_size = (float(part @ part) / shift.variance_factor for part in (differences, rest))
    explained_size, freedom = whole_size - rest_size, len(basis)
    by_chance = freedom + policy.label_shift_deviations * math.sqrt(2 * freedom)
    if loss <= policy.impact_deviations * standard_error or explained_size <= by_chance:
        return 0.0, 0.0
    return loss, explained_size / (explained_size + max(0.0, rest_size - float(noise.sum()) / shift.variance_factor))
