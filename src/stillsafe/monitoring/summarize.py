"""From rows to aggregates: vectorised counting for windows and baselines. Nothing here judges."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.schema import FeatureSpec, FeatureType, Logged, Row, Schema
from stillsafe.core.window import FeatureTally, Tally
from stillsafe.store.reader import LogRows

Mask = NDArray[np.bool_]
SHADOW_DIGITS = 9
MOST_CATEGORIES_KEPT = 10_000
MOST_CLASSES_COUNTED = 50
EXAMPLES_SHOWN = 5
EXAMPLE_LENGTH = 60

Scorer = Callable[[Sequence[Row]], Sequence[tuple[float | None, str | None]]]
"""Scores rows off the client path: per row the confidence, or how the model failed."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A stretch of the log, one array per thing. `n` rows; a feature's column is float64 (NaN: missing) or strings.

    Attributes:
        snapshots: the sanitised rows.
        timestamps: (n,), aware UTC.
        confidences: (n,), NaN where there is none.
        model_errors, fallback_used: (n,) flags.
        predictions: (n,) answers as text.
        numbers: per numeric, integer or boolean feature, (n,).
        categories: per category, and per hashed feature whatever its type.
    """

    snapshots: Sequence[Mapping[str, object]]
    timestamps: Sequence[datetime]
    confidences: NDArray[np.float64]
    model_errors: Mask
    fallback_used: Mask
    predictions: Sequence[str | None]
    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, NDArray[np.object_]]

    def __len__(self) -> int:
        """Rows."""
        return len(self.snapshots)


def columns(rows: LogRows, schema: Schema) -> Columns:
    """The log's rows as arrays. A snapshot that is no JSON object counts as one in which everything is missing."""
    return from_snapshots(
        _parse(rows.input_summaries),
        schema,
        timestamps=rows.timestamps,
        confidences=rows.confidences,
        model_errors=rows.model_errors,
        fallback_used=rows.fallback_used,
        predictions=rows.predictions,
    )


def from_snapshots(
    snapshots: Sequence[Mapping[str, object]],
    schema: Schema,
    *,
    timestamps: Sequence[datetime] = (),
    confidences: Sequence[float | None],
    model_errors: Sequence[str | None],
    fallback_used: Sequence[bool],
    predictions: Sequence[str | None],
) -> Columns:
    """Sanitised rows as arrays."""
    watched = [spec for spec in schema.features if spec.log is not Logged.DROP]
    return Columns(
        snapshots,
        timestamps,
        _as_numbers(confidences),
        np.array([error is not None for error in model_errors], dtype=np.bool_),
        np.array(fallback_used, dtype=np.bool_),
        predictions,
        {spec.name: _numbers(snapshots, spec.name) for spec in watched if not _is_category(spec)},
        {spec.name: _strings(snapshots, spec.name) for spec in watched if _is_category(spec)},
    )


def fresh_rows(found: Columns, since: datetime | None) -> Mask:
    """(n,) flags: rows at or after a time; all of them where there is none."""
    if since is None:
        return np.ones(len(found), dtype=np.bool_)
    return np.array([at >= since for at in found.timestamps], dtype=np.bool_)


def shadow_scored(found: Columns, schema: Schema, score: Scorer) -> Columns:
    """The same rows, those that bypassed the model scored now, off the client path.

    A row that the model fails on, or that today's schema refuses, counts as a model error.
    """
    bypassed = np.flatnonzero(found.fallback_used & ~found.model_errors).tolist()
    confidences, errors = found.confidences.copy(), found.model_errors.copy()
    clean = {i: row for i in bypassed if isinstance(row := schema.validate(found.snapshots[i]), dict)}
    errors[[i for i in bypassed if i not in clean]] = True
    for index, (confidence, error) in zip(clean, score(list(clean.values())), strict=True):
        errors[index] = error is not None
        # Rounded, so that the sums agree wherever they are recomputed.
        confidences[index] = math.nan if confidence is None else round(confidence, SHADOW_DIGITS)
    return replace(found, confidences=confidences, model_errors=errors)


def tally(found: Columns, baseline: Baseline | None, refusal_count: int, rows: Mask | None = None) -> Tally:
    """Counts over the given rows (default all), against a baseline where there is one."""
    chosen = np.ones(len(found), dtype=np.bool_) if rows is None else rows
    confidences = found.confidences[chosen & np.isfinite(found.confidences)]
    threshold = baseline.low_confidence_threshold if baseline is not None else None
    return Tally(
        prediction_count=int(chosen.sum()),
        confidence_count=len(confidences),
        confidence_sum=math.fsum(confidences.tolist()),
        confidence_square_sum=math.fsum((confidences**2).tolist()),
        low_confidence_count=int((confidences < threshold).sum()) if threshold is not None else 0,
        model_error_count=int((found.model_errors & chosen).sum()),
        fallback_count=int((found.fallback_used & chosen).sum()),
        refusal_count=refusal_count,
        features=_feature_tallies(found, baseline, chosen),
        prediction_counts=_prediction_counts(found, chosen),
    )


def profile(found: Columns, schema: Schema) -> dict[str, FeatureBaseline]:
    """Each watched feature's healthy statistics."""
    features = {}
    for spec in schema.features:
        if spec.name in found.numbers:
            features[spec.name] = _number_profile(spec, found.numbers[spec.name])
        elif spec.name in found.categories:
            features[spec.name] = _category_profile(spec, found.categories[spec.name])
    return features


def _is_category(spec: FeatureSpec) -> bool:
    return spec.type is FeatureType.CATEGORY or spec.log is Logged.HASH


def _parse(texts: Sequence[str]) -> Sequence[Mapping[str, object]]:
    try:
        parsed = json.loads(f"[{','.join(texts)}]")
    except (ValueError, TypeError):
        parsed = []
    if len(parsed) != len(texts):  # some text is no JSON, or more than one
        parsed = [_parse_one(text) for text in texts]
    return (
        parsed if all(isinstance(row, dict) for row in parsed) else [r if isinstance(r, dict) else {} for r in parsed]
    )


def _parse_one(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return {}


def _numbers(snapshots: Sequence[Mapping[str, object]], name: str) -> NDArray[np.float64]:
    return _as_numbers([row.get(name) for row in snapshots])


def _as_numbers(values: Sequence[object]) -> NDArray[np.float64]:
    """As float64; what is no number, or none that a float can hold, is missing."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.array([_as_number(value) for value in values], dtype=np.float64)


def _as_number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan


def _strings(snapshots: Sequence[Mapping[str, object]], name: str) -> NDArray[np.object_]:
    column = np.empty(len(snapshots), dtype=np.object_)
    values = (row.get(name) for row in snapshots)
    column[:] = [value if isinstance(value, str | int | float) else None for value in values]
    return column


def _feature_tallies(found: Columns, baseline: Baseline | None, chosen: Mask) -> dict[str, FeatureTally]:
    healthy = baseline.features if baseline is not None else {}
    tallies = {name: _number_tally(column[chosen], healthy.get(name)) for name, column in found.numbers.items()}
    tallies |= {name: _category_tally(column[chosen], healthy.get(name)) for name, column in found.categories.items()}
    return tallies


def _number_tally(column: NDArray[np.float64], healthy: FeatureBaseline | None) -> FeatureTally:
    present = column[np.isfinite(column)]
    below = above = 0
    if healthy is not None and healthy.minimum is not None and healthy.maximum is not None:
        below, above = int((present < healthy.minimum).sum()), int((present > healthy.maximum).sum())
    return FeatureTally(len(present), len(column) - len(present), 0, below, above)


def _category_tally(column: NDArray[np.object_], healthy: FeatureBaseline | None) -> FeatureTally:
    counts = Counter(column.tolist())
    missing = counts.pop(None, 0)
    known = healthy.category_counts if healthy is not None and healthy.type is FeatureType.CATEGORY else counts
    unseen = {str(category): count for category, count in counts.items() if category not in known}
    # The most frequent first, ties by name, so that the examples do not depend on the rows' order.
    examples = sorted(unseen.items(), key=lambda item: (-item[1], item[0]))[:EXAMPLES_SHOWN]
    return FeatureTally(
        value_count=counts.total(),
        missing_count=missing,
        unseen_count=sum(unseen.values()),
        unseen_examples={_encodable(category[:EXAMPLE_LENGTH]): count for category, count in examples},
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _number_profile(spec: FeatureSpec, column: NDArray[np.float64]) -> FeatureBaseline:
    present = column[np.isfinite(column)]
    missing = len(column) - len(present)
    if not len(present):
        return FeatureBaseline(spec.type, 0, missing)
    return FeatureBaseline(spec.type, len(present), missing, float(present.min()), float(present.max()))


def _category_profile(spec: FeatureSpec, column: NDArray[np.object_]) -> FeatureBaseline:
    counts = Counter(column.tolist())
    missing = counts.pop(None, 0)
    if spec.type is not FeatureType.CATEGORY:  # a hashed number: only its absence can be seen
        return FeatureBaseline(None, counts.total(), missing)
    kept = dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:MOST_CATEGORIES_KEPT])
    return FeatureBaseline(FeatureType.CATEGORY, counts.total(), missing, category_counts=kept)


def _prediction_counts(found: Columns, chosen: Mask) -> dict[str, int]:
    own = chosen & ~found.fallback_used
    counts = Counter(p for p, mine in zip(found.predictions, own.tolist(), strict=True) if mine and p is not None)
    return dict(sorted(counts.items())) if len(counts) <= MOST_CLASSES_COUNTED else {}
