"""Relations: whether the values of a row still belong together, although each by itself looks healthy.

A column that is permuted, stale, stuck or joined to the wrong row may keep its distribution to the last digit. What it
loses is its relation to the other columns. The baseline keeps, for every two features, how often their bins were seen
together. A pair of bins scores the logarithm of its lift: how much more often it was seen than chance would have it.

    seen        the mean score in the window
    expected    the mean score if the relation holds, given how the window's values of either feature are distributed
    by chance   the mean score if the two were drawn independently

    broken share = (expected - seen) / (expected - by chance), summed over the feature's relations

A genuine shift moves a feature and all that goes with it: `expected` moves along, so the share stays near zero. It is
judged in both directions (the feature given the others, the others given the feature) and the smaller one counts.

Source: the score is the pointwise mutual information (R. M. Fano, Transmission of Information, 1961), its mean the
mutual information, whose chance level is tested by its likelihood ratio.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.bins import STRANGE

Numbers = NDArray[np.float64]

PRIOR = 3.0  # rows of chance that every pair of bins is given beforehand, so that a rare pair proves little
CERTAINTY = 6.0  # standard deviations by which a relation must exceed chance to count as one
LEAST_STRENGTH = 0.01  # nats
SMALLEST_RELIABLE = 0.25  # share of a feature's relations that must be left to judge it by
FLOOR = 0.005  # of the strength: what no table is ever more certain of


@dataclass(frozen=True, slots=True)
class Tables:
    """The baseline's joint counts as scores. `B` bins of `F` features in all.

    Attributes:
        features: their names.
        starts: (F,) index of each feature's first bin.
        sizes: (F,) bins of each.
        shares: (B,) share of the healthy rows in each bin.
        score: (B, B) logarithm of the lift of two bins; 0 within a feature.
        given: (B, F) expected score of a bin with each feature, if the relation holds.
        strength: (F, F) mean score in the healthy period, in nats.
        related: (F, F) flags: relations that are more than chance.
        spread: (B,) variance of the summed score of a bin with all related features.
    """

    features: tuple[str, ...]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    shares: Numbers
    score: Numbers
    given: Numbers
    strength: Numbers
    related: NDArray[np.bool_]
    spread: Numbers

    def blocks(self, table: Numbers) -> Numbers:
        """(F, F) sums of a (B, B) table over the bins of every two features."""
        return np.asarray(np.add.reduceat(np.add.reduceat(table, self.starts, 0), self.starts, 1))

    def over_bins(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(B, B) flags from (F, F) ones."""
        return np.repeat(np.repeat(flags, self.sizes, 0), self.sizes, 1)


@dataclass(frozen=True, slots=True)
class Seen:
    """A window's agreement beside what was to be expected. (F, F) each, in nats; row: the feature that is judged.

    Attributes:
        seen: mean score.
        chance: mean score if independent.
        alone: mean score if only this feature had changed, and without regard to the others.
        from_own: expected, given the feature's own distribution now.
        from_others: expected, given the others' distributions now.
        spread: (F,) standard error of the summed difference, given the feature's own distribution.
        count: rows.
    """

    seen: Numbers
    chance: Numbers
    alone: Numbers
    from_own: Numbers
    from_others: Numbers
    spread: Numbers
    count: int


@dataclass(frozen=True, slots=True)
class Broken:
    """One feature's relations.

    Attributes:
        share: of the rows on which they are broken, about 0 in health; the smaller of both directions.
        deviations: by how many standard errors it differs from health, in the direction with fewer.
        clearest: the same in the direction with more.
        power: how many standard errors a full break would make; below about 4 nothing can be seen.
    """

    share: Numbers
    deviations: Numbers
    clearest: Numbers
    power: Numbers


def tables(features: Sequence[str], sizes: Sequence[int], counts: Numbers) -> Tables:
    """Scores from the symmetric (B, B) joint counts."""
    widths = np.array(sizes, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(widths)[:-1]]).astype(np.int64)
    own = np.repeat(np.arange(len(widths)), widths)
    within = own[:, None] == own[None, :]
    singles = counts.diagonal()
    rows = max(float(singles[: widths[0]].sum()), 1.0)
    shares = singles / rows
    chance = np.outer(shares, shares) * rows
    score = np.log((counts + PRIOR) / (chance + PRIOR))
    score[within] = 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        conditional = np.where(singles[:, None] > 0, counts / singles[:, None], shares[None, :])
    given = np.asarray(np.add.reduceat(conditional * score, starts, axis=1))
    none = np.empty(0)
    bare = Tables(tuple(features), starts, widths, shares, score, given, none, np.empty(0, np.bool_), none)
    strength = bare.blocks(counts / rows * score)
    freedom = np.maximum(np.outer(widths - STRANGE - 1, widths - STRANGE - 1), 1)
    # Twice the rows times the mutual information is a chi-square of so many degrees of freedom by chance alone.
    related = 2 * rows * strength > freedom + CERTAINTY * np.sqrt(2 * freedom)
    np.fill_diagonal(related, val=False)
    summed = score * bare.over_bins(related)
    covariance = counts / rows - np.outer(shares, shares)
    spread = np.einsum("ij,jk,ik->i", summed, covariance, summed, optimize=True)
    return replace(bare, strength=strength, related=related, spread=np.maximum(spread, 0.0))


def tables_of(baseline: Baseline) -> Tables | None:
    """The scores of a baseline, or None where it has no joint table."""
    joint = baseline.joint
    if joint is None or len(joint.features) < 2:
        return None
    bins = [baseline.features[name].bins for name in joint.features]
    sizes = [one.size for one in bins if one is not None]
    count = sum(sizes)
    if len(sizes) != len(bins) or [len(row) for row in joint.counts] != list(range(count, 0, -1)):
        return None
    upper = np.zeros((count, count))
    upper[np.triu_indices(count)] = np.concatenate([np.array(row, dtype=np.float64) for row in joint.counts])
    return tables(joint.features, sizes, upper + np.triu(upper, 1).T)


def agreement(found: Tables, counts: Numbers) -> tuple[float, ...]:
    """Summed scores of every two features from a window's (B, B) joint counts, the upper triangle row by row."""
    sums = found.blocks(counts * found.score)
    return tuple(np.round(sums[np.triu_indices(len(found.sizes), 1)], 6).tolist())


def look(found: Tables, shares: Numbers, sums: Sequence[float], count: int) -> Seen:
    """What a window shows.

    Args:
        found: the baseline's scores.
        shares: (B,) share of the window's rows in each bin.
        sums: the window's agreement.
        count: its rows.
    """
    features = len(found.sizes)
    seen = np.zeros((features, features))
    seen[np.triu_indices(features, 1)] = np.array(sums) / count
    seen += seen.T
    weighted = np.asarray(np.add.reduceat(shares[:, None] * found.given, found.starts, axis=0))
    chance = found.blocks(np.outer(shares, shares) * found.score)
    spread = np.sqrt(np.add.reduceat(shares * found.spread, found.starts) / count)
    alone = found.blocks(np.outer(shares, found.shares) * found.score)
    return Seen(seen, chance, alone, weighted, weighted.T, spread, count)


def broken(
    found: Tables,
    seen: Seen,
    offset: Numbers,
    row_sd: Numbers,
    variation: Numbers,
    without: Collection[int] = (),
    enough: float = SMALLEST_RELIABLE,
) -> Broken:
    """Per feature, how much of its relations is broken.

    Args:
        found: the baseline's scores.
        seen: what the window shows.
        offset: (F,) share that healthy rows show on average.
        row_sd: (F,) standard deviation of one healthy row's share.
        variation: (F,) standard deviation from stretch to stretch.
        without: features whose relations are left out, because they are known to be damaged.
        enough: share of a feature's relations that must be left to judge it by.
    """
    kept = found.related.copy()
    for index in without:
        kept[index, :] = kept[:, index] = False
    all_of_it = np.sum(found.strength * found.related, axis=1)
    strength = np.sum(found.strength * kept, axis=1)
    left = np.divide(strength, all_of_it, out=np.zeros_like(strength), where=all_of_it > 0)
    reliable = (strength > LEAST_STRENGTH) & (left > enough)
    fewer = np.sqrt(np.clip(left, 0.0, 1.0))
    shares, deviations, power = [], [], []
    for expected, sampling, least in (
        (seen.from_own, seen.spread * fewer, 0.02),
        (seen.from_others, row_sd * strength / np.sqrt(seen.count) * fewer, 0.2),
    ):
        lost = np.sum((expected - seen.seen) * kept, axis=1)
        full = np.sum((expected - seen.chance) * kept, axis=1)
        noise = np.sqrt(sampling**2 + (variation * np.maximum(full, 0.0)) ** 2 + (FLOOR * strength) ** 2 + 1e-18)
        share = lost / np.maximum(full, least * strength + 1e-12) - offset
        shares.append(np.where(reliable, share, 0.0))
        deviations.append(np.where(reliable, (lost - offset * np.maximum(full, 0.0)) / noise, 0.0))
        power.append(np.where(reliable, full / noise, 0.0))
    rounded = [np.round(np.clip(values, -1e6, 1e6), 6) for values in (*shares, *deviations, power[0])]
    own, others, own_deviations, others_deviations, seen_if_full = rounded
    return Broken(
        np.minimum(own, others),
        np.minimum(own_deviations, others_deviations),
        np.maximum(own_deviations, others_deviations),
        seen_if_full,
    )


def alone(found: Tables, seen: Seen, index: int) -> tuple[float, float]:
    """Whether one feature has changed by itself: the share of rows on which the others have not moved along with it.

    Returns:
        The share, 0 for a genuine shift, and how many standard errors a share of 1 would be.
    """
    kept = found.related[index]
    lost = float(np.sum((seen.from_own[index] - seen.seen[index]) * kept))
    full = float(np.sum((seen.from_own[index] - seen.alone[index]) * kept))
    noise = float(np.hypot(seen.spread[index], FLOOR * np.sum(found.strength[index] * kept)))
    if full <= 0 or noise <= 0:
        return 1.0, 0.0
    return round(lost / full, 6), round(full / noise, 6)


def row_shares(found: Tables, onehot: NDArray[np.float32]) -> Numbers:
    """(n, F) each row's own broken share, given the others: its spread is the noise of a window's.

    Args:
        found: scores from other rows.
        onehot: (n, B) the rows' bins.
    """
    scored = np.add.reduceat((onehot @ (found.score * found.over_bins(found.related))) * onehot, found.starts, axis=1)
    expected = onehot @ (found.given * np.repeat(found.related, found.sizes, 0))
    strength = np.sum(found.strength * found.related, axis=1)
    return np.asarray((expected - scored) / np.maximum(strength, 1e-9))


def shares_of(found: Tables, counts: Mapping[str, Sequence[int]], rows: int) -> Numbers:
    """(B,) shares from each feature's counts by bin."""
    return np.concatenate([np.array(counts[name], dtype=np.float64) for name in found.features]) / max(rows, 1)
