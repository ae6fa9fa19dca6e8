"""Association: whether the values of a row still fit one another, although each feature by itself seems healthy.

A column that is permuted, stale, stuck or joined to the wrong row can keep its distribution to the last digit. It
loses its association with the other columns. The baseline keeps, for every two features, how often their bins occurred
in the same row. The score of a pair of bins is its pointwise mutual information (PMI): the logarithm of how much more
often the pair occurred than it would by chance.

    observed    the mean PMI in the window
    expected    the mean PMI if the association is intact, given the window's distribution of either feature
    chance      the mean PMI if the two features were independent

    broken share = (expected - observed) / (expected - chance), summed over the feature's associations

A genuine shift changes a feature and everything associated with it: `expected` changes as well, so the share stays near
zero. The share is computed in both directions (the feature given the others, the others given the feature); the smaller
one counts.

Source: PMI is by R. M. Fano, Transmission of Information, 1961. Its mean is the mutual information, whose chance level
is tested by its likelihood ratio.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, Joint
from stillsafe.core.evidence.bins import SPECIAL_BINS, Bins
from stillsafe.core.policy import EVIDENCE, EvidencePolicy

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AssociationTable:
    """The baseline's joint counts as PMI. `F` features have `B` bins in all.

    Attributes:
        features: their names.
        starts: (F,) index of each feature's first bin.
        sizes: (F,) number of bins of each.
        shares: (B,) share of the healthy rows in each bin.
        pmi: (B, B) PMI of two bins, in nats; 0 within a feature.
        expected_pmi: (B, F) expected PMI of a bin with each feature, if the association is intact.
        mutual_information: (F, F) mean PMI in the healthy period, in nats.
        is_associated: (F, F) flags: the pairs whose association exceeds chance.
        pmi_variance: (B,) variance of the summed PMI of a bin with all associated features.
        optimism: (F, F) mean PMI by which the table fits its own rows better than other healthy rows, in nats.
        count: healthy rows.
        policy: the numbers that the table was computed with.
    """

    features: tuple[str, ...]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    shares: Numbers
    pmi: Numbers
    expected_pmi: Numbers
    mutual_information: Numbers
    is_associated: NDArray[np.bool_]
    pmi_variance: Numbers
    optimism: Numbers
    count: int
    policy: EvidencePolicy

    @property
    def total_information(self) -> Numbers:
        """(F,) mutual information of each feature, summed over its associated features."""
        return np.asarray(np.sum(self.mutual_information * self.is_associated, axis=1))

    @property
    def full_break(self) -> Numbers:
        """(F, F) mean PMI that the healthy rows would lose if the features were independent, in nats."""
        return self.mutual_information - self.blocks(np.outer(self.shares, self.shares) * self.pmi)

    def blocks(self, table: Numbers) -> Numbers:
        """(F, F) sums of a (B, B) table over the bins of every two features."""
        return np.asarray(np.add.reduceat(np.add.reduceat(table, self.starts, 0), self.starts, 1))

    def over_bins(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(B, B) flags from (F, F) flags."""
        return np.repeat(np.repeat(flags, self.sizes, 0), self.sizes, 1)


@dataclass(frozen=True, slots=True)
class WindowAssociation:
    """A window's mean PMI and its expected values. (F, F) each, in nats; a row is the feature under test.

    Attributes:
        observed_pmi: mean PMI.
        chance: mean PMI if the two features were independent.
        single_change: mean PMI if only the feature under test had changed, independently of the others.
        from_own: expected mean PMI, given the feature's own distribution in the window.
        from_others: expected mean PMI, given the others' distributions in the window.
        standard_error: (F,) of the summed difference, given the feature's own distribution.
        effective_count: rows of a window with the same noise, were the baseline's table exact.
    """

    observed_pmi: Numbers
    chance: Numbers
    single_change: Numbers
    from_own: Numbers
    from_others: Numbers
    standard_error: Numbers
    effective_count: float


@dataclass(frozen=True, slots=True)
class AssociationNoise:
    """How much a healthy broken share differs from zero. (F,) each.

    Attributes:
        offset: share that healthy rows show on average.
        row_sd: standard deviation of one healthy row's share.
        variation: standard deviation from chunk to chunk of the healthy period.
    """

    offset: Numbers
    row_sd: Numbers
    variation: Numbers


@dataclass(frozen=True, slots=True)
class BrokenAssociation:
    """The broken association of each feature. (F,) each.

    Attributes:
        share: of the rows on which the associations are broken, about 0 in health; the smaller of both directions.
        deviations: standard errors between the share and health, in the direction with fewer of them.
        most_deviations: the same in the direction with more.
        power: standard errors that a full break would make; below about 4 no break is detectable.
        error: standard error of the share, in the direction with fewer deviations.
    """

    share: Numbers
    deviations: Numbers
    most_deviations: Numbers
    power: Numbers
    error: Numbers


def association_table(
    features: Sequence[str], sizes: Sequence[int], counts: Numbers, policy: EvidencePolicy = EVIDENCE
) -> AssociationTable:
    """PMI from the symmetric (B, B) joint counts, with its variance."""
    table = association_strengths(features, sizes, counts, policy)
    rows, shares = max(float(counts.diagonal()[: sizes[0]].sum()), 1.0), table.shares
    tested_pmi = table.pmi * table.over_bins(table.is_associated)
    covariance = counts / rows - np.outer(shares, shares)
    variance = np.sum((tested_pmi @ covariance) * tested_pmi, axis=1)
    return replace(
        table,
        pmi_variance=np.maximum(variance, 0.0),
        optimism=table.blocks(_overfit(counts, shares, rows, policy.association_prior_rows)),
    )


def association_strengths(
    features: Sequence[str], sizes: Sequence[int], counts: Numbers, policy: EvidencePolicy = EVIDENCE
) -> AssociationTable:
    """PMI from the symmetric (B, B) joint counts, without its variance: a product of (B, B) tables less."""
    widths = np.array(sizes, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(widths)[:-1]]).astype(np.int64)
    own = np.repeat(np.arange(len(widths)), widths)
    singles = counts.diagonal()
    rows = max(float(singles[: widths[0]].sum()), 1.0)
    shares = singles / rows
    chance = np.outer(shares, shares) * rows
    prior = policy.association_prior_rows
    pmi = np.log((counts + prior) / (chance + prior))
    pmi[np.equal.outer(own, own)] = 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        conditional = np.where(singles[:, None] > 0, counts / singles[:, None], shares[None, :])
    expected_pmi = np.asarray(np.add.reduceat(conditional * pmi, starts, axis=1))
    none = np.empty(0)
    table = AssociationTable(
        tuple(features),
        starts,
        widths,
        shares,
        pmi,
        expected_pmi,
        none,
        np.empty(0, np.bool_),
        none,
        none,
        int(rows),
        policy,
    )
    mutual_information = table.blocks(counts / rows * pmi)
    freedom = np.maximum(np.outer(widths - SPECIAL_BINS - 1, widths - SPECIAL_BINS - 1), 1)
    # Twice the rows times the mutual information is a chi-square of so many degrees of freedom by chance alone.
    is_associated = 2 * rows * mutual_information > freedom + policy.association_deviations * np.sqrt(2 * freedom)
    np.fill_diagonal(is_associated, val=False)
    return replace(table, mutual_information=mutual_information, is_associated=is_associated)


def _overfit(counts: Numbers, shares: Numbers, rows: float, prior: float) -> Numbers:
    """A count's sampling noise moves its own PMI with it: to first order by c / (c + prior) per degree of freedom."""
    return np.asarray(counts / (counts + prior) * np.outer(1 - shares, 1 - shares) / rows)


def baseline_association_table(
    baseline: Baseline, policy: EvidencePolicy = EVIDENCE, names: Collection[str] | None = None
) -> AssociationTable | None:
    """The PMI of a baseline, or None where it has no complete joint table.

    Args:
        baseline: the healthy period.
        policy: the numbers to compute with.
        names: features whose values the log shows (default all); the table leaves the others out.
    """
    joint = baseline.joint
    if joint is None or len(joint.features) < 2:
        return None
    bins = tuple(baseline.features[name].bins for name in joint.features)
    visible_names = tuple(name for name in joint.features if names is None or name in names)
    for each in _RECENT_TABLES:
        if each.joint is joint and each.key == (bins, visible_names, policy):
            return each.table
    table = _association_table_of(joint, bins, visible_names, policy)
    _RECENT_TABLES.appendleft(_RecentTable(joint, (bins, visible_names, policy), table))
    return table


class _RecentTable(NamedTuple):
    """A table with what it was computed from. Counting a window and judging it need the same one."""

    joint: Joint
    key: tuple[object, ...]
    table: AssociationTable | None


_RECENT_TABLES: deque[_RecentTable] = deque(maxlen=4)


def _association_table_of(
    joint: Joint, bins: tuple[Bins | None, ...], visible_names: tuple[str, ...], policy: EvidencePolicy
) -> AssociationTable | None:
    """The PMI of the visible features of a joint table; None where it is incomplete."""
    sizes = [feature_bins.size for feature_bins in bins if feature_bins is not None]
    count = sum(sizes)
    if len(sizes) != len(bins) or [len(row) for row in joint.counts] != list(range(count, 0, -1)):
        return None
    upper = np.zeros((count, count))
    upper[np.triu_indices(count)] = np.concatenate([np.array(row, dtype=np.float64) for row in joint.counts])
    counts = upper + np.triu(upper, 1).T
    is_visible = [name in visible_names for name in joint.features]
    if sum(is_visible) < 2:
        return None
    bins_visible = np.repeat(is_visible, sizes)
    return association_table(
        [name for name, visible in zip(joint.features, is_visible, strict=True) if visible],
        [size for size, visible in zip(sizes, is_visible, strict=True) if visible],
        counts[np.ix_(bins_visible, bins_visible)],
        policy,
    )


def pmi_sums(table: AssociationTable, counts: Numbers) -> tuple[float, ...]:
    """PMI of every two features, summed over a window's (B, B) joint counts: the upper triangle row by row."""
    sums = table.blocks(counts * table.pmi)
    return tuple(np.round(sums[np.triu_indices(len(table.sizes), 1)], 6).tolist())


def window_association(
    table: AssociationTable, shares: Numbers, sums: Sequence[float], count: int
) -> WindowAssociation:
    """The observed and expected mean PMI of a window.

    Args:
        table: the baseline's PMI.
        shares: (B,) share of the window's rows in each bin.
        sums: the window's PMI sums.
        count: the window's rows.
    """
    features = len(table.sizes)
    observed_pmi = np.zeros((features, features))
    observed_pmi[np.triu_indices(features, 1)] = np.array(sums) / count
    observed_pmi += observed_pmi.T
    expected = np.asarray(np.add.reduceat(shares[:, None] * table.expected_pmi, table.starts, axis=0))
    chance = table.blocks(np.outer(shares, shares) * table.pmi)
    # The expected PMI is a mean over the baseline's rows, so their sampling noise adds to that of the window.
    effective_count = 1 / (1 / count + 1 / table.count)
    standard_error = np.sqrt(np.add.reduceat(shares * table.pmi_variance, table.starts) / effective_count)
    single_change = table.blocks(np.outer(shares, table.shares) * table.pmi)
    return WindowAssociation(observed_pmi, chance, single_change, expected, expected.T, standard_error, effective_count)


def broken_association(
    table: AssociationTable,
    window: WindowAssociation,
    healthy: AssociationNoise,
    without: Collection[int] = (),
    least_information: float | None = None,
    partners: Collection[int] | None = None,
) -> BrokenAssociation:
    """How much of each feature's association is broken.

    Args:
        table: the baseline's PMI.
        window: the window's mean PMI.
        healthy: how much healthy shares differ from zero.
        without: features whose associations are left out, because their values are corrupted.
        least_information: share of a feature's mutual information that must remain for a reliable estimate; None is
            the policy's.
        partners: features whose associations alone count, if given.
    """
    policy, pairs = table.policy, table.is_associated.copy()
    for index in without:
        pairs[index, :] = pairs[:, index] = False
    if partners is not None:
        is_partner = np.isin(np.arange(len(pairs)), list(partners))
        pairs &= is_partner[:, None] | is_partner[None, :]
    whole = table.total_information
    strength = np.sum(table.mutual_information * pairs, axis=1)
    rest = np.divide(strength, whole, out=np.zeros_like(strength), where=whole > 0)
    least = policy.association_min_remaining if least_information is None else least_information
    reliable = (strength > policy.association_min_nats) & (rest > least)
    overfit, full_break = (np.sum(each * pairs, axis=1) for each in (table.optimism, table.full_break))
    offset = np.maximum(healthy.offset, overfit / np.maximum(full_break, 1e-12))
    fewer = np.sqrt(np.clip(rest, 0.0, 1.0))
    shares, deviations, power, errors = [], [], [], []
    for expected, sampling, smallest in (
        (window.from_own, window.standard_error * fewer, policy.own_break_min),
        (
            window.from_others,
            healthy.row_sd * strength / np.sqrt(window.effective_count) * fewer,
            policy.others_break_min,
        ),
    ):
        loss = np.sum((expected - window.observed_pmi) * pairs, axis=1)
        full = np.sum((expected - window.chance) * pairs, axis=1)
        between_chunks = healthy.variation * np.maximum(full, 0.0)
        noise = np.sqrt(sampling**2 + between_chunks**2 + (policy.association_noise_floor * strength) ** 2 + 1e-18)
        loss -= offset * np.maximum(full, 0.0)
        divisor = np.maximum(full, smallest * strength + 1e-12)
        shares.append(np.where(reliable, loss / divisor, 0.0))
        errors.append(np.where(reliable, noise / divisor, 0.0))
        deviations.append(np.where(reliable, loss / noise, 0.0))
        power.append(np.where(reliable, full / noise, 0.0))
    digits = [np.round(np.clip(values, -1e6, 1e6), 6) for values in (*shares, *deviations, power[0])]
    own, others, own_deviations, others_deviations, own_power = digits
    return BrokenAssociation(
        np.minimum(own, others),
        np.minimum(own_deviations, others_deviations),
        np.maximum(own_deviations, others_deviations),
        own_power,
        np.where(own_deviations <= others_deviations, *errors),
    )


def solo_change(
    table: AssociationTable, window: WindowAssociation, index: int, without: Collection[int] = ()
) -> tuple[float, float]:
    """Whether one feature changed by itself: the share of rows on which the others did not change with it.

    Args:
        table: the baseline's PMI.
        window: the window's mean PMI.
        index: the feature.
        without: features whose associations are left out.

    Returns:
        The share, 0 for a genuine shift, and how many standard errors a share of 1 would be.
    """
    pairs = table.is_associated[index].copy()
    pairs[list(without)] = False
    loss = float(np.sum((window.from_own[index] - window.observed_pmi[index]) * pairs))
    full = float(np.sum((window.from_own[index] - window.single_change[index]) * pairs))
    floor = table.policy.association_noise_floor * np.sum(table.mutual_information[index] * pairs)
    noise = float(np.hypot(window.standard_error[index], floor))
    if full <= 0 or noise <= 0:
        return 1.0, 0.0
    return round(loss / full, 6), round(full / noise, 6)


def row_broken_shares(table: AssociationTable, rows: NDArray[np.float32]) -> Numbers:
    """(n, F) broken share of each single row, given the others. Its spread is the sampling noise of a window's share.

    Args:
        table: the PMI of other rows.
        rows: (n, B) one-hot bins.
    """
    tested_pmi = table.pmi * table.over_bins(table.is_associated)
    observed_pmi = np.add.reduceat((rows @ tested_pmi) * rows, table.starts, axis=1)
    expected = rows @ (table.expected_pmi * np.repeat(table.is_associated, table.sizes, 0))
    return np.asarray((expected - observed_pmi) / np.maximum(table.total_information, 1e-9))


def bin_shares(table: AssociationTable, counts: Mapping[str, Sequence[int]], rows: int) -> Numbers:
    """(B,) share of the rows in each bin, from each feature's counts by bin."""
    return np.concatenate([np.array(counts[name], dtype=np.float64) for name in table.features]) / max(rows, 1)
