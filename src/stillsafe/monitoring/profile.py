"""Profiles a healthy period feature by feature: ranges, categories, and the bins of all later rows."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.schema import OPEN_TYPES, TEXT_TYPES, FeatureSpec, FeatureType, LogMode, Schema
from stillsafe.monitoring.binning import bin_codes, bin_counts
from stillsafe.monitoring.columns import Column, Columns, DictionaryColumn, output_columns, prediction_numbers
from stillsafe.monitoring.tally import MOST_CLASSES, frequent_numbers

MOST_CATEGORIES = 10_000
NUMBER_BINS, CATEGORY_BINS, OUTPUT_BINS = 8, 12, 10
FEW_NUMBERS = 10  # up to so many different numbers each has a bin of its own
MOST_FREQUENT_NUMBERS = 20
MOST_CODES, LEAST_CODE_COUNT = 20, 2
"""Whole numbers of up to so many values, each of them so frequent, are codes: each has a bin of its own."""
MARGIN = 0.5  # share of the healthy range beyond which a number is far outside

Profile = Mapping[str, FeatureBaseline]


def profile_features(rows: Columns, schema: Schema, previous: Profile | None = None) -> dict[str, FeatureBaseline]:
    """Each logged feature's healthy statistics.

    Args:
        rows: the healthy period.
        schema: the features.
        previous: an earlier profile of the same model version. Its bins are reused, so that what the impact study
            learnt by bin stays valid.
    """
    features = {}
    for spec in schema.features:
        healthy = (previous or {}).get(spec.name)
        if spec.name in rows.numbers:
            features[spec.name] = _number(spec, rows.numbers[spec.name], healthy)
        elif spec.name in rows.categories:
            features[spec.name] = _category(spec, rows.categories[spec.name], healthy)
    return features


def profile_outputs(rows: Columns, previous: Profile | None = None) -> dict[str, FeatureBaseline]:
    """The statistics of the model's confidence and predictions, as those of features."""
    outputs = {}
    for name, column in output_columns(rows).items():
        if isinstance(column, DictionaryColumn) and _are_classes(column):
            output = _output_classes(column)
        elif np.isfinite(prediction_numbers(column)).any():
            output = _output_numbers(prediction_numbers(column))
        else:
            continue  # there are more classes of text than bins
        outputs[name] = _with_bin_counts(output, column, (previous or {}).get(name))
    return outputs


def numeric_predictions(rows: Columns) -> NDArray[np.float64] | None:
    """A regressor's predictions, or None of a classifier."""
    if "prediction" not in output_columns(rows) or _are_classes(rows.predictions):
        return None
    numbers = prediction_numbers(rows.predictions)
    return numbers[np.isfinite(numbers)]


def _are_classes(column: DictionaryColumn) -> bool:
    distinct = column.counts().keys() - {None}
    numbers = prediction_numbers(DictionaryColumn.of(sorted(distinct)))
    # JSON writes a float with a point or an exponent, so texts without them are classes.
    are_floats = bool(np.isfinite(numbers).all()) and all("." in text or "e" in text for text in distinct)
    return len(distinct) <= MOST_CLASSES and not are_floats


def _number(spec: FeatureSpec, column: NDArray[np.float64], previous: FeatureBaseline | None) -> FeatureBaseline:
    numbers = column[np.isfinite(column)]
    missing = len(column) - len(numbers)
    if _are_codes(spec, numbers, previous):
        return _codes(spec, column, previous)
    if not len(numbers):
        feature = FeatureBaseline(spec.type, 0, missing)
    else:
        feature = FeatureBaseline(spec.type, len(numbers), missing, float(numbers.min()), float(numbers.max()))
        feature = _with_number_bins(feature, numbers, NUMBER_BINS)
    return _with_bin_counts(feature, column, previous)


def _are_codes(spec: FeatureSpec, numbers: NDArray[np.float64], previous: FeatureBaseline | None) -> bool:
    """Whether whole numbers are watched one by one, as categories are. An earlier profile decides if there is one."""
    if spec.type is not FeatureType.INTEGER or not len(numbers):
        return False
    if previous is not None and previous.bins is not None:
        return previous.bins.lowest is None
    counts = np.unique(numbers, return_counts=True)[1]
    return len(counts) <= MOST_CODES and int(counts.min()) >= LEAST_CODE_COUNT


def _codes(spec: FeatureSpec, column: NDArray[np.float64], previous: FeatureBaseline | None) -> FeatureBaseline:
    texts = DictionaryColumn.of_codes(column)
    counts = texts.counts()
    missing = counts.pop(None, 0)
    category_counts = dict(sorted(counts.items(), key=lambda item: (-item[1], float(item[0])))[:MOST_CATEGORIES])
    feature = FeatureBaseline(
        spec.type,
        counts.total(),
        missing,
        float(np.nanmin(column)),
        float(np.nanmax(column)),
        category_counts=category_counts,
        bins=Bins(categories=tuple(sorted(list(category_counts)[:MOST_CODES], key=float))),
    )
    return _with_bin_counts(feature, texts, previous)


def _with_number_bins(feature: FeatureBaseline, numbers: NDArray[np.float64], most: int) -> FeatureBaseline:
    distinct = np.unique(numbers)
    if len(distinct) <= FEW_NUMBERS:
        edges = distinct[:-1] / 2 + distinct[1:] / 2
    else:
        quantiles = np.quantile(numbers, np.linspace(0, 1, most + 1)[1:-1], method="inverted_cdf")
        edges = np.unique(quantiles[quantiles < distinct[-1]])
    lowest, highest = float(distinct[0]), float(distinct[-1])
    margin = MARGIN * ((highest - lowest) or max(1.0, abs(highest)))
    if not np.isfinite([lowest - margin, highest + margin, *edges]).all():
        return feature  # the range of numbers near the largest float overflows, so they have no bins
    return replace(
        feature,
        bins=Bins(tuple(edges.tolist()), lowest - margin, highest + margin),
        distinct_count=len(distinct),
        frequent=frequent_numbers(numbers, MOST_FREQUENT_NUMBERS),
    )


def _category(spec: FeatureSpec, column: DictionaryColumn, previous: FeatureBaseline | None) -> FeatureBaseline:
    counts = column.counts()
    missing = counts.pop(None, 0)
    is_hidden = spec.log is not LogMode.KEEP and spec.type in OPEN_TYPES
    if is_hidden or spec.type not in TEXT_TYPES:  # of a hashed number only the missing values can be counted
        return FeatureBaseline(None, counts.total(), missing)
    category_counts = dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:MOST_CATEGORIES])
    ordinary = tuple(sorted(str(category) for category in list(category_counts)[:CATEGORY_BINS]))
    feature = FeatureBaseline(
        spec.type,
        counts.total(),
        missing,
        category_counts=category_counts,
        bins=Bins(categories=ordinary),
    )
    return _with_bin_counts(feature, column, previous)


def _output_numbers(column: NDArray[np.float64]) -> FeatureBaseline:
    numbers = column[np.isfinite(column)]
    output = FeatureBaseline(FeatureType.NUMERIC, len(numbers), 0, float(numbers.min()), float(numbers.max()))
    return _with_number_bins(output, numbers, OUTPUT_BINS)


def _output_classes(column: DictionaryColumn) -> FeatureBaseline:
    counts = column.counts()
    del counts[None]
    bins = Bins(categories=tuple(sorted(counts)))
    return FeatureBaseline(FeatureType.CATEGORY, counts.total(), 0, category_counts=dict(counts), bins=bins)


def _with_bin_counts(feature: FeatureBaseline, column: Column, previous: FeatureBaseline | None) -> FeatureBaseline:
    """The feature with its rows counted by bin: by the bins of an earlier profile where they fit, or its own."""
    if previous is not None and previous.bins is not None and _same_kind(previous.bins, feature.bins):
        feature = replace(feature, bins=previous.bins)
    if feature.bins is None:
        return feature
    counts = bin_counts(bin_codes(column, feature), feature.bins)
    if feature.value_count and not feature.missing_count:
        counts = (*counts[: feature.bins.missing], 0)
    return replace(feature, bin_counts=counts)


def _same_kind(previous: Bins, bins: Bins | None) -> bool:
    return bins is None or (previous.lowest is None) == (bins.lowest is None)
