"""From a sample and a model to the schema: types from the data, limits generous, and the model itself asked.

Whether a feature may be missing, and whether an unseen category may be served, is no matter of taste: the model is
tried with both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.errors import ConfigurationError
from stillsafe.serving.model import Model

GENEROSITY = 10
PROBES = 5
UNSEEN = "a category that nobody has seen"
LONGEST_USUAL_CATEGORY = 200
MANY_CATEGORIES = 100


@dataclass(frozen=True, slots=True)
class Inferred:
    """The schema, and what a person should know about it: remarks, one sentence each, per feature."""

    schema: Schema
    remarks: dict[str, str]


def describe(features: pd.DataFrame) -> Inferred:
    """Each column's type and generous limits, every feature optional and every category open for now.

    Raises:
        ConfigurationError: a column holds what no feature can be, saying what to do.
    """
    specs, remarks = [], {}
    for name in features:
        column = features[name]
        spec = _spec(str(name), column)
        specs.append(spec)
        if remark := _remark(spec, column):
            remarks[spec.name] = remark
    return Inferred(Schema(tuple(specs)), remarks)


def rows_of(features: pd.DataFrame, schema: Schema) -> list[Row]:
    """The sample's rows as requests would bring them: plain values, None for missing."""
    columns = [[_plain(spec, value) for value in features[spec.name].tolist()] for spec in schema.features]
    return [dict(zip(schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def tried(model: Model, rows: Sequence[Row]) -> Schema:
    """The model's schema with what the model does not tolerate ruled out: missing values, unseen categories.

    Args:
        model: with a schema in which every feature is optional and every category open.
        rows: the sample's rows.

    Raises:
        ConfigurationError: the model does not tolerate a missing value that its own sample holds.
    """
    probes = [row for row in rows if all(value is not None for value in row.values())][:PROBES] or list(rows[:PROBES])
    return Schema(tuple(_tried(model, spec, rows, probes) for spec in model.features.features))


def _tried(model: Model, spec: FeatureSpec, rows: Sequence[Row], probes: Sequence[Row]) -> FeatureSpec:
    tolerates_missing = _tolerates(model, probes, spec, None)
    if not tolerates_missing and any(row[spec.name] is None for row in rows):
        told = f"The sample holds missing values of {spec.name!r}, and the model fails on them."
        raise ConfigurationError(told, "Give the model an imputer for it, or mend the sample.")
    if not tolerates_missing:
        spec = replace(spec, required=True)
    if spec.type is FeatureType.CATEGORY and not _tolerates(model, probes, spec, UNSEEN):
        seen = sorted({str(row[spec.name]) for row in rows if row[spec.name] is not None})
        spec = replace(spec, categories=tuple(seen))
    return spec


def _tolerates(model: Model, probes: Sequence[Row], spec: FeatureSpec, value: Value) -> bool:
    return all(score.error is None for score in model.score([{**row, spec.name: value} for row in probes]))


def _spec(name: str, column: "pd.Series[Any]") -> FeatureSpec:
    present = column.dropna()
    values = present.tolist()
    if not values:
        return FeatureSpec(name, FeatureType.NUMERIC, required=False)
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        _refuse(name, "holds times", "Turn them into numbers (an hour, an age) before the model sees them.")
    if all(isinstance(value, bool) for value in values):
        return FeatureSpec(name, FeatureType.BOOLEAN, required=False)
    if all(isinstance(value, str) for value in values):
        longest = max(len(value) for value in values)
        return FeatureSpec(
            name, FeatureType.CATEGORY, required=False, max_length=max(LONGEST_USUAL_CATEGORY, 2 * longest)
        )
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        _refuse(name, f"holds values of several or nested kinds ({kinds})", "Give each column one kind of plain value.")
    return _number(name, values)


def _number(name: str, values: Sequence[float]) -> FeatureSpec:
    if not all(math.isfinite(value) for value in values):
        _refuse(name, "holds infinite values", "JSON has none: replace them in the sample and in training.")
    whole = all(isinstance(value, int) for value in values)
    low, high = min(values), max(values)
    room = GENEROSITY * max(high - low, abs(high), abs(low), 1)
    kind = FeatureType.INTEGER if whole else FeatureType.NUMERIC
    return FeatureSpec(name, kind, required=False, minimum=-_rounded_up(room - low), maximum=_rounded_up(room + high))


def _rounded_up(value: float) -> float:
    """Outwards to two digits: a limit that reads as what it is, a generous guess. Whole from 10 on."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(math.ceil(value / unit) * unit)


def _remark(spec: FeatureSpec, column: "pd.Series[Any]") -> str:
    present = column.dropna()
    if not len(present):
        return "It never had a value in the sample: taken for a number."
    distinct = present.nunique()
    if distinct == 1:
        return "It had one value only in the sample."
    if spec.type is FeatureType.CATEGORY and distinct > MANY_CATEGORIES and distinct > len(present) / 2:
        return (
            f"It had {distinct} categories in {len(present)} values: an identifier or free text tells a model little."
        )
    return ""


def _plain(spec: FeatureSpec, value: Any) -> Value:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return float(value) if spec.type is FeatureType.NUMERIC else value


def _refuse(name: str, what: str, remedy: str) -> None:
    raise ConfigurationError(f"The column {name!r} {what}, which no feature can be.", remedy)
