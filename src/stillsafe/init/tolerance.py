"""Find the values that the model tolerates: it is probed with missing values, unseen categories and far numbers.

A feature is required, its categories are closed, or its numbers get wide limits, if the model fails on them. A limit
that is only inferred refuses what cannot be: other values are served and judged by the monitor, which tells their harm.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from stillsafe.core.schema import LARGEST_INTEGER, TEXT_TYPES, FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.model.boosters.adapter import BoosterModel
from stillsafe.model.model import Model
from stillsafe.model.parts import estimator_parts
from stillsafe.monitoring.date_values import example_date

FARTHEST_NUMBER = 1e30
"""Beyond any unit of any measure, and small enough that 32-bit floats hold it and sums of its squares stay finite."""
PROBES = 5
UNSEEN_CATEGORY = "a category that nobody has seen"
UNSEEN_DATE = "1970-01-01"


def tolerated_schema(model: Model, rows: Sequence[Row]) -> Schema:
    """The model's schema without missing values, unseen categories and numbers on which the model fails.

    Args:
        model: a model whose schema has only optional features, open categories and wide limits.
        rows: rows of the sample that the model scores, at least one.
    """
    probes = [row for row in rows if all(value is not None for value in row.values())][:PROBES] or list(rows[:PROBES])
    # One call for all features takes a fraction of the time of one each, and most models pass it.
    missing = [{**row, name: None} for name in model.features.names for row in probes]
    is_any_missing_tolerated = _answers(model, missing)
    specs = [
        _tolerated_spec(model, spec, rows, probes, is_missing_tolerated=is_any_missing_tolerated)
        for spec in model.features.features
    ]
    return Schema(_with_far_limits(model, specs, probes[0]))


def _with_far_limits(model: Model, specs: Sequence[FeatureSpec], probe: Row) -> tuple[FeatureSpec, ...]:
    """The features with limits at the farthest number, where the model answers it in each of them and in all at once.

    The others keep their wide limits. A feature without a maximum is no number, or its limits are no finite numbers.
    """
    far_specs = [_far_spec(spec) for spec in specs]
    rows = [{**probe, spec.name: end} for spec in far_specs for end in _ends(spec)]
    # One call for all features takes a fraction of the time of one each, and most models pass it.
    if not _answers(model, rows):
        far_specs = [
            far if _answers(model, [{**probe, far.name: end} for end in _ends(far)]) else wide
            for far, wide in zip(far_specs, specs, strict=True)
        ]
    extreme_rows = [{**probe, **{spec.name: _ends(spec)[side] for spec in far_specs if _ends(spec)}} for side in (0, 1)]
    return tuple(far_specs if _answers(model, extreme_rows) else specs)


def _far_spec(spec: FeatureSpec) -> FeatureSpec:
    """A number with limits at the farthest number; whole numbers end where floats skip some. Zero stays a minimum."""
    if spec.maximum is None:
        return spec
    is_whole = spec.type is FeatureType.INTEGER
    maximum = None if is_whole else max(FARTHEST_NUMBER, spec.maximum or 0.0)
    minimum = spec.minimum if spec.minimum == 0 else None if is_whole else min(-FARTHEST_NUMBER, spec.minimum or 0.0)
    return replace(spec, minimum=minimum, maximum=maximum)


def _ends(spec: FeatureSpec) -> tuple[Value, ...]:
    """The smallest and the largest number that a feature with far or wide limits accepts; none of other types."""
    if spec.type is FeatureType.INTEGER:
        ends = ((-LARGEST_INTEGER, spec.minimum), (LARGEST_INTEGER, spec.maximum))
        return tuple(end if limit is None else int(limit) for end, limit in ends)
    return () if spec.minimum is None or spec.maximum is None else (spec.minimum, spec.maximum)


def features_failing_when_missing(model: Model, rows: Sequence[Row], failing_rows: Sequence[Row]) -> tuple[str, ...]:
    """The features of the sample whose missing values make the model fail.

    Args:
        model: a model whose schema has only optional features.
        rows: rows that the model scores.
        failing_rows: rows on which the model fails.
    """
    incomplete_features = [
        spec for spec in model.features.features if any(row[spec.name] is None for row in failing_rows)
    ]
    return tuple(spec.name for spec in incomplete_features if not _tolerates(model, rows[:PROBES], spec, None))


def _tolerated_spec(
    model: Model, spec: FeatureSpec, rows: Sequence[Row], probes: Sequence[Row], *, is_missing_tolerated: bool
) -> FeatureSpec:
    if not is_missing_tolerated and not _tolerates(model, probes, spec, None):
        spec = replace(spec, required=True)
    unseen_text = example_date(spec, UNSEEN_DATE) if spec.type is FeatureType.DATE else UNSEEN_CATEGORY
    if spec.type in TEXT_TYPES and not _tolerates(model, probes, spec, unseen_text):
        categories = _tolerated_categories(model, spec, rows, probes[:1])
        spec = replace(spec, type=FeatureType.CATEGORY, categories=categories, date_format=None)
    return spec


def _tolerates(model: Model, probes: Sequence[Row], spec: FeatureSpec, value: Value) -> bool:
    return _answers(model, [{**row, spec.name: value} for row in probes])


def _answers(model: Model, rows: Sequence[Row]) -> bool:
    """Whether the model answers all of these rows. It is called once: failing rows are not tried one by one."""
    scores, _ = model.score_with_failures(rows, 0)
    return all(score.error is None for score in scores)


def _tolerated_categories(
    model: Model, spec: FeatureSpec, rows: Sequence[Row], probe: Sequence[Row]
) -> tuple[str, ...]:
    """The categories of the sample and of the model's encoder: the sample may lack a rare one."""
    sample_categories = {str(row[spec.name]) for row in rows if row[spec.name] is not None}
    encoder_categories = set().union(
        *(categories for categories in _encoder_categories(model.estimator) if sample_categories <= categories)
    )
    candidates = sorted(encoder_categories - sample_categories)
    scores = model.score([{**probe[0], spec.name: category} for category in candidates])
    return tuple(
        sorted([*sample_categories, *(c for c, score in zip(candidates, scores, strict=True) if score.error is None)])
    )


def _encoder_categories(estimator: Any) -> Iterator[set[str]]:
    """The fitted categories of each column of each encoder inside a model."""
    for part in estimator_parts(estimator):
        if isinstance(part, BoosterModel):
            yield from ({str(c) for c in values or () if isinstance(c, str)} for values in part.categories.values())
        if isinstance(fitted_categories := getattr(part, "categories_", None), list):
            yield from ({str(c) for c in column if isinstance(c, str)} for column in fitted_categories)
