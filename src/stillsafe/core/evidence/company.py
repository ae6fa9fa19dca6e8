"""Company: whether the features associated with a doubtful one have moved along with it, as a genuine shift implies.

An association that differs from one part of the healthy period to another, as that of temperature and humidity does
from day to day, foretells only a part of the movement. The healthy offset of a broken share says which: healthy rows of
another part show it on average, so the rest of it is what the table's associations are worth there.
"""

from collections.abc import Collection

import numpy as np

from stillsafe.core.evidence.association import AssociationNoise, AssociationTable, Numbers, WindowAssociation
from stillsafe.core.evidence.doubts import moved_along


def lasting_share(table: AssociationTable, healthy: AssociationNoise, index: int) -> float:
    """The part of a feature's associations that lasts from one part of the healthy period to another, in [0, 1]."""
    pairs = table.is_associated[index]
    full_break = float(np.sum(table.full_break[index] * pairs))
    overfit = float(np.sum(table.optimism[index] * pairs)) / max(full_break, 1e-12)
    return float(np.clip(1 - max(float(healthy.offset[index]), overfit), 0.0, 1.0))


def fits_by_row(
    table: AssociationTable, window: WindowAssociation, shares: Numbers, pair: tuple[int, int], lasting_part: float
) -> bool:
    """Whether the values of two features fit each other row by row, on most rows and not by chance.

    Two features that are each one number fit by chance, whatever it is: their rows cannot show it.

    Args:
        table: the baseline's associations.
        window: the window's mean PMI.
        shares: (B,) share of the window's rows in each bin.
        pair: both features; what is expected follows from the first one's values.
        lasting_part: part of its associations that lasts, in [0, 1].
    """
    policy = table.policy
    expected_pmi, observed_pmi = float(window.from_own[pair]), float(window.observed_pmi[pair])
    chance = float(window.chance[pair])
    # Values where the table is thin are expected to fit less than they do, so what they show counts, not what they may.
    full, noise = max(expected_pmi - chance, 0.0), _pair_noise(table, window, shares, pair)
    is_beyond_chance = observed_pmi - chance > policy.moved_along_min * policy.power_deviations * noise
    # Healthy rows show all but the lasting part as broken.
    loss = expected_pmi - observed_pmi - (1 - lasting_part) * full
    return is_beyond_chance and loss <= (1 - policy.moved_along_min) * lasting_part * full


def _pair_noise(table: AssociationTable, window: WindowAssociation, shares: Numbers, pair: tuple[int, int]) -> float:
    """Standard error of the mean PMI of two features, given the values of the first one."""
    own, other = (slice(int(table.starts[n]), int(table.starts[n] + table.sizes[n])) for n in pair)
    pmi = table.pmi[own, other]
    conditional = table.shares[other] * np.exp(pmi)
    conditional /= np.maximum(conditional.sum(axis=1, keepdims=True), 1e-12)
    variance = np.sum(conditional * pmi**2, axis=1) - np.sum(conditional * pmi, axis=1) ** 2
    return float(np.sqrt(max(float(shares[own] @ variance), 0.0) / window.effective_count))


def has_moved_along(
    table: AssociationTable, shares: Numbers, rows: int, index: int, doubtful: Collection[int], lasting_part: float
) -> bool:
    """Whether the associated features moved along as a genuine shift of a feature implies, and not by chance.

    Args:
        table: the baseline's associations.
        shares: (B,) share of the window's rows in each bin.
        rows: of the window.
        index: the feature.
        doubtful: features that are no evidence for it.
        lasting_part: part of its associations that foretells the movement, in [0, 1].
    """
    policy = table.policy
    movement, power = moved_along(table, shares, rows, index, doubtful)
    is_beyond_chance = movement * power > policy.moved_along_min * policy.power_deviations
    return power > policy.power_deviations and is_beyond_chance and movement > policy.moved_along_min * lasting_part


def has_moved_alone(
    table: AssociationTable, shares: Numbers, rows: int, index: int, doubtful: Collection[int], lasting_part: float
) -> bool:
    """Whether they clearly did not; see `has_moved_along`."""
    policy = table.policy
    movement, power = moved_along(table, shares, rows, index, doubtful)
    is_clear = power > policy.power_deviations and movement < policy.moved_along_min * lasting_part
    return is_clear and (lasting_part - movement) * power > policy.power_deviations
