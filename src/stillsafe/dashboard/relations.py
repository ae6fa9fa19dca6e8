"""With which features a damaged feature no longer fits: its relations in a window, pair by pair. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence import association
from stillsafe.core.policy import EVIDENCE, EvidencePolicy
from stillsafe.core.window import Window

MOST_PARTNERS = 4
LEAST_SHARE = 0.2
"""Share of a pair's relation that must be broken to be named, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class BrokenPair:
    """A pair of features whose values no longer fit each other.

    Attributes:
        feature, partner: the pair.
        share: of the rows on which it is broken, in [0, 1].
        information: their mutual information in the healthy period, in nats.
    """

    feature: str
    partner: str
    share: float
    information: float


def broken_pairs(
    baseline: Baseline, window: Window, names: Sequence[str], policy: EvidencePolicy = EVIDENCE
) -> list[BrokenPair]:
    """The broken pairs of some features, of each the most informative ones.

    The share is the mean pointwise mutual information that is lost, of what a full break loses, given the feature's own
    distribution (see `core.evidence.association`).

    Args:
        baseline: the healthy period, of the window's own hours.
        window: of one run.
        names: the features whose relations are broken.
        policy: the numbers to compute with.
    """
    tally = window.fresh if window.fresh.prediction_count else window.total
    counts = {name: each.bin_counts for name, each in tally.features.items() if each.bin_counts}
    table = association.baseline_association_table(baseline, policy, counts.keys())
    pair_count = 0 if table is None else len(table.sizes) * (len(table.sizes) - 1) // 2
    if table is None or len(tally.agreement) != pair_count or not tally.judged_count:
        return []
    if any(len(counts[name]) != size for name, size in zip(table.features, table.sizes, strict=True)):
        return []
    shares = association.bin_shares(table, counts, tally.judged_count)
    state = association.window_association(table, shares, tally.agreement, tally.judged_count)
    pairs: list[BrokenPair] = []
    for name in names:
        if name not in table.features:
            continue
        index = table.features.index(name)
        own: list[BrokenPair] = []
        for other, partner in enumerate(table.features):
            full = float(state.from_own[index, other] - state.chance[index, other])
            lost = float(state.from_own[index, other] - state.observed_pmi[index, other])
            if table.is_associated[index, other] and full > 0 and lost / full >= LEAST_SHARE:
                information = float(table.mutual_information[index, other])
                own.append(BrokenPair(name, partner, min(lost / full, 1.0), information))
        pairs += sorted(own, key=lambda pair: -pair.information)[:MOST_PARTNERS]
    return pairs
