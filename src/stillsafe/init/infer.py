"""From a sample and a model to the schema: types from the data, limits generous, and the model itself asked.

Whether a feature may be missing, and whether an unseen category may be served, is no matter of taste: the model is
tried with both.
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

GENEROSITY = 10
PROBES = 5
UNSEEN = "a category that nobody has seen"
LONGEST_USUAL_CATEGORY = 200
MANY_CATEGORIES = 40
DEEPEST_ENCODER = 12
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")
_TIMES = (datetime.date, datetime.time, datetime.timedelta, pd.Period)


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
        values = _present(features[name])
        spec = _spec(str(name), values)
        specs.append(spec)
        if remark := _remark(spec, values):
            remarks[spec.name] = remark
    return Inferred(Schema(tuple(specs)), remarks)


def rows_of(features: pd.DataFrame, schema: Schema) -> list[Row]:
    """The sample's rows as requests would bring them: plain values, None for missing."""
    columns = [[_value(spec, value) for value in features[spec.name].tolist()] for spec in schema.features]
    return [dict(zip(schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def tried(model: Model, rows: Sequence[Row]) -> Schema:
    """The model's schema with what the model does not tolerate ruled out: missing values, unseen categories.

    Args:
        model: with a schema in which every feature is optional and every category open.
        rows: rows of the sample on which the model does not fail, at least one.
    """
    probes = [row for row in rows if all(value is not None for value in row.values())][:PROBES] or list(rows[:PROBES])
    return Schema(tuple(_tried(model, spec, rows, probes) for spec in model.features.features))


def unbearable(model: Model, rows: Sequence[Row], failed: Sequence[Row]) -> tuple[str, ...]:
    """The features whose missing values the model fails on in its own sample.

    Args:
        model: with a schema in which every feature is optional.
        rows: rows on which the model does not fail.
        failed: rows on which it does.
    """
    lacking = [spec for spec in model.features.features if any(row[spec.name] is None for row in failed)]
    return tuple(spec.name for spec in lacking if not _tolerates(model, rows[:PROBES], spec, None))


def _tried(model: Model, spec: FeatureSpec, rows: Sequence[Row], probes: Sequence[Row]) -> FeatureSpec:
    if not _tolerates(model, probes, spec, None):
        spec = replace(spec, required=True)
    if spec.type is FeatureType.CATEGORY and not _tolerates(model, probes, spec, UNSEEN):
        spec = replace(spec, categories=_known(model, spec, rows, probes[:1]))
    return spec


def _tolerates(model: Model, probes: Sequence[Row], spec: FeatureSpec, value: Value) -> bool:
    return all(score.error is None for score in model.score([{**row, spec.name: value} for row in probes]))


def _known(model: Model, spec: FeatureSpec, rows: Sequence[Row], probe: Sequence[Row]) -> tuple[str, ...]:
    """The sample's categories, and those that only the model's encoder knows: the sample may lack a rare one."""
    seen = {str(row[spec.name]) for row in rows if row[spec.name] is not None}
    learnt = set().union(*(known for known in _encoded(model.estimator, DEEPEST_ENCODER) if seen <= known))
    unseen = sorted(learnt - seen)
    scores = model.score([{**probe[0], spec.name: category} for category in unseen])
    return tuple(sorted([*seen, *(c for c, score in zip(unseen, scores, strict=True) if score.error is None)]))


def _encoded(part: Any, depth: int) -> Iterator[set[str]]:
    """What each encoder inside a model learnt of one column."""
    if depth == 0 or isinstance(part, str | bytes | np.ndarray | pd.DataFrame):
        return
    if isinstance(found := getattr(part, "categories_", None), list):
        yield from ({str(c) for c in column if isinstance(c, str)} for column in found)
    inner = part if isinstance(part, list | tuple) else [*part.values()] if isinstance(part, dict) else None
    if inner is None:
        inner = [*vars(part).values()] if hasattr(part, "get_params") and hasattr(part, "__dict__") else []
    for item in inner:
        yield from _encoded(item, depth - 1)


def _present(column: "pd.Series[Any]") -> list[Any]:
    """The values that are not missing, plain."""
    return [value.item() if isinstance(value, np.generic) else value for value in column.dropna().tolist()]


def _spec(name: str, values: Sequence[Any]) -> FeatureSpec:
    if not values:
        return FeatureSpec(name, FeatureType.NUMERIC, required=False)
    if any(isinstance(value, _TIMES) for value in values):
        raise _refusal(name, "holds times", "Turn them into numbers (an hour, an age) before the model sees them.")
    if all(isinstance(value, bool) for value in values):
        return FeatureSpec(name, FeatureType.BOOLEAN, required=False)
    if all(isinstance(value, str) for value in values):
        longest = max(LONGEST_USUAL_CATEGORY, 2 * max(len(value) for value in values))
        return FeatureSpec(name, FeatureType.CATEGORY, required=False, max_length=longest)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        remedy = "Give each column one kind of plain value: numbers, texts, or true and false."
        raise _refusal(name, f"holds values of mixed or nested kinds ({kinds})", remedy)
    return _number(name, values)


def _number(name: str, values: Sequence[float]) -> FeatureSpec:
    if not all(math.isfinite(value) for value in values):
        raise _refusal(name, "holds infinite values", "JSON has none: replace them in the sample and in training.")
    low, high = min(values), max(values)
    whole = all(isinstance(value, int) for value in values) and max(abs(low), abs(high)) <= LARGEST_INTEGER
    room = float(GENEROSITY) * max(high - low, abs(high), abs(low), 1)
    kind = FeatureType.INTEGER if whole else FeatureType.NUMERIC
    if not math.isfinite(room + abs(high) + abs(low)):
        return FeatureSpec(name, kind, required=False)
    return FeatureSpec(name, kind, required=False, minimum=-_rounded_up(room - low), maximum=_rounded_up(room + high))


def _rounded_up(value: float) -> float:
    """Outwards to two digits: a limit that reads as what it is, a generous guess. Whole from 10 on."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(math.ceil(value / unit) * unit)


def _remark(spec: FeatureSpec, values: Sequence[Any]) -> str:
    if not values:
        return "It never had a value in the sample: taken for a number."
    distinct = len(set(values))
    if distinct == 1:
        return "It had one value only in the sample."
    if spec.type is FeatureType.CATEGORY and all(_DATE.match(value) for value in values):
        return "It holds dates as text: each new day is a category that the model has never seen."
    if spec.type is FeatureType.CATEGORY and distinct > max(MANY_CATEGORIES, len(values) / 2):
        return f"It had {distinct} categories in {len(values)} values: an identifier or free text tells a model little."
    if spec.type is FeatureType.INTEGER and distinct == len(values):
        return "It had another whole number in each row: an identifier, if it is one, tells a model little."
    return ""


def _value(spec: FeatureSpec, value: Any) -> Value:
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or plain is pd.NA or plain is pd.NaT or (isinstance(plain, float) and math.isnan(plain)):
        return None
    return float(plain) if spec.type is FeatureType.NUMERIC else plain


def _refusal(name: str, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"The column {name!r} {what}, which no feature can be.", remedy)
