"""Rows of four features as bin codes: three features that mostly agree with a hidden one, and an independent one."""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline, Joint
from stillsafe.core.evidence.association import (
    AssociationTable,
    Numbers,
    association_table,
    pmi_sums,
    row_broken_shares,
)
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.schema import FeatureType
from stillsafe.core.window import FeatureTally, Tally

Codes = NDArray[np.int64]

NAMES = ("first", "second", "third", "independent")
FIRST, SECOND, THIRD, INDEPENDENT = range(4)
BINS = Bins((0.5, 1.5, 2.5), -1.0, 4.0)
ORDINARY = BINS.ordinary
SIZES = [BINS.size] * len(NAMES)


def draw_rows(count: int, seed: int) -> Codes:
    """(count, 4) bins."""
    draw = np.random.default_rng(seed)
    hidden_codes = draw.integers(0, ORDINARY, count)
    columns = [np.where(draw.random(count) < 0.7, hidden_codes, draw.integers(0, ORDINARY, count)) for _ in range(3)]
    return np.stack([*columns, draw.integers(0, ORDINARY, count)], axis=1)


def permute(rows: Codes, *columns: int, share: float = 1.0) -> Codes:
    """The rows with some columns on the wrong rows, all of them on the same ones."""
    permuted_rows, count = rows.copy(), round(share * len(rows))
    order = np.random.default_rng(5).permutation(count)
    for column in columns:
        permuted_rows[:count, column] = rows[:count, column][order]
    return permuted_rows


def one_hot(rows: Codes) -> Numbers:
    """(n, B) a one for each bin, numbers far outside in the outermost ordinary bins."""
    clipped_rows = np.array(BINS.clipped_bins)[rows]
    return np.concatenate([np.eye(size)[clipped_rows[:, index]] for index, size in enumerate(SIZES)], axis=1)


def table_of(rows: Codes) -> AssociationTable:
    """The association table of healthy rows."""
    bins = one_hot(rows)
    return association_table(NAMES, SIZES, bins.T @ bins)


def baseline_of(rows: Codes) -> Baseline:
    """The baseline of healthy rows, with their joint table."""
    bins, half = one_hot(rows), len(rows) // 2
    counts = (bins.T @ bins).astype(np.int64).tolist()
    row_sd = row_broken_shares(table_of(rows[:half]), bins[half:].astype(np.float32)).std(axis=0)
    features = {
        name: FeatureBaseline(
            FeatureType.NUMERIC, len(rows), 0, 0.0, 3.0, bins=BINS, bin_counts=_bin_counts(rows[:, index])
        )
        for index, name in enumerate(NAMES)
    }
    return Baseline(
        "healthy",
        "1",
        datetime(2026, 3, 1, tzinfo=UTC),
        BaselineSource.REFERENCE,
        len(rows),
        *(0, None, None, None, None),
        features=features,
        joint=Joint(NAMES, tuple(tuple(row[i:]) for i, row in enumerate(counts)), tuple(row_sd.tolist())),
    )


def tally_of(rows: Codes, healthy: Codes) -> Tally:
    """A window of these rows, counted against the baseline of healthy ones."""
    bins = one_hot(rows)
    features = {
        name: FeatureTally(len(rows), bin_counts=_bin_counts(rows[:, index])) for index, name in enumerate(NAMES)
    }
    return Tally(len(rows), features=features, agreement=pmi_sums(table_of(healthy), bins.T @ bins))


def _bin_counts(column: Codes) -> tuple[int, ...]:
    return tuple(np.bincount(column, minlength=BINS.size).tolist())
