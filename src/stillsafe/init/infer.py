"""Infer the schema: types from the sample, wide limits, and the values that the model tolerates.

The model is probed with missing values and with unseen categories. A feature is required, or its categories are
closed, if the model fails on them.
"""

import datetime
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stillsafe.core.schema import LARGEST_INTEGER, FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.errors import ConfigurationError
from stillsafe.model.model import Model

LIMIT_FACTOR = 10
PROBES = 5
UNSEEN_CATEGORY = "a category that nobody has seen"
LONGEST_USUAL_CATEGORY = 200
MANY_CATEGORIES = 40
DEEPEST_ENCODER = 12
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")
_TIME_TYPES = (datetime.date, datetime.time, datetime.timedelta, pd.Period)


@dataclass(frozen=True, slots=True)
class InferredSchema:
    """The schema, and per feature a remark for the person who reviews it, one sentence."""

    schema: Schema
    remarks: dict[str, str]


def describe(features: pd.DataFrame) -> InferredSchema:
    """Infer each column's type and wide limits, with every feature optional and every category open.

    Raises:
        ConfigurationError: a column has values that no feature type can represent.
    """
    specs, remarks = [], {}
    for name in features:
        values = _present(features[name])
        spec = _spec(str(name), values)
        specs.append(spec)
        if remark := _remark(spec, values):
            remarks[spec.name] = remark
    return InferredSchema(Schema(tuple(specs)), remarks)


def rows_of(features: pd.DataFrame, schema: Schema) -> list[Row]:
    """The sample's rows as requests would carry them: plain values, None for missing."""
    columns = [[_value(spec, value) for value in features[spec.name].tolist()] for spec in schema.features]
    return [dict(zip(schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def tolerated_schema(model: Model, rows: Sequence[Row]) -> Schema:
    """The model's schema without missing values and unseen categories on which the model fails.

    Args:
        model: a model whose schema has only optional features and open categories.
        rows: rows of the sample that the model scores, at least one.
    """
    probes = [row for row in rows if all(value is not None for value in row.values())][:PROBES] or list(rows[:PROBES])
    return Schema(tuple(_tolerated_spec(model, spec, rows, probes) for spec in model.features.features))


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


def _tolerated_spec(model: Model, spec: FeatureSpec, rows: Sequence[Row], probes: Sequence[Row]) -> FeatureSpec:
    if not _tolerates(model, probes, spec, None):
        spec = replace(spec, required=True)
    if spec.type is FeatureType.CATEGORY and not _tolerates(model, probes, spec, UNSEEN_CATEGORY):
        spec = replace(spec, categories=_tolerated_categories(model, spec, rows, probes[:1]))
    return spec


def _tolerates(model: Model, probes: Sequence[Row], spec: FeatureSpec, value: Value) -> bool:
    return all(score.error is None for score in model.score([{**row, spec.name: value} for row in probes]))


def _tolerated_categories(
    model: Model, spec: FeatureSpec, rows: Sequence[Row], probe: Sequence[Row]
) -> tuple[str, ...]:
    """The categories of the sample and of the model's encoder: the sample may lack a rare one."""
    sample_categories = {str(row[spec.name]) for row in rows if row[spec.name] is not None}
    encoder_categories = set().union(
        *(
            categories
            for categories in _encoder_categories(model.estimator, DEEPEST_ENCODER)
            if sample_categories <= categories
        )
    )
    candidates = sorted(encoder_categories - sample_categories)
    scores = model.score([{**probe[0], spec.name: category} for category in candidates])
    return tuple(
        sorted([*sample_categories, *(c for c, score in zip(candidates, scores, strict=True) if score.error is None)])
    )


def _encoder_categories(part: Any, depth: int) -> Iterator[set[str]]:
    """The fitted categories of each column of each encoder inside a model."""
    if depth == 0 or isinstance(part, str | bytes | np.ndarray | pd.DataFrame):
        return
    if isinstance(fitted_categories := getattr(part, "categories_", None), list):
        yield from ({str(c) for c in column if isinstance(c, str)} for column in fitted_categories)
    parts = part if isinstance(part, list | tuple) else [*part.values()] if isinstance(part, dict) else None
    if parts is None:
        parts = [*vars(part).values()] if hasattr(part, "get_params") and hasattr(part, "__dict__") else []
    for item in parts:
        yield from _encoder_categories(item, depth - 1)


def _present(column: "pd.Series[Any]") -> list[Any]:
    """The values that are not missing, plain."""
    return [value.item() if isinstance(value, np.generic) else value for value in column.dropna().tolist()]


def _spec(name: str, values: Sequence[Any]) -> FeatureSpec:
    if not values:
        return FeatureSpec(name, FeatureType.NUMERIC, required=False)
    if any(isinstance(value, _TIME_TYPES) for value in values):
        raise _refusal(name, "has times", "Convert them to numbers (an hour, an age) before they reach the model.")
    if all(isinstance(value, bool) for value in values):
        return FeatureSpec(name, FeatureType.BOOLEAN, required=False)
    if all(isinstance(value, str) for value in values):
        longest = max(LONGEST_USUAL_CATEGORY, 2 * max(len(value) for value in values))
        return FeatureSpec(name, FeatureType.CATEGORY, required=False, max_length=longest)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        remedy = "Use one type of plain value per column: numbers, texts, or true and false."
        raise _refusal(name, f"has values of mixed or nested kinds ({kinds})", remedy)
    return _number(name, values)


def _number(name: str, values: Sequence[float]) -> FeatureSpec:
    if not all(math.isfinite(value) for value in values):
        raise _refusal(
            name, "has infinite values", "JSON has none: replace them in the sample and in the training data."
        )
    low, high = min(values), max(values)
    whole = all(isinstance(value, int) for value in values) and max(abs(low), abs(high)) <= LARGEST_INTEGER
    room = float(LIMIT_FACTOR) * max(high - low, abs(high), abs(low), 1)
    kind = FeatureType.INTEGER if whole else FeatureType.NUMERIC
    if not math.isfinite(room + abs(high) + abs(low)):
        return FeatureSpec(name, kind, required=False)
    return FeatureSpec(name, kind, required=False, minimum=-_round_up(room - low), maximum=_round_up(room + high))


def _round_up(value: float) -> float:
    """Round up to two digits, so that the limit reads as an estimate; a whole number from 10 on."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(math.ceil(value / unit) * unit)


def _remark(spec: FeatureSpec, values: Sequence[Any]) -> str:
    if not values:
        return "All values are missing in the sample, so the type is assumed to be a number."
    distinct = len(set(values))
    if distinct == 1:
        return "It has a single value in the sample."
    if spec.type is FeatureType.CATEGORY and all(_DATE.match(value) for value in values):
        return "It has dates as text: each new day is a category that the model was not trained on."
    if spec.type is FeatureType.CATEGORY and distinct > max(MANY_CATEGORIES, len(values) / 2):
        return f"It has {distinct} categories in {len(values)} values: an identifier or free text helps a model little."
    if spec.type is FeatureType.INTEGER and distinct == len(values):
        return "It has a different whole number in each row: if it is an identifier, it helps a model little."
    return ""


def _value(spec: FeatureSpec, value: Any) -> Value:
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or plain is pd.NA or plain is pd.NaT or (isinstance(plain, float) and math.isnan(plain)):
        return None
    return float(plain) if spec.type is FeatureType.NUMERIC else plain


def _refusal(name: str, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"The column {name!r} {problem}, which no feature type can represent.", remedy)
