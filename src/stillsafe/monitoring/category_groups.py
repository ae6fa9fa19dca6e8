"""Groups of categories beyond the most common ones: those that the model treats alike share a bin.

A feature of hundreds of categories would otherwise put most of its rows into one bin of rare ones, where neither its
associations nor what a value costs the model can be estimated.

A category's mean answer over few rows is mostly that of their other values, so on the rows that the groups were learnt
from, any grouping is associated with whatever the model uses. What is counted together with groups is therefore counted
by groups that were learnt from other rows (cross-fitting).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.monitoring.binning import BinCodes, bin_codes, bin_counts
from stillsafe.monitoring.columns import Columns, DictionaryColumn, output_columns, prediction_numbers

MOST_GROUPS = 8
FEWEST_CATEGORIES = 16
"""Further categories below which one bin of rare ones is enough."""
LEAST_SHARE = 0.1
"""Share of the values in further categories below which they matter too little."""
PRIOR_ROWS = 10
"""Rows of the mean answer added to each category, so that a few rows do not decide its group."""

Numbers = NDArray[np.float64]


def with_groups(feature: FeatureBaseline, column: DictionaryColumn, rows: Columns) -> FeatureBaseline:
    """The feature with its further listed categories in groups by the model's mean answer, equally many rows in each.

    Args:
        feature: profiled, with bins.
        column: its values.
        rows: of the same period, with the model's answers.
    """
    bins, answers = feature.bins, _answers(rows)
    if bins is None or bins.lowest is not None or answers is None:
        return feature
    further = _further(feature)
    total = sum(further.values())
    if len(further) < FEWEST_CATEGORIES or total < LEAST_SHARE * feature.value_count:
        return feature
    groups = _groups(further, column, answers)
    feature = replace(feature, bins=replace(bins, groups=tuple(group for group in groups if group)))
    return _counted_feature(feature, column)


def held_out_codes(
    rows: Columns, features: Mapping[str, FeatureBaseline], codes: Mapping[str, BinCodes]
) -> dict[str, BinCodes]:
    """The bins of a period, where each row's group was learnt from other rows: of even rows from odd ones, and back.

    Args:
        rows: the period, with the model's answers.
        features: with bins. Groups that were not learnt from these rows stay as they are.
        codes: the bins of the rows, per feature.
    """
    held_out = dict(codes)
    names = [
        name for name in codes if name in rows.categories and (bins := features[name].bins) is not None and bins.groups
    ]
    answers = _answers(rows) if names else None
    if answers is None:
        return held_out
    is_even = np.arange(len(rows)) % 2 == 0
    for name in names:
        feature, column = features[name], rows.categories[name]
        further = _further(feature)
        if feature.bins is None or tuple(filter(None, _groups(further, column, answers))) != feature.bins.groups:
            continue
        held_out[name] = codes[name].copy()
        for part in (is_even, ~is_even):
            groups = _groups(further, column, np.where(part, np.nan, answers))
            by_others = replace(feature.bins, groups=_in_bins(groups, len(feature.bins.groups)))
            held_out[name][part] = bin_codes(column[part], replace(feature, bins=by_others))
    return held_out


def _further(feature: FeatureBaseline) -> dict[str, int]:
    """The listed categories without a bin of their own, with their counts."""
    categories = () if feature.bins is None else feature.bins.categories
    return {name: count for name, count in feature.category_counts.items() if name not in categories}


def _groups(further: Mapping[str, int], column: DictionaryColumn, answers: Numbers) -> list[tuple[str, ...]]:
    """Categories in groups of about equally many rows, in order of the mean answer to each."""
    is_answer, total = np.isfinite(answers), sum(further.values())
    mean = float(answers[is_answer].mean()) if is_answer.any() else 0.0
    counts, sums = (
        np.bincount(column.indices[is_answer], weights=weights, minlength=len(column.vocabulary))
        for weights in (np.ones(int(is_answer.sum())), answers[is_answer])
    )
    means = (sums + PRIOR_ROWS * mean) / (counts + PRIOR_ROWS)
    mean_answers = {text: float(value) for text, value in zip(column.vocabulary, means, strict=True)}
    groups: list[list[str]] = [[] for _ in range(MOST_GROUPS)]
    lower_count = 0
    for name in sorted(further, key=lambda name: (mean_answers.get(name, mean), name)):
        groups[min(MOST_GROUPS - 1, MOST_GROUPS * (2 * lower_count + further[name]) // (2 * total))].append(name)
        lower_count += further[name]
    return [tuple(group) for group in groups]


def _in_bins(groups: list[tuple[str, ...]], count: int) -> tuple[tuple[str, ...], ...]:
    """The groups that are not empty, in so many bins: the last ones in one, or none in the last."""
    filled_groups = [group for group in groups if group]
    filled_groups[count - 1 :] = [tuple(name for group in filled_groups[count - 1 :] for name in group)]
    return (*filled_groups, *((),) * (count - len(filled_groups)))


def _counted_feature(feature: FeatureBaseline, column: DictionaryColumn) -> FeatureBaseline:
    """The feature with its values counted by bin. Categories that it does not list are rare ones."""
    if feature.bins is None:
        return feature
    codes = bin_codes(column, feature)
    is_unlisted = codes == feature.bins.above
    codes = np.where(is_unlisted, feature.bins.below, codes).astype(codes.dtype) if feature.rare_categories else codes
    counts = bin_counts(codes, feature.bins)
    if feature.value_count and not feature.missing_count:
        counts = (*counts[: feature.bins.missing], 0)
    return replace(feature, bin_counts=counts)


def _answers(rows: Columns) -> Numbers | None:
    """(n,) a number for the model's answer: a regressor's prediction, or the probability of the commonest class."""
    if "prediction" not in output_columns(rows):
        return None
    predictions = rows.predictions
    numbers = prediction_numbers(predictions)
    counts = predictions.counts()
    counts.pop(None, None)
    if len(counts) > MOST_CLASSES:
        return numbers if np.isfinite(numbers).any() else None
    commonest = max(counts, key=lambda text: (counts[text], str(text)), default=None)
    is_commonest = np.array([text == commonest for text in predictions.vocabulary])[predictions.indices]
    is_known = np.array([text is not None for text in predictions.vocabulary])[predictions.indices]
    confidences = np.where(np.isfinite(rows.confidences), rows.confidences, 1.0)
    answers = np.where(is_commonest, confidences, 1 - confidences)
    return np.where(is_known, answers, np.nan)


MOST_CLASSES = 50
"""From so many different answers on, they are numbers."""
