"""Profiles a healthy period feature by feature: ranges, categories, and the bins of all later rows."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.shared_numbers import merged_bin_counts, midpoint_edges, number_range, quantile_edges
from stillsafe.core.evidence.view import CATEGORY_KINDS, View
from stillsafe.core.schema import OPEN_TYPES, TEXT_TYPES, FeatureSpec, FeatureType, LogMode, Schema
from stillsafe.monitoring.binning import bin_codes, bin_counts
from stillsafe.monitoring.category_groups import with_groups
from stillsafe.monitoring.columns import Column, Columns, DictionaryColumn, output_columns, prediction_numbers
from stillsafe.monitoring.disclosure import NO_DISCLOSURE_CONTROL, Disclosure, shared_counts
from stillsafe.monitoring.tally import are_classes

MOST_CATEGORIES = 10_000
NUMBER_BINS, CATEGORY_BINS, OUTPUT_BINS = 8, 12, 10
FEW_NUMBERS = 10  # up to so many different numbers each has a bin of its own
MOST_FREQUENT_NUMBERS = 20
MOST_CODES, LEAST_CODE_COUNT = 20, 2
"""Whole numbers of up to so many values, each of them so frequent, are codes: each has a bin of its own."""
MARGIN = 0.5  # share of the healthy range beyond which a number is far outside

ROUGH_DAYS_AHEAD, ROUGH_DAYS_BEFORE = 366.0, 3_650.0
"""Days by which a rough lag may be smaller or larger than in a sample whose times are not known."""

Profile = Mapping[str, FeatureBaseline]


def profile_features(
    rows: Columns, schema: Schema, previous: Profile | None = None, disclosure: Disclosure = NO_DISCLOSURE_CONTROL
) -> dict[str, FeatureBaseline]:
    """Each logged feature's healthy statistics.

    Args:
        rows: the healthy period.
        schema: the features.
        previous: an earlier profile of the same model version. Its bins are reused, so that what the impact study
            learnt by bin stays valid.
        disclosure: what the profile may show of single values.
    """
    features = {}
    for spec in (*schema.features, *map(_view_spec, rows.views.values())):
        healthy = (previous or {}).get(spec.name)
        if spec.name in rows.numbers:
            features[spec.name] = _number(spec, rows.numbers[spec.name], healthy, disclosure.min_count)
        elif spec.name in rows.categories:
            feature = _category(spec, rows.categories[spec.name], healthy, disclosure)
            if healthy is None and feature.bins is not None:
                feature = with_groups(feature, rows.categories[spec.name], rows)
            features[spec.name] = feature
    return features | {name: _with_view(features[name], view) for name, view in rows.views.items()}


def _view_spec(view: View) -> FeatureSpec:
    kind = FeatureType.CATEGORY if view.kind in CATEGORY_KINDS else FeatureType.NUMERIC
    return FeatureSpec(view.name, kind, required=False)


def _with_view(feature: FeatureBaseline, view: View) -> FeatureBaseline:
    """The profile of a view; a wide range alone of lags that the clock decides, or of rows of unknown age."""
    is_whole = not view.is_rough and not view.follows_clock
    if is_whole or feature.minimum is None or feature.maximum is None:
        return replace(feature, view=view)
    span, least = feature.maximum - feature.minimum, min(feature.minimum, 0.0) if view.is_rough else feature.minimum
    room, past_room = (ROUGH_DAYS_AHEAD, ROUGH_DAYS_BEFORE) if view.is_rough else (0.0, 0.0)
    return FeatureBaseline(
        feature.type,
        feature.value_count,
        feature.missing_count,
        least - span - room,
        feature.maximum + span + past_room,
        view=view,
    )


def profile_outputs(rows: Columns, previous: Profile | None = None, min_count: int = 1) -> dict[str, FeatureBaseline]:
    """The statistics of the model's confidence and predictions, as those of features."""
    outputs = {}
    for name, column in output_columns(rows).items():
        if isinstance(column, DictionaryColumn) and are_classes(column):
            output = _output_classes(column)
        elif np.isfinite(prediction_numbers(column)).any():
            numbers = prediction_numbers(column)
            output = _with_number_bins(FeatureType.NUMERIC, numbers[np.isfinite(numbers)], 0, OUTPUT_BINS, min_count)
        else:
            continue  # there are more classes of text than bins
        outputs[name] = _with_bin_counts(output, column, (previous or {}).get(name), min_count)
    return outputs


def numeric_predictions(rows: Columns) -> NDArray[np.float64] | None:
    """A regressor's predictions, or None of a classifier."""
    if "prediction" not in output_columns(rows) or are_classes(rows.predictions):
        return None
    numbers = prediction_numbers(rows.predictions)
    return numbers[np.isfinite(numbers)]


def _number(
    spec: FeatureSpec, column: NDArray[np.float64], previous: FeatureBaseline | None, min_count: int
) -> FeatureBaseline:
    numbers = column[np.isfinite(column)]
    missing = len(column) - len(numbers)
    if spec.date_format is not None:  # its views tell more than a number that grows with time
        return FeatureBaseline(None, len(numbers), missing)
    if _are_codes(spec, numbers, previous, min_count):
        return _codes(spec, column, previous, min_count)
    has_bins = previous is not None and previous.bins is not None and previous.bins.lowest is not None
    # The bins of an earlier profile take the place of its own, so these need not be searched for.
    feature = _with_number_bins(spec.type, numbers, missing, 1 if has_bins else NUMBER_BINS, min_count)
    return _with_bin_counts(feature, column, previous, min_count)


def _are_codes(
    spec: FeatureSpec, numbers: NDArray[np.float64], previous: FeatureBaseline | None, min_count: int
) -> bool:
    """Whether whole numbers are watched one by one, as categories are. An earlier profile decides if there is one."""
    if spec.type is not FeatureType.INTEGER or not len(numbers):
        return False
    if previous is not None and previous.bins is not None:
        return previous.bins.lowest is None
    counts = np.unique(numbers, return_counts=True)[1]
    return len(counts) <= MOST_CODES and int(counts.min()) >= max(LEAST_CODE_COUNT, min_count)


def _codes(
    spec: FeatureSpec, column: NDArray[np.float64], previous: FeatureBaseline | None, min_count: int
) -> FeatureBaseline:
    texts = DictionaryColumn.of_codes(column)
    counts = texts.counts()
    missing = counts.pop(None, 0)
    in_order = dict(sorted(counts.items(), key=lambda item: (-item[1], float(item[0]))))
    category_counts, rare_counts = shared_counts(dict(list(in_order.items())[:MOST_CATEGORIES]), min_count)
    codes = [float(code) for code in category_counts]
    feature = FeatureBaseline(
        spec.type,
        counts.total(),
        missing,
        min(codes, default=None),
        max(codes, default=None),
        category_counts=category_counts,
        bins=Bins(categories=tuple(sorted(list(category_counts)[:MOST_CODES], key=float))),
        unlisted_count=counts.total() - sum(category_counts.values()),
        unlisted_most=max(rare_counts.values(), default=0),
    )
    return _with_bin_counts(feature, texts, previous, min_count)


def _with_number_bins(
    kind: FeatureType, numbers: NDArray[np.float64], missing_count: int, most: int, min_count: int
) -> FeatureBaseline:
    """The profile of numbers with their range and at most so many bins, as far as enough of them share either."""
    feature = FeatureBaseline(kind, len(numbers), missing_count)
    ascending = np.sort(numbers)
    ends = number_range(ascending, min_count)
    if ends is None:
        return feature
    feature = replace(feature, minimum=ends.minimum, maximum=ends.maximum, outside_count=ends.outside_count)
    distinct, counts = np.unique(ascending, return_counts=True)
    are_few = len(distinct) <= FEW_NUMBERS
    edges = midpoint_edges(ascending, min_count) if are_few else quantile_edges(ascending, most, min_count)
    margin = MARGIN * ((ends.maximum - ends.minimum) or max(1.0, abs(ends.maximum)))
    lowest, highest = ends.minimum - margin, ends.maximum + margin
    if not np.isfinite([lowest, highest, *edges]).all():
        return feature  # the range of numbers near the largest float overflows, so they have no bins
    order = np.argsort(-counts, kind="stable")
    frequent = [(float(distinct[i]), int(counts[i])) for i in order[:MOST_FREQUENT_NUMBERS].tolist()]
    frequent = [(number, count) for number, count in frequent if count >= min_count]
    return replace(
        feature,
        bins=Bins(tuple(edges.tolist()), lowest, highest),
        distinct_count=len(distinct),
        frequent=tuple(frequent),
        unlisted_most=int(counts[order[len(frequent)]]) if len(frequent) < len(distinct) else 0,
    )


def _category(
    spec: FeatureSpec, column: DictionaryColumn, previous: FeatureBaseline | None, disclosure: Disclosure
) -> FeatureBaseline:
    counts = column.counts()
    missing = counts.pop(None, 0)
    is_hidden = spec.log is not LogMode.KEEP and spec.type in OPEN_TYPES
    if is_hidden or spec.type not in TEXT_TYPES:  # of a hashed number only the missing values can be counted
        return FeatureBaseline(None, counts.total(), missing)
    in_order = dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))))
    category_counts, rare_counts = shared_counts(dict(list(in_order.items())[:MOST_CATEGORIES]), disclosure.min_count)
    ordinary = tuple(sorted(str(category) for category in list(category_counts)[:CATEGORY_BINS]))
    hashes = set(previous.rare_categories) if previous is not None else set()
    rare_keys = {
        str(category): str(category) if category in hashes else disclosure.rare_key(str(category), spec)
        for category in rare_counts
    }
    feature = FeatureBaseline(
        spec.type,
        counts.total(),
        missing,
        category_counts=category_counts,
        bins=Bins(categories=ordinary),
        rare_categories=tuple(sorted(rare_keys.values())),
        single_count=sum(count == 1 for count in rare_counts.values()),
        unlisted_count=counts.total() - sum(category_counts.values()) - sum(rare_counts.values()),
        unlisted_most=max([*rare_counts.values(), *list(in_order.values())[MOST_CATEGORIES:][:1]], default=0),
    )
    keys = DictionaryColumn(
        column.indices, [None if text is None else rare_keys.get(str(text), text) for text in column.vocabulary]
    )
    return _with_bin_counts(feature, keys, previous, disclosure.min_count)


def _output_classes(column: DictionaryColumn) -> FeatureBaseline:
    counts = column.counts()
    del counts[None]
    bins = Bins(categories=tuple(sorted(counts)))
    return FeatureBaseline(FeatureType.CATEGORY, counts.total(), 0, category_counts=dict(counts), bins=bins)


def _with_bin_counts(
    feature: FeatureBaseline, column: Column, previous: FeatureBaseline | None, min_count: int
) -> FeatureBaseline:
    """The feature with its rows counted by bin: by the bins of an earlier profile where they fit, or its own."""
    if previous is not None and previous.bins is not None and _same_kind(previous.bins, feature.bins):
        feature = replace(feature, bins=previous.bins)
    if feature.bins is None:
        return feature
    counts = bin_counts(bin_codes(column, feature), feature.bins)
    if feature.value_count and not feature.missing_count:
        counts = (*counts[: feature.bins.missing], 0)
    if feature.bins.lowest is not None:
        counts = merged_bin_counts(counts, feature.bins.ordinary, min_count)
    return replace(feature, bin_counts=counts)


def _same_kind(previous: Bins, bins: Bins | None) -> bool:
    return bins is None or (previous.lowest is None) == (bins.lowest is None)
