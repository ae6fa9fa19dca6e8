"""The loss that a genuine shift costs: other rows arrive than before, each of them intact."""

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.evidence.impact import DistributionShift, LabelProfile, Numbers, PerformanceImpact
from stillsafe.core.policy import EvidencePolicy


class ShiftLoss(NamedTuple):
    """What a shift costs, in the unit of the study.

    Attributes:
        loss: negative where the model performs better; 0 within noise.
        standard_error: of the loss.
        by_feature: per feature or output with effects, its part; empty where the mix of labels explains the shift.
    """

    loss: float
    standard_error: float
    by_feature: dict[str, float]


class LabelShift(NamedTuple):
    """A change of the mix of labels.

    Attributes:
        loss: error gained by it; 0 within noise.
        explained_share: share of the distribution shift that it explains, in [0, 1].
        standard_error: of the loss.
    """

    loss: float
    explained_share: float
    standard_error: float


NO_LABEL_SHIFT = LabelShift(0.0, 0.0, 0.0)


def shift_loss(
    impact: PerformanceImpact, shift: DistributionShift, corruptions: Collection[str], policy: EvidencePolicy
) -> ShiftLoss:
    """The error that the shift of all intact features explains, where it is beyond noise.

    Where features are corrupted, the outputs are corrupted with them: they say nothing about the rows.
    """
    parts = effect_losses(impact, shift, corruptions)
    total = math.fsum(parts.values())
    sampling = impact.effect_sd * math.sqrt(shift.variance_factor)
    noise = math.hypot(policy.impact_deviations * sampling, impact.effect_variation)
    loss, error = (total if abs(total) > noise else 0.0), math.hypot(sampling, impact.effect_variation)
    labels = label_shift(impact, shift, corruptions, policy)
    by_labels = labels.loss * labels.explained_share
    if labels.explained_share > policy.label_shift_explained_min and by_labels > max(loss, 0.0):
        return ShiftLoss(by_labels, labels.standard_error, {})
    return ShiftLoss(loss, error if loss else 0.0, parts if loss else {})


def effect_losses(
    impact: PerformanceImpact, shift: DistributionShift, corruptions: Collection[str]
) -> dict[str, float]:
    """Per feature or output, the error that its shift explains: each bin's change of share times the effect there."""
    parts: dict[str, float] = {}
    corruptions = impact.with_views(corruptions)
    outputs = {} if corruptions else shift.outputs
    effects = impact.effects if outputs else impact.effects_alone
    for name, effect in effects.items():
        now = shift.clipped_features.get(name)
        if name not in corruptions and now is not None and len(effect) == len(now):
            parts[name] = float((now - shift.healthy[name]) @ np.array(effect))
    for name, now in outputs.items():
        effect = impact.output_effects.get(name, ())
        if len(effect) == len(now):
            parts[name] = float((now - shift.healthy_outputs[name]) @ np.array(effect))
    return parts


def label_shift(
    impact: PerformanceImpact, shift: DistributionShift, corruptions: Collection[str], policy: EvidencePolicy
) -> LabelShift:
    """The error gained if only the mix of labels has changed, and the share of the shift that this explains.

    Another mix of labels changes everything that depends on them. So the smaller loss counts of two fits: to all
    shares, and to those of all features but the one that argues for it most. The outputs depend on that feature too.
    """
    labels = impact.truths
    if len(labels) < 2:
        return NO_LABEL_SHIFT
    fit = _LabelFit(labels, shift, impact.with_views(corruptions), policy)
    whole = fit.label_shift(frozenset())
    if whole.loss <= 0:
        return NO_LABEL_SHIFT
    without = fit.label_shift(fit.leading_parts()) if fit.feature_count > 1 else whole
    return (
        whole if whole.loss <= without.loss else LabelShift(without.loss, whole.explained_share, without.standard_error)
    )


class _LabelFit:
    """Weighted least squares of the shares in a window on the shares by label."""

    def __init__(
        self,
        labels: tuple[LabelProfile, ...],
        shift: DistributionShift,
        corruptions: Collection[str],
        policy: EvidencePolicy,
    ) -> None:
        names = [name for name in shift.clipped_features if name not in corruptions and name in labels[0].features]
        outputs = [name for name in shift.outputs if not corruptions and name in labels[0].outputs]
        columns = [
            *((shift.clipped_features[n], shift.healthy[n], [np.array(t.features[n]) for t in labels]) for n in names),
            *((shift.outputs[n], shift.healthy_outputs[n], [np.array(t.outputs[n]) for t in labels]) for n in outputs),
        ]
        is_usable = [all(len(shares) == len(healthy) for shares in (now, *by)) for now, healthy, by in columns]
        parts = [part for part, usable in zip(columns, is_usable, strict=True) if usable]
        self.feature_count = sum(is_usable[: len(names)])
        self.labels, self.shift, self.policy = labels, shift, policy
        self.sizes = [len(healthy) for _, healthy, _ in parts]
        none = np.empty(0)
        self.healthy = np.concatenate([healthy for _, healthy, _ in parts] or [none])
        self.differences = np.concatenate([now - healthy for now, healthy, _ in parts] or [none])
        by_label = [np.concatenate([part[2][k] for part in parts] or [none]) for k in range(len(labels))]
        self.by_label = np.array(by_label)
        self.evidence: Numbers = np.zeros(len(self.sizes))

    def leading_parts(self) -> frozenset[int]:
        """The outputs, and the feature whose shares the mix of labels of the last fit explains most of."""
        leading = int(np.argmax(self.evidence[: self.feature_count]))
        return frozenset([leading, *range(self.feature_count, len(self.sizes))])

    def label_shift(self, without: frozenset[int]) -> LabelShift:
        """Fit the mix to the shares of all features and outputs but some."""
        part_of = np.repeat(np.arange(len(self.sizes)), self.sizes)
        mask = ~np.isin(part_of, list(without))
        healthy, shift, policy = self.healthy[mask], self.shift, self.policy
        if not healthy.size:
            return NO_LABEL_SHIFT
        weight = 1 / np.sqrt(healthy + policy.label_shift_prior_rows / max(shift.healthy_count, 1))
        differences = self.differences[mask] * weight
        # The shares of the labels sum to one, so the last one follows from the others.
        basis = (self.by_label[:-1, mask] - self.by_label[-1, mask]) * weight
        solver = np.linalg.inv(basis @ basis.T + 1e-6 * np.eye(len(basis))) @ basis
        change = solver @ differences
        loss = self._loss(change)
        noise = shift.variance_factor * healthy * (1 - healthy) * weight**2 + self._profile_noise(change, mask, weight)
        errors = np.array([label.error for label in self.labels])
        standard_error = math.sqrt(float((((errors[:-1] - errors[-1]) @ solver) ** 2) @ noise))
        rest = differences - change @ basis
        gains = np.bincount(part_of[mask], differences**2 - rest**2, minlength=len(self.sizes))
        if not without:
            self.evidence = np.asarray(gains, dtype=np.float64)
        whole_size, rest_size = (float(part @ part) / shift.variance_factor for part in (differences, rest))
        explained_size, freedom = whole_size - rest_size, len(basis)
        by_chance = freedom + policy.label_shift_deviations * math.sqrt(2 * freedom)
        if loss <= policy.impact_deviations * standard_error or explained_size <= by_chance:
            return NO_LABEL_SHIFT
        misfit = max(0.0, rest_size - float(noise.sum()) / shift.variance_factor)
        return LabelShift(loss, explained_size / (explained_size + misfit), standard_error)

    def _loss(self, change: Numbers) -> float:
        errors, shares = np.array([t.error for t in self.labels]), np.array([t.share for t in self.labels])
        mix = np.clip(shares + np.append(change, -change.sum()), 0.0, None)
        return float((mix / max(mix.sum(), 1e-12) - shares) @ errors)

    def _profile_noise(self, change: Numbers, mask: NDArray[np.bool_], weight: Numbers) -> Numbers:
        """Sampling variance of the fitted shares: a profile of few rows with a label is uncertain itself."""
        changes = np.append(change, -change.sum())
        rows = np.array([max(label.share * self.shift.healthy_count, 1.0) for label in self.labels])
        variances = self.by_label[:, mask] * (1 - self.by_label[:, mask]) / rows[:, None]
        return np.asarray((changes**2) @ variances * weight**2)
