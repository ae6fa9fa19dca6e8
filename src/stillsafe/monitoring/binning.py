"""Puts values into the baseline's bins, and counts which bins occur in the same row."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.monitoring.columns import Column, Columns, DictionaryColumn, RowSelection, prediction_numbers

BinCodes = NDArray[np.int16]
OneHot = NDArray[np.float32]
BATCH_ROWS = 8_000  # so that the counts of one batch fit into a processor's cache


def bin_codes(column: Column, healthy: FeatureBaseline) -> BinCodes:
    """(n,) the bin of each value.

    Args:
        column: numbers (NaN: missing) or texts.
        healthy: the feature's baseline, with bins.
    """
    bins = healthy.bins or Bins()
    if bins.lowest is None or bins.highest is None:
        texts = column if isinstance(column, DictionaryColumn) else DictionaryColumn.of_codes(column)
        text_codes: dict[object, int] = dict.fromkeys((*healthy.category_counts, *healthy.rare_categories), bins.below)
        groups = [*((category,) for category in bins.categories), *bins.groups]
        text_codes |= {category: code for code, group in enumerate(groups) for category in group}
        text_codes[None] = bins.missing
        unlisted_bin = bins.below if bins.has_unlisted_rare else bins.above
        return np.array([text_codes.get(text, unlisted_bin) for text in texts.vocabulary], dtype=np.int16)[
            texts.indices
        ]
    numbers = prediction_numbers(column)
    codes = np.zeros(len(numbers), dtype=np.int16)
    for edge in bins.edges:  # there are few edges, so this is faster than a search
        codes += numbers > edge
    codes[numbers < bins.lowest] = bins.below
    codes[numbers > bins.highest] = bins.above
    codes[~np.isfinite(numbers)] = bins.missing
    return codes


def feature_bin_codes(
    rows: Columns, healthy: Mapping[str, FeatureBaseline], selection: RowSelection
) -> dict[str, BinCodes]:
    """The bins of the selected rows, per feature with bins whose values the log shows: a hashed number has none."""
    columns: dict[str, Column] = {**rows.numbers, **rows.categories}
    return {
        name: bin_codes(columns[name][selection], feature)
        for name, feature in healthy.items()
        if feature.bins is not None and name in columns and (name in rows.numbers or feature.bins.lowest is None)
    }


def bin_counts(codes: BinCodes, bins: Bins) -> tuple[int, ...]:
    """Values in each bin."""
    return tuple(np.bincount(codes, minlength=bins.size).tolist())


def one_hot(features: Sequence[FeatureBaseline], codes: Sequence[BinCodes], *, clip: bool) -> OneHot:
    """(n, B) a one for the bin of each row and feature.

    Args:
        features: with bins, in order.
        codes: their bins, in the same order.
        clip: whether numbers far outside count in the outermost ordinary bins.
    """
    bins = [feature.bins for feature in features if feature.bins is not None]
    table = np.zeros((len(codes[0]) if codes else 0, sum(each.size for each in bins)), dtype=np.float32)
    start = 0
    for feature_bins, column in zip(bins, codes, strict=True):
        clipped_codes = _clip(feature_bins, column) if clip else column
        table[np.arange(len(column)), start + clipped_codes.astype(np.intp)] = 1
        start += feature_bins.size
    return table


def co_occurrence(features: Sequence[FeatureBaseline], codes: Sequence[BinCodes]) -> NDArray[np.float64]:
    """(B, B) rows in which two bins occur together, numbers far outside in the outermost ordinary bins."""
    bins = [feature.bins for feature in features if feature.bins is not None]
    starts = np.cumsum([0, *(each.size for each in bins)], dtype=np.int32)
    lower = np.zeros((starts[-1], starts[-1]))
    for first in range(0, len(codes[0]) if codes else 0, BATCH_ROWS):
        batch = [_clip(each, column[first : first + BATCH_ROWS]) for each, column in zip(bins, codes, strict=True)]
        table_rows = np.array(batch) + starts[:-1, None]
        for index, (own, each) in enumerate(zip(batch, bins, strict=True)):
            start, shape = starts[index], (starts[-1], each.size)
            cells = np.bincount((table_rows[index:] * each.size + own).ravel(), minlength=shape[0] * shape[1])
            lower[:, start : start + each.size] += cells.reshape(shape)
    return lower + np.tril(lower, -1).T


def _clip(bins: Bins, codes: BinCodes) -> BinCodes:
    return np.array(bins.clipped_bins, dtype=np.int16)[codes] if bins.lowest is not None else codes
