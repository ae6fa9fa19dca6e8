"""Counts columns into the tally of a window or a healthy period. It decides nothing."""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence import association
from stillsafe.core.window import FeatureTally, Tally
from stillsafe.monitoring.binning import BinCodes, bin_codes, bin_counts, co_occurrence, feature_bin_codes
from stillsafe.monitoring.clock_agreement import clock_counts
from stillsafe.monitoring.columns import (
    Column,
    Columns,
    DictionaryColumn,
    Mask,
    RowSelection,
    output_columns,
    prediction_numbers,
)
from stillsafe.monitoring.repeated_rows import are_beside_others, unexplained_copies

MOST_CLASSES = 50
EXAMPLES = 5
EXAMPLE_LENGTH = 60
_BLOCK_ROWS = 16_000
"""Rows that are Python numbers at the same time, which take four times the space of an array."""


def tally(rows: Columns, baseline: Baseline | None, refusal_count: int, mask: Mask | None = None) -> Tally:
    """Counts over the rows of a mask (default all), against a baseline where there is one."""
    all_rows: RowSelection = slice(None) if mask is None else mask
    selection, copies, repeated_count = _evidence_rows(rows, baseline, mask)
    selected_confidences = rows.confidences[selection]
    confidences = _finite(selected_confidences)
    threshold = baseline.low_confidence_threshold if baseline is not None else None
    codes = {} if baseline is None else feature_bin_codes(rows, baseline.features, selection)
    outputs = output_columns(rows)
    return Tally(
        prediction_count=len(selected_confidences) + repeated_count,
        confidence_count=len(confidences),
        confidence_sum=_exact_sum(confidences),
        confidence_square_sum=_exact_sum(confidences**2),
        low_confidence_count=int((confidences < threshold).sum()) if threshold is not None else 0,
        model_error_count=int(rows.model_errors[selection].sum()),
        fallback_count=int(rows.fallback_used[all_rows].sum()),
        refusal_count=refusal_count,
        features=_feature_tallies(rows, baseline, selection, codes),
        prediction_counts=_prediction_counts(rows.predictions[selection]),
        outputs={} if baseline is None else _output_tallies(outputs, baseline, selection),
        prediction_sum=_prediction_sum(outputs, baseline, selection),
        agreement=_pmi_sums(baseline, codes),
        repeated_count=repeated_count,
        judged_copy_count=copies - repeated_count,
    )


def _evidence_rows(rows: Columns, baseline: Baseline | None, mask: Mask | None) -> tuple[RowSelection, int, int]:
    """The rows of a mask that are evidence, the unexplained copies of repeated rows, and how many of these are none."""
    all_rows: RowSelection = slice(None) if mask is None else mask
    masked_rows = rows if mask is None else rows[mask]
    copies = unexplained_copies(masked_rows, {} if baseline is None else baseline.features)
    count = int(copies.sum())
    if not count or not are_beside_others(masked_rows, copies):
        return all_rows, count, 0
    if mask is None:
        return ~copies, count, count
    is_evidence = mask.copy()
    is_evidence[mask] = ~copies
    return is_evidence, count, count


def _exact_sum(numbers: NDArray[np.float64]) -> float:
    """The sum of finite numbers, rounded once, so that it does not depend on their order."""
    blocks = (numbers[start : start + _BLOCK_ROWS].tolist() for start in range(0, len(numbers), _BLOCK_ROWS))
    return math.fsum(chain.from_iterable(blocks))


def _finite(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those that are neither NaN nor infinite; without a copy where all are."""
    is_finite = np.isfinite(numbers)
    return numbers if is_finite.all() else numbers[is_finite]


def frequent_numbers(numbers: NDArray[np.float64], most: int) -> tuple[tuple[float, int], ...]:
    """The most frequent numbers with their counts; of equally frequent ones the lesser first."""
    distinct, counts = np.unique(numbers, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return tuple((float(distinct[i]), int(counts[i])) for i in order.tolist())


def _pmi_sums(baseline: Baseline | None, codes: Mapping[str, BinCodes]) -> tuple[float, ...]:
    table = None if baseline is None else association.baseline_association_table(baseline, names=codes)
    if baseline is None or table is None:
        return ()
    features = [baseline.features[name] for name in table.features]
    return association.pmi_sums(table, co_occurrence(features, [codes[name] for name in table.features]))


def _output_tallies(
    outputs: Mapping[str, Column], baseline: Baseline, selection: RowSelection
) -> dict[str, FeatureTally]:
    tallies = {}
    for name, healthy in baseline.outputs.items():
        if name in outputs and healthy.bins is not None:
            counts = bin_counts(bin_codes(outputs[name][selection], healthy), healthy.bins)
            # A bypassed row has no prediction. It is no missing value, so it counts in no bin.
            value_counts = (*counts[: healthy.bins.missing], 0)
            tallies[name] = FeatureTally(sum(value_counts), counts[healthy.bins.missing], bin_counts=value_counts)
    return tallies


def _prediction_sum(outputs: Mapping[str, Column], baseline: Baseline | None, selection: RowSelection) -> float:
    if baseline is None or baseline.prediction_mean is None or "prediction" not in outputs:
        return 0.0
    numbers = prediction_numbers(outputs["prediction"][selection])
    total = _exact_sum(_finite(numbers))
    return total if math.isfinite(total) else 0.0


def are_classes(predictions: DictionaryColumn) -> bool:
    """Whether predictions are classes: few different texts, and not all of them decimal numbers."""
    distinct = predictions.counts().keys() - {None}
    return len(distinct) <= MOST_CLASSES and not are_decimals(distinct)


def are_decimals(texts: Collection[str]) -> bool:
    """Whether all predictions are decimal numbers, as a regressor gives them."""
    distinct = sorted(texts)
    numbers = prediction_numbers(DictionaryColumn.of(distinct))
    # JSON writes a float with a point or an exponent, so texts without them are classes.
    return bool(np.isfinite(numbers).all()) and all("." in text or "e" in text for text in distinct)


def _prediction_counts(predictions: DictionaryColumn) -> dict[str, int]:
    """Rows with each prediction; empty where there are too many different ones to be classes."""
    counts = predictions.counts()
    counts.pop(None, None)
    return dict(sorted(counts.items())) if len(counts) <= MOST_CLASSES else {}


def _feature_tallies(
    rows: Columns, baseline: Baseline | None, selection: RowSelection, codes: Mapping[str, BinCodes]
) -> dict[str, FeatureTally]:
    healthy = baseline.features if baseline is not None else {}
    tallies = {name: _value_tally(column[selection], healthy.get(name)) for name, column in rows.numbers.items()}
    tallies |= {name: _category_tally(column[selection], healthy.get(name)) for name, column in rows.categories.items()}
    for name, column in codes.items():
        bins = healthy[name].bins
        if bins is not None:
            tallies[name] = replace(tallies[name], bin_counts=bin_counts(column, bins))
    clocks = {} if baseline is None else clock_counts(rows, baseline, selection, codes)
    for name, counts in clocks.items():
        tallies[name] = replace(
            tallies[name],
            clock_count=counts.known_count,
            contradiction_count=counts.contradiction_count,
            claim_deviations=counts.claim_deviations,
        )
    return tallies


def _value_tally(column: NDArray[np.float64], healthy: FeatureBaseline | None) -> FeatureTally:
    """The tally of numbers, or of whole codes where the baseline has a bin for each."""
    if healthy is not None and healthy.is_categorical:
        return _category_tally(DictionaryColumn.of_codes(column), healthy)
    return _number_tally(column, healthy)


def _number_tally(column: NDArray[np.float64], healthy: FeatureBaseline | None) -> FeatureTally:
    numbers = _finite(column)
    below = above = 0
    if healthy is not None and healthy.minimum is not None and healthy.maximum is not None:
        below, above = int((numbers < healthy.minimum).sum()), int((numbers > healthy.maximum).sum())
    commonest = next(iter(frequent_numbers(numbers, 1)), None)
    return FeatureTally(len(numbers), len(column) - len(numbers), 0, below, above, commonest=commonest)


def _category_tally(column: DictionaryColumn, healthy: FeatureBaseline | None) -> FeatureTally:
    counts = column.counts()
    missing = counts.pop(None, 0)
    is_categorical = healthy is not None and healthy.is_categorical
    names = {*healthy.category_counts, *healthy.rare_categories} if healthy is not None and is_categorical else counts
    # Long categories may begin alike, so they are counted by the text that is shown.
    unseen: Counter[str] = Counter()
    for category, count in counts.items():
        if category not in names:
            unseen[_encodable(str(category)[:EXAMPLE_LENGTH])] += count
    # The most frequent first, ties by name, so that the examples do not depend on the order of the rows.
    examples = sorted(unseen.items(), key=lambda item: (-item[1], item[0]))[:EXAMPLES]
    return FeatureTally(
        value_count=counts.total(),
        missing_count=missing,
        unseen_count=unseen.total(),
        unseen_examples=dict(examples),
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
