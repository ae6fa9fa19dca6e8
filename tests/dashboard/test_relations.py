"""Broken relations pair by pair, from the stored sums alone."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from stillsafe.core.baseline import Baseline, FeatureBaseline, Joint
from stillsafe.core.evidence.association import baseline_association_table, pmi_sums
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.schema import FeatureType
from stillsafe.core.window import FeatureTally, Tally, Window
from stillsafe.dashboard.relations import broken_pairs

from .story import START, healthy

BINS = Bins(edges=(0.0,), lowest=-9.0, highest=9.0)
NAMES = ("a", "b", "c")
ROWS = 1_000


def joint_counts(values: np.ndarray) -> np.ndarray:
    """(B, B) joint counts of (n, 3) values in {0, 1}, the bins of each feature below and above its edge."""
    one_hot = np.zeros((len(values), len(NAMES) * BINS.size))
    for index in range(len(NAMES)):
        one_hot[np.arange(len(values)), index * BINS.size + values[:, index]] = 1.0
    return np.asarray(one_hot.T @ one_hot)


def rows(*, is_joined: bool) -> np.ndarray:
    """`a` and `b` agree in 95% of the rows unless `b` belongs to other rows; `c` is independent."""
    random = np.random.default_rng(3)
    a, c = random.integers(0, 2, (2, ROWS))
    b = np.where(random.random(ROWS) < 0.95, a, 1 - a)
    return np.stack([a, b if is_joined else random.permutation(b), c], axis=1)


def baseline() -> Baseline:
    values = rows(is_joined=True)
    counts = joint_counts(values).astype(int)
    upper = tuple(tuple(int(each) for each in row[index:]) for index, row in enumerate(counts))
    features = {
        name: FeatureBaseline(FeatureType.NUMERIC, ROWS, 0, bins=BINS, bin_counts=tally_counts(values[:, index]))
        for index, name in enumerate(NAMES)
    }
    return replace(healthy(), features=features, joint=Joint(NAMES, upper, (1.0, 1.0, 1.0)))


def tally_counts(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(each) for each in np.bincount(values, minlength=BINS.size))


def window(values: np.ndarray) -> Window:
    table = baseline_association_table(baseline())
    assert table is not None
    features = {name: FeatureTally(ROWS, bin_counts=tally_counts(values[:, index])) for index, name in enumerate(NAMES)}
    tally = Tally(ROWS, features=features, agreement=pmi_sums(table, joint_counts(values)))
    return Window(START, START + timedelta(minutes=15), "1", tally, tally)


def test_the_partner_that_no_longer_fits_is_named() -> None:
    """`b` was joined to other rows: it does not fit `a`, and nothing is said of `c`, which never fitted anything."""
    (pair,) = broken_pairs(baseline(), window(rows(is_joined=False)), ["b"])
    assert (pair.feature, pair.partner) == ("b", "a")
    assert 0.9 < pair.share <= 1.0


def test_intact_relations_are_not_named() -> None:
    """Nor a feature that the table does not have."""
    assert broken_pairs(baseline(), window(rows(is_joined=True)), ["a", "b", "c", "d"]) == []


def test_a_window_without_sums_has_none() -> None:
    """As in older releases, and without a joint table."""
    values = rows(is_joined=False)
    old = replace(window(values).fresh, agreement=())
    assert broken_pairs(baseline(), replace(window(values), fresh=old), ["b"]) == []
    assert broken_pairs(replace(baseline(), joint=None), window(values), ["b"]) == []
