"""Corruption: which features' values no longer belong to their rows, and on what share of them.

Four things show corruption: values that are missing, never seen, or far outside; one number that repeats where numbers
hardly ever do; and broken associations. A number that repeats or is out of range, but keeps its associations, is a
genuine shift and no corruption.

Broken associations point at both of their ends. A greedy search finds the fewest features that explain them: it takes
the feature with the clearest break, leaves out its associations, and tests the rest again. Features that were joined to
wrong rows together keep their associations among themselves, exactly as the features do that they left. Where nothing
distinguishes the two sides, the diagnosis names both.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence import association
from stillsafe.core.evidence.association import (
    AssociationNoise,
    AssociationTable,
    BrokenAssociation,
    Numbers,
)
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.company import fits_by_row, has_moved_alone, has_moved_along, lasting_share
from stillsafe.core.evidence.distributions import certain_shift, clipped_counts, feature_shift
from stillsafe.core.evidence.doubts import far_rate, thin_rate, value_shares, with_outside
from stillsafe.core.evidence.impact import Corruption, DistributionShift
from stillsafe.core.evidence.join_parts import other_side
from stillsafe.core.evidence.relation_record import Record, noise_factor
from stillsafe.core.policy import EVIDENCE, EvidencePolicy
from stillsafe.core.window import Tally

RELATION = "broken_relation_rate"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """The features whose values suggest corruption beyond noise, with the share of values that do.

    Attributes:
        absent: values that are newly missing or never seen.
        repeated_number: values that are one unusual number.
        out_of_range: numbers outside the healthy range.
        shifts: values whose distribution has shifted; by itself no damage.
    """

    absent: Mapping[str, float] = field(default_factory=dict)
    repeated_number: Mapping[str, float] = field(default_factory=dict)
    out_of_range: Mapping[str, float] = field(default_factory=dict)
    shifts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a difference counts.

    Attributes:
        z: standard errors beyond which a difference is no noise.
        least_share: share of rows with broken associations that matters.
        policy: the other numbers.
        record: of broken relations in the runs before.
    """

    z: float
    least_share: float
    policy: EvidencePolicy = EVIDENCE
    record: Record = field(default_factory=dict)


class FeatureAssociation(NamedTuple):
    """The broken association of one feature.

    Attributes:
        share: of the rows on which its associations are broken.
        limit: share beyond which that counts.
        detectable: whether the window has rows enough to show a break.
        without: features whose associations are left out, because their corruption explains what they break.
        error: standard error of the share.
    """

    share: float
    limit: float
    detectable: bool
    without: tuple[str, ...] = ()
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The corrupted features.

    Attributes:
        corruptions: per corrupted feature.
        intact: features whose values alone suggest corruption, while the others changed with them: a genuine shift.
        associations: per feature of the joint table, what no other feature's corruption explains.
        alternatives: features that may be corrupted instead, since they break the same associations; empty where the
            window rules them out.
        genuine: features whose distribution has shifted along with the associated features, and that are intact.
    """

    corruptions: Mapping[str, Corruption]
    intact: frozenset[str]
    associations: Mapping[str, FeatureAssociation]
    alternatives: Mapping[str, Corruption] = field(default_factory=dict)
    genuine: frozenset[str] = frozenset()

    def alternatives_to(self, name: str) -> frozenset[str]:
        """The features that may be corrupted instead of this one; none if it certainly is, or is intact."""
        side = self.corruptions.keys() - self.alternatives.keys()
        other_side = self.alternatives.keys() - self.corruptions.keys()
        return frozenset(other_side if name in side else side if name in other_side else ())


def diagnose(
    baseline: Baseline, tally: Tally, shift: DistributionShift, suspicion: Suspicion, limits: Limits
) -> Diagnosis:
    """Find the corrupted features.

    Args:
        baseline: the healthy period.
        tally: the window.
        shift: the distributions of both.
        suspicion: what the values themselves suggest.
        limits: when a difference counts.
    """
    names = [name for name in shift.clipped_features if name in baseline.features]
    far, thin = (
        {
            name: share
            for name in names
            if (share := rate(baseline.features[name], shift, name, limits.z, limits.policy))
        }
        for rate in (far_rate, thin_rate)
    )
    table = association.baseline_association_table(baseline, limits.policy, shift.features)
    if table is None or len(tally.agreement) != len(table.sizes) * (len(table.sizes) - 1) // 2:
        return _diagnosis_by_values(shift, suspicion, far, thin)
    search = AssociationSearch(table, baseline, tally, shift, limits)
    whole = search.broken_association(set())
    thin = with_outside(thin, far, suspicion.out_of_range, limits.policy)
    doubts = _doubts(suspicion, far, thin, limits.policy)
    intact = frozenset(name for name, share in doubts.shares.items() if search.is_genuine(name, share, doubts))
    repeated_number, far, thin = (
        {name: share for name, share in each.items() if name not in intact}
        for each in (suspicion.repeated_number, far, thin)
    )
    thin |= search.lone_shifts(doubts.shares)
    shares = value_shares(suspicion.absent, repeated_number, far, thin)
    shares = {name: share if name in thin else max(share, search.share(whole, name)) for name, share in shares.items()}
    side, associations = search.fewest_features(set(shares))
    other_side, other_associations = search.other_side(side, set(shares))
    corruptions, alternatives = (
        {
            name: Corruption(share, name in far, name in suspicion.repeated_number)
            for name, share in sorted({**shares, **each}.items())
        }
        for each in (side, other_side)
    )
    suspects = corruptions.keys() | alternatives.keys()
    shifts = {name: share for name, share in suspicion.shifts.items() if name not in suspects}
    genuine = frozenset(name for name, share in shifts.items() if search.is_genuine(name, share, doubts))
    all_associations = associations | other_associations
    return Diagnosis(corruptions, intact, all_associations, alternatives if other_side else {}, genuine)


def _diagnosis_by_values(
    shift: DistributionShift, suspicion: Suspicion, far: Mapping[str, float], thin: Mapping[str, float]
) -> Diagnosis:
    """The corrupted features where no associations are known."""
    shares = value_shares(suspicion.absent, suspicion.repeated_number, far, thin)
    corruptions = {
        name: Corruption(
            share if name in thin else max(share, feature_shift(shift, name)),
            name in far,
            name in suspicion.repeated_number,
        )
        for name, share in shares.items()
    }
    return Diagnosis(corruptions, frozenset(), {})


class Doubts(NamedTuple):
    """The features whose values suggest corruption, and which of them are evidence for others.

    Attributes:
        shares: per feature, of its values.
        unknown_names: of which the healthy period had hardly any such values: only company makes them genuine.
        confined_names: these, and repeated numbers, which may fit each other by chance.
        strange_names: those that are one number, or far outside without being the tail of a shift: no evidence at all.
    """

    shares: Mapping[str, float]
    unknown_names: frozenset[str]
    confined_names: frozenset[str]
    strange_names: frozenset[str]


def _doubts(
    suspicion: Suspicion, far: Mapping[str, float], thin: Mapping[str, float], policy: EvidencePolicy
) -> Doubts:
    unknown, repeats, outside = {**thin, **far}, suspicion.repeated_number, suspicion.out_of_range
    # Where most of what is outside the range is not far outside, the far numbers are the tail of a shift.
    distant_names = {name for name, share in far.items() if share > policy.lone_shift_min * outside.get(name, 0.0)}
    return Doubts(
        {**outside, **repeats, **unknown},
        frozenset(unknown),
        frozenset({*repeats, *unknown}),
        frozenset({*repeats, *distant_names}),
    )


class AssociationSearch:
    """The joint table and the window, tested with the associations of some features left out."""

    def __init__(
        self, table: AssociationTable, baseline: Baseline, tally: Tally, shift: DistributionShift, limits: Limits
    ) -> None:
        self.table, self.names, self.shift, self.limits = table, table.features, shift, limits
        self.index = {name: index for index, name in enumerate(table.features)}
        counts = {
            name: clipped_counts(baseline.features[name].bins or Bins(), tally.features[name].bin_counts)
            for name in table.features
        }
        rows = tally.judged_count
        self.shares, self.rows = association.bin_shares(table, counts, rows), rows
        self.window = association.window_association(table, self.shares, tally.agreement, rows)
        keys = [f"{RELATION}:{name}" for name in self.names]
        row_sd = dict(zip(baseline.joint.features, baseline.joint.row_sd, strict=False)) if baseline.joint else {}
        self.noise = AssociationNoise(
            # Healthy rows fit a table of other rows less, never better: a negative mean is sampling noise.
            np.array([max(baseline.offset.get(key, 0.0), 0.0) for key in keys]),
            np.array([row_sd[name] for name in self.names]),
            np.array([baseline.variation.get(key, 0.0) for key in keys]),
        )
        # The mean of several runs has less noise than one, so each of them needs to differ by less.
        factors = [noise_factor(limits.record.get(name, ()), limits.policy) for name in self.names]
        self.noise_factors: Numbers = np.array(factors)
        self.certain_shift: Numbers = np.array(
            [certain_shift(shift, name, limits.policy.shift_deviations) for name in self.names]
        )

    def broken_association(
        self, without: Collection[str], least_information: float | None = None, partners: Collection[str] | None = None
    ) -> BrokenAssociation:
        """Each feature's associations with all but some features, or with some partners alone."""
        indices = {self.index[name] for name in without if name in self.index}
        positions = None if partners is None else [self.index[name] for name in partners]
        return association.broken_association(
            self.table, self.window, self.noise, indices, least_information, positions
        )

    def rebuts(self, name: str, share: float, doubtful: Collection[str]) -> bool:
        """Whether the associations with features beyond doubt show less corruption than the values themselves do."""
        index = self.index.get(name)
        if index is None:
            return False
        others = {other for other in doubtful if other != name}
        rest = self.broken_association(others)
        measures = [
            association.solo_change(self.table, self.window, index, [self.index[o] for o in others if o in self.index]),
            self._evidence_of(rest, index),
        ]
        return any(self._clearly_less(share, *measure) for measure in measures)

    def is_genuine(self, name: str, share: float, doubts: Doubts) -> bool:
        """Whether a share of doubtful or shifted values is a genuine shift, by the associated features."""
        is_rebutted = name not in doubts.unknown_names and self.rebuts(name, share, doubts.confined_names)
        return is_rebutted or self.has_company(name, doubts)

    def has_company(self, name: str, doubts: Doubts) -> bool:
        """Whether the associated features moved along with a feature as a genuine shift of it implies.

        Another doubtful one is evidence only where both fit each other row by row, and neither is strange.
        """
        index, strange_names = self.index.get(name), doubts.strange_names
        if index is None:
            return False
        lasting_part = lasting_share(self.table, self.noise, index)
        positions = {other: self.index[other] for other in doubts.shares if other in self.index}
        doubtful = [
            position
            for other, position in positions.items()
            if {name, other} & strange_names
            or not fits_by_row(self.table, self.window, self.shares, (index, position), lasting_part)
        ]
        needed_share = 1.0 if name in strange_names else lasting_part
        return has_moved_along(self.table, self.shares, self.rows, index, doubtful, needed_share)

    def lone_shifts(self, doubts: Collection[str]) -> dict[str, float]:
        """The shift of each feature beyond doubt that moved far while its associated features clearly did not."""
        doubtful = [self.index[other] for other in doubts if other in self.index]
        return {
            name: feature_shift(self.shift, name)
            for index, name in enumerate(self.names)
            if name not in doubts
            and self.certain_shift[index] >= self.limits.policy.lone_shift_min
            and has_moved_alone(
                self.table, self.shares, self.rows, index, doubtful, lasting_share(self.table, self.noise, index)
            )
        }

    def share(self, whole: BrokenAssociation, name: str) -> float:
        """Share of rows on which a corrupted feature is corrupted, by its associations where they can show it.

        Where they cannot, the feature's whole distribution shift counts as corruption.
        """
        index = self.index.get(name)
        if index is None or whole.power[index] <= self.limits.policy.power_deviations:
            return feature_shift(self.shift, name)
        return float(min(max(whole.share[index], 0.0), 1.0)) if whole.deviations[index] > self.limits.z else 0.0

    def fewest_features(self, corrupt_names: set[str]) -> tuple[dict[str, float], dict[str, FeatureAssociation]]:
        """The fewest features that explain what corrupted ones do not, with their shares; and all associations."""
        shares: dict[str, float] = {}
        associations: dict[str, FeatureAssociation] = {}
        for _ in self.names:
            without = corrupt_names | shares.keys()
            now, limits, clear = self.clear_breaks(without)
            if not clear.any():
                break
            index = int(np.argmax(np.where(clear, now.deviations, -1.0)))
            shares[self.names[index]] = float(min(now.share[index], 1.0))
            associations[self.names[index]] = _feature_association(now, limits, index, without)
        without = corrupt_names | shares.keys()
        now, limits, _ = self.clear_breaks(without)
        for index, name in enumerate(self.names):
            if name not in shares:
                # As many runs as there were can show what one cannot.
                run_count = min(len(self.limits.record.get(name, ())) + 1, max(self.limits.policy.relation_runs, 1))
                detectable = bool(now.power[index] * math.sqrt(run_count) > self.limits.z)
                associations[name] = _feature_association(now, limits, index, without, is_detectable=detectable)
        return self._shares_by_intact(shares, corrupt_names), associations

    def other_side(
        self, side: Mapping[str, float], corrupt_names: set[str]
    ) -> tuple[dict[str, float], dict[str, FeatureAssociation]]:
        """The features that may be corrupted instead of one side, with their shares; and their associations."""
        shares = other_side(self, side, corrupt_names)
        now, limits, _ = self.clear_breaks(corrupt_names)
        others = [name for name in shares if name not in side]
        return shares, {n: _feature_association(now, limits, self.index[n], corrupt_names) for n in others}

    def clear_breaks(
        self, without: set[str], least_information: float | None = None, partners: Collection[str] | None = None
    ) -> tuple[BrokenAssociation, Numbers, NDArray[np.bool_]]:
        """Each feature's associations with all but some, the limit of its share, and whether it is clearly broken.

        Given partners, those with them alone.
        """
        now, policy = self.broken_association(without, least_information, partners), self.limits.policy
        z, allowance = self.limits.z * self.noise_factors, policy.weaker_side_deviations * self.noise_factors
        shift = self.shift_elsewhere(without if partners is None else set(self.names) - set(partners))
        limits = np.round(self.limits.least_share + policy.shift_tolerance * shift, 6)
        clear = (now.deviations > z - allowance) & (now.most_deviations > z) & (now.share > limits)
        return now, limits, np.asarray(clear)

    def keeps_associations(self, name: str, share: float, excluded_names: set[str]) -> bool:
        """Whether a feature keeps its associations with all features that are not excluded."""
        rest, index = self.broken_association(excluded_names - {name}, least_information=0.0), self.index[name]
        return self._clearly_less(share, *self._evidence_of(rest, index))

    def _evidence_of(self, rest: BrokenAssociation, index: int) -> tuple[float, float]:
        """The share that associations show broken, and the standard errors of all: they show what lasts of them."""
        lasting_part = lasting_share(self.table, self.noise, index)
        return float(rest.share[index]) / max(lasting_part, 1e-9), float(rest.power[index]) * lasting_part

    def shift_elsewhere(self, corrupt_names: set[str]) -> Numbers:
        """(F,) the largest shift among the other features that are not corrupted."""
        shifts = np.where([name in corrupt_names for name in self.names], 0.0, self.certain_shift)
        order = np.argsort(shifts)
        largest = np.full(len(shifts), shifts[order[-1]])
        largest[order[-1]] = shifts[order[-2]]
        return largest

    def _clearly_less(self, share: float, broken_share: float, power: float) -> bool:
        """Whether associations clearly show corruption on less than a share of the rows."""
        policy = self.limits.policy
        return power > policy.power_deviations and (share - broken_share) * power > policy.rebuttal_deviations

    def _shares_by_intact(self, shares: dict[str, float], corrupt_names: set[str]) -> dict[str, float]:
        """The shares again, by the associations with intact features only.

        A group that was joined to wrong rows together keeps its associations within the group, which lowers its shares.
        """
        if len(shares) + len(corrupt_names) < 2:
            return shares
        again = {}
        for name, share in shares.items():
            rest = self.broken_association((corrupt_names | shares.keys()) - {name})
            rest_share = float(rest.share[self.index[name]])
            again[name] = min(rest_share, 1.0) if rest_share > 0 else share
        return again


def _feature_association(
    now: BrokenAssociation, limits: Numbers, index: int, without: Collection[str], *, is_detectable: bool = True
) -> FeatureAssociation:
    numbers = float(now.share[index]), float(limits[index])
    return FeatureAssociation(*numbers, is_detectable, tuple(sorted(without)), float(now.error[index]))
