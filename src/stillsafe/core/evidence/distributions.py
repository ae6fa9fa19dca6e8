"""Distributions: the shares of features and outputs by bin, in a window and in health."""

import numpy as np

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.doubts import mean_difference
from stillsafe.core.evidence.impact import DistributionShift, Numbers, total_variation, total_variation_noise
from stillsafe.core.policy import EVIDENCE, EvidencePolicy
from stillsafe.core.window import FeatureTally, Tally


def distribution_shift(baseline: Baseline, tally: Tally, policy: EvidencePolicy = EVIDENCE) -> DistributionShift | None:
    """The distributions in the window and in health, or None without bins in common."""
    features, clipped_features, healthy = {}, {}, {}
    for name, feature in baseline.features.items():
        now = tally.features.get(name)
        if feature.bins is not None and now is not None and _comparable(feature, now):
            healthy[name] = _shares(feature.bin_counts)
            features[name] = _shares(now.bin_counts)
            if baseline.is_hour_known and name not in baseline.clock:
                clipped_features[name] = _shares(clipped_counts(feature.bins, now.bin_counts))
    outputs, healthy_outputs = {}, {}
    for name, output in baseline.outputs.items():
        now = tally.outputs.get(name)
        if now is not None and _comparable(output, now):
            outputs[name], healthy_outputs[name] = _shares(now.bin_counts), _shares(output.bin_counts)
    if not features:
        return None
    return DistributionShift(
        features,
        clipped_features,
        healthy,
        outputs,
        healthy_outputs,
        tally.judged_count,
        baseline.effective_size or baseline.sample_size,
        mean_difference(baseline, tally, policy),
    )


def clipped_counts(bins: Bins, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Counts by bin, with the numbers far outside counted in the outermost ordinary bins."""
    return tuple(np.bincount(bins.clipped_bins, weights=counts, minlength=bins.size).astype(np.int64).tolist())


def feature_shift(shift: DistributionShift, name: str) -> float:
    """Share of a feature's values in another bin than in health."""
    return total_variation(shift.clipped_features.get(name, shift.features[name]), shift.healthy[name])


def certain_shift(shift: DistributionShift, name: str, deviations: float) -> float:
    """A feature's shift beyond what sampling explains."""
    mean, sd = total_variation_noise(shift.healthy[name], shift.variance_factor)
    return max(0.0, feature_shift(shift, name) - mean - deviations * sd)


def _comparable(healthy: FeatureBaseline, now: FeatureTally) -> bool:
    return (
        healthy.bins is not None
        and len(now.bin_counts) == healthy.bins.size == len(healthy.bin_counts)
        and sum(now.bin_counts) > 0
        and sum(healthy.bin_counts) > 0
    )


def _shares(counts: tuple[int, ...]) -> Numbers:
    numbers = np.array(counts, dtype=np.float64)
    return np.asarray(numbers / numbers.sum())
