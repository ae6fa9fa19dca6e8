"""Harm: what a change is likely to cost this model, estimated without labels from what was learnt with them at `init`.

Two things can happen to a model's input, and they cost differently:

    damage   a feature's values no longer belong to their rows. What that costs was tried out at `init`: each feature
             permuted, and set for all rows to each of its bins, lost so much on labelled rows (permutation importance:
             L. Breiman, "Random forests", Machine Learning 45, 2001).
    a shift  other rows come than before, each of them sound. The model then errs on them as it did on such rows in
             the sample: by bin, confidence and answer, other things equal (ridge regression of the error on the
             bins), or, where the mix of the true answers explains the movement better, by true answer (Z. Lipton,
             Y.-X. Wang and A. Smola, "Detecting and correcting for label shift with black box predictors", 2018).

Losses are accuracy lost, in [-1, 1], of a classifier, and the mean absolute error gained, in the answer's unit, of a
regressor; `Estimate` gives the latter as a share of the healthy error.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

UNTRIED_SHARE = 2.0  # times what was tried: the most that flipped answers add where the damage was tried out
MOVED = 0.1  # share of a feature's values that have changed bin: below, a damaged feature is as good as permuted
EXPLAINED = 0.3  # share of the movement that the mix of true answers must explain to be believed
CERTAIN = 4.0  # standard errors beyond which an estimate is believed


class Metric(StrEnum):
    """How a model's quality is measured."""

    ACCURACY = "accuracy"
    MEAN_ABSOLUTE_ERROR = "mean_absolute_error"


@dataclass(frozen=True, slots=True)
class FeatureHarm:
    """What damage to one feature costs, if all of its values are damaged.

    Attributes:
        permuted: loss if its values go to the wrong rows.
        at: per bin, loss if every row has a value of that bin; None where the model fails.
    """

    permuted: float
    at: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """The healthy rows with one true answer, or with one range of true answers.

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
class Harm:
    """What was learnt about a model at `init`.

    Attributes:
        metric: how losses are measured.
        labelled: whether true answers were known; if not, the model's own probabilities stood in for them.
        healthy_error: its mean error on the healthy sample.
        all_permuted: loss if all features together go to the wrong rows.
        features: per feature.
        together: (feature, feature, loss) if both go to the same wrong rows, for the most important ones.
        effects, output_effects: per feature or output and bin, how much the error differs there, other things equal.
        effects_alone: the same from the features alone, for rows that the model did not answer.
        effect_sd: standard deviation of one row's summed effects.
        effect_variation: standard deviation, from stretch to stretch of the healthy period and beyond sampling, of what
            the effects learnt elsewhere in it predict too much or too little.
        truths: the rows by true answer.
        answers: per bin of the prediction, a regressor's typical answer; empty of a classifier.
    """

    metric: Metric
    labelled: bool
    healthy_error: float
    all_permuted: float
    features: Mapping[str, FeatureHarm]
    together: tuple[tuple[str, str, float], ...] = ()
    effects: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    output_effects: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    effects_alone: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    effect_sd: float = 0.0
    effect_variation: float = 0.0
    truths: tuple[Truth, ...] = ()
    answers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Damage:
    """One feature's damage.

    Attributes:
        share: of its values, in [0, 1].
        strange: whether values lie beyond anything that the model was tried on.
    """

    share: float
    strange: bool


@dataclass(frozen=True, slots=True)
class Movement:
    """Where the values of the features and outputs lie now, and where they lay in health: shares by bin.

    Attributes:
        features, healthy: per feature.
        inside: per feature, numbers far outside counted as the outermost ordinary ones.
        outputs, healthy_outputs: per output, only those that can be told.
        count, healthy_count: rows.
        mean_answer: how far a regressor's mean answer lies from the healthy one beyond noise, 0 or more.
    """

    features: Mapping[str, Numbers]
    inside: Mapping[str, Numbers]
    healthy: Mapping[str, Numbers]
    outputs: Mapping[str, Numbers]
    healthy_outputs: Mapping[str, Numbers]
    count: int
    healthy_count: int
    mean_answer: float = 0.0

    @property
    def scatter(self) -> float:
        """Variance of a share's difference, per unit of p (1 - p)."""
        return 1 / self.count + 1 / max(self.healthy_count, 1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated harm: accuracy lost, or the share by which the mean absolute error has grown.

    Attributes:
        damage: by damaged features.
        shift: by a genuine shift, negative where the model is better off.
    """

    damage: float
    shift: float

    @property
    def total(self) -> float:
        """Both; a shift for the better does not make up for damage."""
        return self.damage + max(self.shift, 0.0)


def estimate(harm: Harm, moved: Movement, damaged: Mapping[str, Damage]) -> Estimate:
    """What the movement costs, given which features are damaged."""
    damage = 0.0
    if damaged:
        tried = damage_loss(harm, moved, damaged)
        flipped = _flipped(harm, moved)
        strange = any(one.strange for one in damaged.values())
        damage = max(tried, flipped if strange else min(flipped, UNTRIED_SHARE * tried), 0.0)
    shift = _shift(harm, moved, damaged)
    unit = 1.0 if harm.metric is Metric.ACCURACY else max(harm.healthy_error, 1e-12)
    return Estimate(damage / unit, shift / unit)


def distance(now: Numbers, healthy: Numbers) -> float:
    """Total variation: the share of rows that would have to change bin to look as before, in [0, 1]."""
    return float(0.5 * np.abs(now - healthy).sum())


def distance_noise(healthy: Numbers, scatter: float) -> tuple[float, float]:
    """Mean and standard deviation (an upper bound) of the distance that sampling alone makes.

    Half the sum of absolute normal deviates, each of variance p (1 - p) times the scatter.
    """
    variance = np.clip(healthy, 0.0, 1.0) * (1 - np.clip(healthy, 0.0, 1.0)) * scatter
    return float(0.5 * math.sqrt(2 / math.pi) * np.sqrt(variance).sum()), float(0.5 * math.sqrt(variance.sum()))


def damage_loss(harm: Harm, moved: Movement, damaged: Mapping[str, Damage]) -> float:
    """What was lost when such damage was tried out, features in pairs where they were, at most all together."""
    losses = {name: _feature_loss(harm, moved, name, one.share) for name, one in damaged.items()}
    total = math.fsum(max(loss, 0.0) for loss in losses.values())
    for first, second, both in harm.together:
        if first in damaged and second in damaged:
            share = min(damaged[first].share, damaged[second].share)
            total += share * (both - harm.features[first].permuted - harm.features[second].permuted)
    worst = max(losses.values(), default=0.0)
    return min(max(total, worst), max(harm.all_permuted, worst))


def _feature_loss(harm: Harm, moved: Movement, name: str, share: float) -> float:
    known = harm.features.get(name)
    if known is None or share <= 0:
        return 0.0
    now, healthy = moved.features[name], moved.healthy[name]
    # What is in the window beyond the share of healthy values is where the damaged ones went.
    spoilt = np.maximum(now - (1 - share) * healthy, 0.0)
    at = np.array([known.permuted if loss is None else loss for loss in known.at])
    if len(at) != len(spoilt) or spoilt.sum() <= 0:
        return share * known.permuted
    loss = float(spoilt @ at / spoilt.sum())
    return share * (max(loss, known.permuted) if distance(now, healthy) < MOVED else loss)


def _flipped(harm: Harm, moved: Movement) -> float:
    """What the answers that must have changed cost at least: their distribution has moved so far."""
    now, healthy = moved.outputs.get("prediction"), moved.healthy_outputs.get("prediction")
    if now is None or healthy is None:
        return 0.0
    if harm.metric is Metric.ACCURACY:
        mean, sd = distance_noise(healthy, moved.scatter)
        flips = max(0.0, distance(now, healthy) - mean - CERTAIN * sd)
        accuracy, others = 1 - harm.healthy_error, max(int((healthy > 0).sum()) - 1, 1)
        return flips * max(0.0, accuracy - (1 - accuracy) / others)
    steps = np.diff(np.array(harm.answers))
    if len(steps) + 1 > len(now):
        return 0.0
    # The earth mover's distance between answers in one dimension; the mean's own also sees what lies far outside.
    earth = float(np.abs(np.cumsum(now - healthy)[: len(steps)]) @ steps) if len(steps) else 0.0
    far = max(earth, moved.mean_answer)
    return math.hypot(harm.healthy_error, far) - harm.healthy_error


def _shift(harm: Harm, moved: Movement, damaged: Collection[str]) -> float:
    """The error that the movement of all sound features explains, where it is beyond noise."""
    gained = 0.0
    outputs = {} if damaged else moved.outputs
    effects = harm.effects if outputs else harm.effects_alone
    for name, effect in effects.items():
        if name not in damaged and name in moved.inside and len(effect) == len(moved.inside[name]):
            gained += float((moved.inside[name] - moved.healthy[name]) @ np.array(effect))
    for name, now in outputs.items():
        effect = harm.output_effects.get(name, ())
        if len(effect) == len(now):
            gained += float((now - moved.healthy_outputs[name]) @ np.array(effect))
    noise = math.hypot(CERTAIN * harm.effect_sd / math.sqrt(moved.count), harm.effect_variation)
    believed = gained if abs(gained) > noise else 0.0
    mixed, explained = _mixed(harm, moved, damaged)
    return max(believed, mixed * explained) if explained > EXPLAINED else believed


def _mixed(harm: Harm, moved: Movement, damaged: Collection[str]) -> tuple[float, float]:
    """The error gained if only the mix of true answers has changed, and the share of the movement that explains.

    The mix is fitted to all shares at once by weighted least squares.
    """
    if len(harm.truths) < 2:
        return 0.0, 0.0
    names = [name for name in moved.inside if name not in damaged and name in harm.truths[0].features]
    told = [name for name in moved.outputs if name in harm.truths[0].outputs]
    now = [moved.inside[name] for name in names] + [moved.outputs[name] for name in told]
    if not now:
        return 0.0, 0.0
    by_truth = np.array(
        [np.concatenate([t.features[n] for n in names] + [t.outputs[n] for n in told]) for t in harm.truths]
    )
    healthy = np.concatenate([moved.healthy[name] for name in names] + [moved.healthy_outputs[name] for name in told])
    if by_truth.shape[1] != len(healthy):
        return 0.0, 0.0
    weight = 1 / np.sqrt(healthy + 2 / max(moved.healthy_count, 1))
    noise = moved.scatter * healthy * (1 - healthy) * weight**2
    movement = (np.concatenate(now) - healthy) * weight
    # The shares of the true answers sum to one: the last one is what the others leave.
    basis = (by_truth[:-1] - by_truth[-1]) * weight
    solver = np.linalg.inv(basis @ basis.T + 1e-6 * np.eye(len(basis))) @ basis
    change = solver @ movement
    errors = np.array([t.error for t in harm.truths])
    shares = np.array([t.share for t in harm.truths])
    mix = np.clip(shares + np.append(change, -change.sum()), 0.0, None)
    gained = float((mix / max(mix.sum(), 1e-12) - shares) @ errors)
    certainty = math.sqrt(float((((errors[:-1] - errors[-1]) @ solver) ** 2) @ noise))
    left = movement - change @ basis
    before, after = float(movement @ movement) / moved.scatter, float(left @ left) / moved.scatter
    by_mix = before - after
    freedom = len(basis)
    if gained <= CERTAIN * certainty or by_mix <= freedom + 8 * math.sqrt(2 * freedom):
        return 0.0, 0.0
    return gained, by_mix / (by_mix + max(0.0, after - float(noise.sum()) / moved.scatter))
