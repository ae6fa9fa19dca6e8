"""Damage: which features' values no longer belong to their rows, and on what share of them.

Four things tell: values that are missing, never seen, or far outside; one number that repeats where numbers hardly
ever do; and relations that are broken. A number that repeats or lies outside, but still goes with everything else as
it did in health, is a genuine shift and no damage.

Broken relations point at both of their ends. The fewest features that explain them are searched for greedily: the
feature with the clearest break is taken, its relations are set aside, and what is still broken is looked at anew.
Features that went to the wrong rows together are whole among themselves, and look like the ones that they left: where
nothing tells the two sides apart, both are named.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence import association
from stillsafe.core.evidence.association import SMALLEST_RELIABLE, Broken, Numbers, Seen, Tables
from stillsafe.core.evidence.impact import MOVED, Damage, Movement, distance, distance_noise
from stillsafe.core.window import FeatureTally, Tally

LEAST_FAR_RATE = 0.05  # values far outside: below, a few strays
ONE_SIDE = 0.5  # standard errors less are asked of the less clear direction
MISFIT = 0.4  # of the largest shift elsewhere: what an intact relation may seem broken by when others shift
POWERFUL = 6.0  # standard errors of a full break: relations that would surely show damage
REBUTTED = 4.0  # standard errors by which they show less than is suggested
RELATION = "broken_relation_rate"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is damaged.

    Attributes:
        damaged: the damaged features.
        sound: features whose values alone suggest damage, while the others moved along with them: a genuine shift.
        relations: per feature of the joint table, the share of rows on which its relations are broken and not explained
            by another feature's damage, the limit that applied, and whether a break could be seen at all.
        otherwise: what may be damaged instead, and breaks the same relations; empty where something speaks against.
    """

    damaged: Mapping[str, Damage]
    sound: frozenset[str]
    relations: Mapping[str, tuple[float, float, bool]]
    otherwise: Mapping[str, Damage] = field(default_factory=dict)

    def instead_of(self, name: str) -> frozenset[str]:
        """The features that may be damaged in place of this one; none if that is certain, or it is sound."""
        one, other = self.damaged.keys() - self.otherwise.keys(), self.otherwise.keys() - self.damaged.keys()
        return frozenset(other if name in one else one if name in other else ())


def movement(baseline: Baseline, tally: Tally) -> Movement | None:
    """Where the values lie now and lay in health, or None without bins in common."""
    features, inside, healthy = {}, {}, {}
    for name, before in baseline.features.items():
        now = tally.features.get(name)
        if now is not None and _comparable(before, now):
            healthy[name] = _shares(before.bin_counts)
            features[name] = _shares(now.bin_counts)
            inside[name] = _shares(_inside(before, now))
    outputs, healthy_outputs = {}, {}
    for name, before in baseline.outputs.items():
        now = tally.outputs.get(name)
        if now is not None and _comparable(before, now):
            outputs[name], healthy_outputs[name] = _shares(now.bin_counts), _shares(before.bin_counts)
    if not features:
        return None
    return Movement(
        features,
        inside,
        healthy,
        outputs,
        healthy_outputs,
        tally.prediction_count,
        baseline.sample_size,
        _mean_answer(baseline, tally),
    )


def diagnose(
    baseline: Baseline,
    tally: Tally,
    moved: Movement,
    suspected: Mapping[str, float],
    repeated: Mapping[str, float],
    outside: Mapping[str, float],
    z: float,
    least: float,
) -> Diagnosis:
    """Find the damaged features.

    Args:
        baseline: what healthy looks like.
        tally: what now looks like.
        moved: both, by bin.
        suspected: per feature, the share of values that are newly missing or never seen, where that is beyond noise.
        repeated: per feature, the share of values that are one unusual number, where that is beyond noise.
        outside: per feature, the share of numbers outside the healthy range, where that is beyond noise.
        z: standard errors beyond which something is no noise.
        least: share of rows with broken relations that matters.
    """
    far = {name: share for name in moved.features if (share := _far(baseline.features[name], moved, name, z)) > 0}
    found = association.tables_of(baseline)
    if found is None or len(tally.agreement) != len(found.sizes) * (len(found.sizes) - 1) // 2:
        shares = _shares_by_values(suspected, repeated, far)
        damaged = {name: Damage(max(share, _moved_by(moved, name)), name in far) for name, share in shares.items()}
        return Diagnosis(damaged, frozenset(), {})
    search = _Search(found, baseline, tally, moved)
    whole = search.broken(set())
    doubtful = {**outside, **repeated, **far}
    sound = frozenset(name for name, share in doubtful.items() if search.rebuts(whole, name, share))
    repeated = {name: share for name, share in repeated.items() if name not in sound}
    far = {name: share for name, share in far.items() if name not in sound}
    shares = _shares_by_values(suspected, repeated, far)
    for name, share in shares.items():
        shares[name] = max(share, search.share(whole, name, z))
    broken, told = search.greedy(set(shares), z, least)
    others, told_of_them = search.other_side(broken, set(shares), z, least)
    damaged, otherwise = (
        {name: Damage(share, name in far) for name, share in sorted({**shares, **side}.items())}
        for side in (broken, others)
    )
    return Diagnosis(damaged, sound, told | told_of_them, otherwise if others else {})


class _Search:
    """The joint table and the window, held together while features are set aside."""

    def __init__(self, found: Tables, baseline: Baseline, tally: Tally, moved: Movement) -> None:
        counts = {name: _inside(baseline.features[name], tally.features[name]) for name in found.features}
        self.names = found.features
        self.index = {name: index for index, name in enumerate(found.features)}
        self.found = found
        rows = tally.prediction_count
        self.seen: Seen = association.look(found, association.shares_of(found, counts, rows), tally.agreement, rows)
        keys = [f"{RELATION}:{name}" for name in self.names]
        self.offset = np.array([baseline.offset.get(key, 0.0) for key in keys])
        self.variation = np.array([baseline.variation.get(key, 0.0) for key in keys])
        self.moved = moved
        self.row_sd = np.array(baseline.joint.row_sd if baseline.joint else ())
        self.moved_by: Numbers = np.array([_beyond_noise(moved, name) for name in self.names])

    def broken(self, without: set[str], enough: float = SMALLEST_RELIABLE) -> Broken:
        """Each feature's relations to all but some."""
        left_out = {self.index[name] for name in without if name in self.index}
        return association.broken(self.found, self.seen, self.offset, self.row_sd, self.variation, left_out, enough)

    def rebuts(self, whole: Broken, name: str, share: float) -> bool:
        """Whether the relations clearly show less damage than the values themselves suggest."""
        index = self.index.get(name)
        if index is None:
            return False
        shown = [
            association.alone(self.found, self.seen, index),
            (float(whole.share[index]), float(whole.power[index])),
        ]
        return any(_less(share, *each) for each in shown)

    def share(self, whole: Broken, name: str, z: float) -> float:
        """Share of rows on which a feature that is known to be damaged is: by its relations, where they would tell.

        Where they would not, all that has moved is put down to the damage.
        """
        index = self.index.get(name)
        if index is None or whole.power[index] <= POWERFUL:
            return _moved_by(self.moved, name)
        return float(min(max(whole.share[index], 0.0), 1.0)) if whole.deviations[index] > z else 0.0

    def greedy(
        self, known: set[str], z: float, least: float
    ) -> tuple[dict[str, float], dict[str, tuple[float, float, bool]]]:
        """The fewest features that explain what is broken beyond the known damage; and what each feature shows."""
        taken: dict[str, float] = {}
        told: dict[str, tuple[float, float, bool]] = {}
        for _ in self.names:
            now, limits, clear = self._look(known | taken.keys(), z, least)
            if not clear.any():
                break
            index = int(np.argmax(np.where(clear, now.deviations, -1.0)))
            taken[self.names[index]] = float(min(now.share[index], 1.0))
            told[self.names[index]] = (float(now.share[index]), float(limits[index]), True)
        now, limits, _ = self._look(known | taken.keys(), z, least)
        for index, name in enumerate(self.names):
            if name not in taken:
                told[name] = (float(now.share[index]), float(limits[index]), bool(now.power[index] > z))
        return self._against_the_rest(taken, known), told

    def other_side(
        self, taken: Mapping[str, float], known: set[str], z: float, least: float
    ) -> tuple[dict[str, float], dict[str, tuple[float, float, bool]]]:
        """The features that those taken contradict, if they may as well be on the wrong rows; and what each shows.

        None if something tells the sides apart: the distributions of those taken have moved, one of the others still
        goes with the rest, or more is broken than the others explain.
        """
        now, limits, clear = self._look(known, z, least)
        others = {name: index for index, name in enumerate(self.names) if clear[index] and name not in taken}
        if not others or self._moved_alone(taken, others):
            return {}, {}
        share, aside = max(taken.values()), known | taken.keys() | others.keys()
        if any(self._goes_with_the_rest(name, share, aside) for name in others):
            return {}, {}
        if self._look(known | others.keys(), z, least)[2].any():
            return {}, {}
        told = {name: (float(now.share[index]), float(limits[index]), True) for name, index in others.items()}
        return dict.fromkeys(others, share), told

    def _look(self, without: set[str], z: float, least: float) -> tuple[Broken, Numbers, NDArray[np.bool_]]:
        """Each feature's relations to all but some, the share that matters, and whether they are clearly broken."""
        now = self.broken(without)
        limits = np.round(least + MISFIT * self._shift_elsewhere(without), 6)
        clear = (now.deviations > z - ONE_SIDE) & (now.clearest > z) & (now.share > limits)
        return now, limits, np.asarray(clear)

    def _moved_alone(self, taken: Collection[str], others: Collection[str]) -> bool:
        moved, moved_there = (max(self.moved_by[self.index[name]] for name in side) for side in (taken, others))
        return bool(moved > max(MOVED, moved_there))

    def _goes_with_the_rest(self, name: str, share: float, aside: set[str]) -> bool:
        rest, index = self.broken(aside - {name}, enough=0.0), self.index[name]
        return _less(share, float(rest.share[index]), float(rest.power[index]))

    def _shift_elsewhere(self, damaged: set[str]) -> Numbers:
        """(F,) the largest movement among the other features that are not damaged."""
        shifts = np.array(
            [0.0 if name in damaged else moved for name, moved in zip(self.names, self.moved_by, strict=True)]
        )
        order = np.argsort(shifts)
        largest = np.full(len(shifts), shifts[order[-1]])
        largest[order[-1]] = shifts[order[-2]]
        return largest

    def _against_the_rest(self, taken: dict[str, float], known: set[str]) -> dict[str, float]:
        """The shares again, by the relations to sound features only: a group that moved together is whole in itself."""
        if len(taken) + len(known) < 2:
            return taken
        shares = {}
        for name, share in taken.items():
            apart = self.broken((known | taken.keys()) - {name})
            measured = float(apart.share[self.index[name]])
            shares[name] = min(measured, 1.0) if measured > 0 else share
        return shares


def _less(share: float, shown: float, power: float) -> bool:
    """Whether relations clearly show damage on less than a share of the rows."""
    return power > POWERFUL and (share - shown) * power > REBUTTED


def _shares_by_values(
    suspected: Mapping[str, float], repeated: Mapping[str, float], far: Mapping[str, float]
) -> dict[str, float]:
    """Per feature that the values themselves show to be damaged, the share of them that do."""
    shares = {}
    for name in sorted({*suspected, *repeated, *far}):
        strange = min(1.0, suspected.get(name, 0.0) + far.get(name, 0.0))
        shares[name] = max(strange, repeated.get(name, 0.0))
    return shares


def _moved_by(moved: Movement, name: str) -> float:
    return distance(moved.inside[name], moved.healthy[name])


def _far(before: FeatureBaseline, moved: Movement, name: str, z: float) -> float:
    """Share of numbers far outside, 0 unless that is beyond noise."""
    bins = before.bins
    if bins is None or bins.lowest is None:
        return 0.0
    rate = float(moved.features[name][bins.below] + moved.features[name][bins.above])
    noise = np.sqrt(1 / moved.count * (1 - 1 / moved.count) * moved.scatter)
    return rate if rate > max(LEAST_FAR_RATE, z * float(noise)) else 0.0


def _beyond_noise(moved: Movement, name: str) -> float:
    healthy = moved.healthy[name]
    mean, sd = distance_noise(healthy, moved.scatter)
    return max(0.0, distance(moved.inside[name], healthy) - mean - 2 * sd)


def _mean_answer(baseline: Baseline, tally: Tally) -> float:
    answers = tally.outputs.get("prediction")
    if baseline.prediction_mean is None or baseline.prediction_sd is None or answers is None or not answers.value_count:
        return 0.0
    moved = abs(tally.prediction_sum / answers.value_count - baseline.prediction_mean)
    return max(0.0, moved - 4 * baseline.prediction_sd / float(np.sqrt(answers.value_count)))


def _comparable(before: FeatureBaseline, now: FeatureTally) -> bool:
    return (
        before.bins is not None
        and len(now.bin_counts) == before.bins.size == len(before.bin_counts)
        and sum(now.bin_counts) > 0
        and sum(before.bin_counts) > 0
    )


def _inside(before: FeatureBaseline, now: FeatureTally) -> list[int]:
    """Counts by bin, with the numbers far outside put into the outermost ordinary bins."""
    counts = list(now.bin_counts)
    if before.bins is not None and before.bins.lowest is not None:
        counts[0] += counts[before.bins.below]
        counts[before.bins.ordinary - 1] += counts[before.bins.above]
        counts[before.bins.below] = counts[before.bins.above] = 0
    return counts


def _shares(counts: tuple[int, ...] | list[int]) -> Numbers:
    numbers = np.array(counts, dtype=np.float64)
    return np.asarray(numbers / numbers.sum())
