"""What healthy looks like, feature by feature: ranges, categories, and the bins that all later rows are put into."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.monitoring.columns import (
    MOST_CLASSES_COUNTED,
    Column,
    Columns,
    Labels,
    as_numbers,
    bin_counts,
    codes,
    commonest_numbers,
    output_columns,
)

MOST_CATEGORIES_KEPT = 10_000
NUMBER_BINS, CATEGORY_BINS, OUTPUT_BINS = 8, 12, 10
FEW_NUMBERS = 10  # different ones, from which on each gets a bin of its own
NUMBERS_KEPT = 20
ROOM = 0.5  # of the healthy range, beyond which a number lies far outside

Known = Mapping[str, FeatureBaseline]


def profile(found: Columns, schema: Schema, known: Known | None = None) -> dict[str, FeatureBaseline]:
    """Each watched feature's healthy statistics.

    Args:
        found: healthy rows.
        schema: the features.
        known: an earlier profile of the same model version, whose bins are kept: what was learnt by bin stays valid.
    """
    features = {}
    for spec in schema.features:
        before = (known or {}).get(spec.name)
        if spec.name in found.numbers:
            features[spec.name] = _number(spec, found.numbers[spec.name], before)
        elif spec.name in found.categories:
            features[spec.name] = _category(spec, found.categories[spec.name], before)
    return features


def output_profile(found: Columns, known: Known | None = None) -> dict[str, FeatureBaseline]:
    """The model's confidence and answers, profiled as features are."""
    outputs = {}
    for name, column in output_columns(found).items():
        before = (known or {}).get(name)
        if isinstance(column, Labels) and _are_classes(column):
            made = _output_classes(column)
        elif np.isfinite(as_numbers(column)).any():
            made = _output_numbers(as_numbers(column))
        else:
            continue  # more classes of text than can be told apart by bins
        outputs[name] = _binned(made, column, before)
    return outputs


def answers_of(found: Columns) -> NDArray[np.float64] | None:
    """A regressor's answers, or None of a classifier."""
    if "prediction" not in output_columns(found) or _are_classes(found.answers):
        return None
    numbers = as_numbers(found.answers)
    return numbers[np.isfinite(numbers)]


def _are_classes(column: Labels) -> bool:
    distinct = column.counts().keys() - {None}
    numbers = as_numbers(Labels.of(sorted(distinct)))
    # JSON writes the answers of a regressor with a point or an exponent, a class as it is.
    regressed = bool(np.isfinite(numbers).all()) and all("." in answer or "e" in answer for answer in distinct)
    return len(distinct) <= MOST_CLASSES_COUNTED and not regressed


def _number(spec: FeatureSpec, column: NDArray[np.float64], known: FeatureBaseline | None) -> FeatureBaseline:
    present = column[np.isfinite(column)]
    missing = len(column) - len(present)
    if not len(present):
        return (
            _binned(FeatureBaseline(spec.type, 0, missing), column, known)
            if known
            else (FeatureBaseline(spec.type, 0, missing))
        )
    made = FeatureBaseline(spec.type, len(present), missing, float(present.min()), float(present.max()))
    return _binned(_with_numbers(made, present, NUMBER_BINS), column, known)


def _with_numbers(made: FeatureBaseline, present: NDArray[np.float64], most: int) -> FeatureBaseline:
    distinct = np.unique(present)
    if len(distinct) <= FEW_NUMBERS:
        edges = distinct[:-1] / 2 + distinct[1:] / 2
    else:
        quantiles = np.quantile(present, np.linspace(0, 1, most + 1)[1:-1], method="inverted_cdf")
        edges = np.unique(quantiles[quantiles < distinct[-1]])
    lowest, highest = float(distinct[0]), float(distinct[-1])
    room = ROOM * ((highest - lowest) or max(1.0, abs(highest)))
    if not np.isfinite([lowest - room, highest + room, *edges]).all():
        return made  # numbers near the largest that there are: too far apart to be binned
    return replace(
        made,
        bins=Bins(tuple(edges.tolist()), lowest - room, highest + room),
        distinct_count=len(distinct),
        frequent=commonest_numbers(present, NUMBERS_KEPT),
    )


def _category(spec: FeatureSpec, column: Labels, known: FeatureBaseline | None) -> FeatureBaseline:
    counts = column.counts()
    missing = counts.pop(None, 0)
    if spec.type is not FeatureType.CATEGORY:  # a hashed number: only its absence can be seen
        return FeatureBaseline(None, counts.total(), missing)
    kept = dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:MOST_CATEGORIES_KEPT])
    ordinary = tuple(sorted(str(category) for category in list(kept)[:CATEGORY_BINS]))
    made = FeatureBaseline(
        FeatureType.CATEGORY, counts.total(), missing, category_counts=kept, bins=Bins(categories=ordinary)
    )
    return _binned(made, column, known)


def _output_numbers(numbers: NDArray[np.float64]) -> FeatureBaseline:
    present = numbers[np.isfinite(numbers)]
    made = FeatureBaseline(FeatureType.NUMERIC, len(present), 0, float(present.min()), float(present.max()))
    return _with_numbers(made, present, OUTPUT_BINS)


def _output_classes(column: Labels) -> FeatureBaseline:
    counts = column.counts()
    del counts[None]
    classes = tuple(sorted(counts))
    return FeatureBaseline(
        FeatureType.CATEGORY, counts.total(), 0, category_counts=dict(counts), bins=Bins(categories=classes)
    )


def _binned(made: FeatureBaseline, column: Column, known: FeatureBaseline | None) -> FeatureBaseline:
    """With its rows counted by bin: by its own bins, or by those that are known already."""
    if known is not None and known.bins is not None and _alike(known.bins, made.bins):
        made = replace(made, bins=known.bins)
    if made.bins is None:
        return made
    counts = bin_counts(codes(column, made), made.bins)
    if made.value_count and not made.missing_count:
        counts = (*counts[: made.bins.missing], 0)
    return replace(made, bin_counts=counts)


def _alike(known: Bins, made: Bins | None) -> bool:
    return made is None or (known.lowest is None) == (made.lowest is None)
