"""What remains of a baseline and a window without the features that their owner does not have watched."""

from collections.abc import Collection
from dataclasses import replace
from itertools import combinations

from stillsafe.core.baseline import Baseline, Joint
from stillsafe.core.evidence.view import with_views_of
from stillsafe.core.window import Tally


def watched_part(baseline: Baseline, tally: Tally, unwatched_features: Collection[str]) -> tuple[Baseline, Tally]:
    """The baseline and the window's counts without some features, and without their associations.

    The model reads these features nevertheless: what they do to predictions and confidences remains.
    """
    if not unwatched_features:
        return baseline, tally
    unwatched_features = with_views_of(unwatched_features, baseline.features)
    features = {name: feature for name, feature in baseline.features.items() if name not in unwatched_features}
    joint, agreement = _watched_joint(baseline, tally, unwatched_features)
    return (
        replace(baseline, features=features, joint=joint),
        replace(
            tally,
            features={name: feature for name, feature in tally.features.items() if name not in unwatched_features},
            agreement=agreement,
        ),
    )


def _watched_joint(
    baseline: Baseline, tally: Tally, unwatched_features: Collection[str]
) -> tuple[Joint | None, tuple[float, ...]]:
    joint = baseline.joint
    if joint is None:
        return None, ()
    is_kept = [name not in unwatched_features for name in joint.features]
    if sum(is_kept) < 2:
        return None, ()
    bins = [bin_ for name in joint.features for bin_ in [name not in unwatched_features] * _size(baseline, name)]
    # The sums cover the features whose bins the log shows, every two of them.
    counted_names = [name for name in joint.features if name in tally.features and tally.features[name].bin_counts]
    kept_pairs = [
        one not in unwatched_features and other not in unwatched_features
        for one, other in combinations(counted_names, 2)
    ]
    return (
        Joint(
            tuple(name for name, keep in zip(joint.features, is_kept, strict=True) if keep),
            tuple(
                tuple(count for count, keep in zip(row, bins[start:], strict=True) if keep)
                for start, row in enumerate(joint.counts)
                if bins[start]
            ),
            tuple(sd for sd, keep in zip(joint.row_sd, is_kept, strict=True) if keep),
        ),
        tuple(value for value, keep in zip(tally.agreement, kept_pairs, strict=False) if keep),
    )


def _size(baseline: Baseline, name: str) -> int:
    bins = baseline.features[name].bins
    return bins.size if bins is not None else 0
