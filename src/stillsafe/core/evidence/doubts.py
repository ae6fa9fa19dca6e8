"""Values of which the healthy period had hardly any: far outside its range, or in thin bins.

Such values are corrupted, unless the other features have moved along with them as their associations imply: a genuine
shift changes a feature and everything associated with it, a fault changes the feature alone.
"""

import math
from collections.abc import Collection, Mapping

import numpy as np

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.association import AssociationTable, Numbers
from stillsafe.core.evidence.impact import DistributionShift
from stillsafe.core.evidence.noise_limit import rate_noise_limit
from stillsafe.core.policy import EvidencePolicy
from stillsafe.core.window import Tally


def far_rate(feature: FeatureBaseline, shift: DistributionShift, name: str, z: float, policy: EvidencePolicy) -> float:
    """Share of numbers far outside the healthy range, 0 unless that is beyond noise."""
    bins = feature.bins
    if bins is None or bins.lowest is None:
        return 0.0
    rate = float(shift.features[name][bins.below] + shift.features[name][bins.above])
    noise = math.sqrt(1 / shift.count * (1 - 1 / shift.count) * shift.variance_factor)
    return rate if rate > max(policy.far_rate_min, z * noise) else 0.0


def thin_rate(feature: FeatureBaseline, shift: DistributionShift, name: str, z: float, policy: EvidencePolicy) -> float:
    """Share of values that moved into bins with hardly any healthy rows, 0 unless that is beyond noise."""
    bins = feature.bins
    if bins is None:
        return 0.0
    last = bins.ordinary if bins.lowest is not None else bins.below + 1
    now, healthy = shift.features[name][:last], shift.healthy[name][:last]
    is_thin = (healthy <= policy.thin_share_max) & (now > healthy)
    rate, healthy_rate = float(now[is_thin].sum()), float(healthy[is_thin].sum())
    limit = rate_noise_limit(z, shift.count, min(healthy_rate, 1.0), max(shift.healthy_count, 1), 0.0)
    excess = rate - healthy_rate
    return excess / max(1 - healthy_rate, 1e-9) if excess > max(policy.far_rate_min, limit) else 0.0


def with_outside(
    thin: Mapping[str, float], far: Mapping[str, float], out_of_range: Mapping[str, float], policy: EvidencePolicy
) -> dict[str, float]:
    """The shares in thin bins, with the share outside the healthy range, but not far, of features of which most are."""
    outside = {
        name: share - far.get(name, 0.0) for name, share in out_of_range.items() if share >= policy.lone_shift_min
    }
    return {**thin, **{name: max(share, thin.get(name, 0.0)) for name, share in outside.items() if share > 0}}


def mean_difference(baseline: Baseline, tally: Tally, policy: EvidencePolicy) -> float:
    """How far a regressor's mean prediction has moved beyond noise; 0 where stray predictions far outside move it."""
    predictions, healthy = tally.outputs.get("prediction"), baseline.outputs.get("prediction")
    mean, sd = baseline.prediction_mean, baseline.prediction_sd
    if mean is None or sd is None or predictions is None or not predictions.value_count:
        return 0.0
    bins = None if healthy is None else healthy.bins
    if bins is not None and bins.lowest is not None and len(predictions.bin_counts) == bins.size:
        far_count = sum(predictions.bin_counts[bins.below : bins.missing])
        if 0 < far_count <= policy.far_rate_min * predictions.value_count:
            return 0.0
    difference = abs(tally.prediction_sum / predictions.value_count - mean)
    noise = policy.mean_prediction_deviations * sd / math.sqrt(predictions.value_count)
    return max(0.0, difference - noise)


def moved_along(
    table: AssociationTable,
    shares: Numbers,
    rows: int,
    index: int,
    doubtful: Collection[int],
) -> tuple[float, float]:
    """How far the associated features have moved of what the shift of one feature implies: 0 alone, 1 genuinely.

    Args:
        table: the baseline's associations.
        shares: (B,) share of the window's rows in each bin.
        rows: of the window.
        index: the feature.
        doubtful: features that are no evidence for it, because their values are doubtful too.

    Returns:
        The share of the implied movement, and how many standard errors all of it would be.
    """
    own = slice(int(table.starts[index]), int(table.starts[index] + table.sizes[index]))
    partners = table.is_associated[index].copy()
    partners[list(doubtful)] = False
    is_partner = np.repeat(partners, table.sizes)
    conditional = table.shares * np.exp(table.pmi[own])
    totals = np.add.reduceat(conditional, table.starts, axis=1)
    conditional /= np.repeat(np.maximum(totals, 1e-12), table.sizes, axis=1)
    change = shares[own] - table.shares[own]
    implied_change = np.where(is_partner, change @ conditional, 0.0)
    size = float(implied_change @ implied_change)
    if size <= 0:
        return 0.0, 0.0
    variance = table.shares * (1 - table.shares) * (1 / max(rows, 1) + 1 / max(table.count, 1))
    standard_error = math.sqrt(float(implied_change**2 @ variance)) / size
    slope = float((shares - table.shares) @ implied_change) / size
    return round(slope, 6), round(1 / standard_error, 6) if standard_error > 0 else 0.0


def value_shares(
    absent: Mapping[str, float],
    repeated_number: Mapping[str, float],
    far: Mapping[str, float],
    thin: Mapping[str, float],
) -> dict[str, float]:
    """Per feature whose values themselves show corruption, the share of them that do."""
    shares = {}
    for name in sorted({*absent, *repeated_number, *far, *thin}):
        share = min(1.0, absent.get(name, 0.0) + far.get(name, 0.0) + thin.get(name, 0.0))
        shares[name] = max(share, repeated_number.get(name, 0.0))
    return shares
