"""Infer the schema from the sample: types, limits, and what the model does with words, order and measures."""

import datetime
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stillsafe.core.schema import (
    LARGEST_INTEGER,
    OPEN_TYPES,
    FeatureSpec,
    FeatureType,
    Row,
    Schema,
    Value,
)
from stillsafe.core.text import join_names
from stillsafe.errors import ConfigurationError
from stillsafe.init.conversion import equal_scores
from stillsafe.init.date_columns import common_date_format, date_remark, number_date_format, text_date_formats
from stillsafe.model.model import Model
from stillsafe.model.parts import (
    encoded_columns,
    opaque_columns,
    ordered_categories,
    vectorized_columns,
)

LIMIT_FACTOR = 10
"""Limits of a feature whose model fails far beyond the sample, in spans of its values."""
LONGEST_USUAL_CATEGORY = 200
MANY_CATEGORIES = 40
OPEN_ENDED_CHANCE = 0.5
"""Chance of a new value from which on a text is open-ended: more of its values are new than known."""
FEWEST_VALUES = 30
"""Values below which the chance of a new value is not known."""
READ_WORDS_CHANCE = 0.05
"""The same for a text of which the model reads the words: below it, a set of phrases is watched better one by one."""
WITH_SPACES = 0.5
"""Share of the values with a space from which on an open-ended text consists of words."""
CONFIDENCE = 0.95
"""How sure the stated share of values below a limit is."""
NO_OTHER_LIMITS = (
    "Other limits of numbers exclude only what the model cannot answer. A number far outside those of the sample is "
    "answered, and the monitor judges it. If it cannot be valid, set a limit."
)
MOST_ROWS_TRIED = 200
MOST_NAMES = 12
_TIME_TYPES = (datetime.date, datetime.time, datetime.timedelta, pd.Period)


@dataclass(frozen=True, slots=True)
class InferredSchema:
    """The schema, and what the person who reviews it should know.

    Attributes:
        schema: the features.
        remarks: per feature, what is unusual about it, one sentence.
        certainty: how sure the limits and kinds are, one sentence each.
    """

    schema: Schema
    remarks: dict[str, str]
    certainty: tuple[str, ...] = ()


def describe(features: pd.DataFrame, dates: str | None = None) -> InferredSchema:
    """Infer each column's type and wide limits, with every feature optional and every category open.

    Args:
        features: the sample.
        dates: the order of day and month in dates, or their format, as the owner states it.

    Raises:
        ConfigurationError: a column has values that no feature type can represent.
    """
    specs, remarks, never_negative = [], {}, {}
    for name in features:
        values = _present(features[name])
        spec = _spec(str(name), values, dates)
        specs.append(spec)
        if spec.minimum == 0:
            never_negative[spec.name] = len(values)
        if remark := _remark(spec, values):
            remarks[spec.name] = remark
    has_numbers = any(spec.maximum is not None for spec in specs)
    certainty = (*_minimum_certainty(never_negative), *([NO_OTHER_LIMITS] if has_numbers else []))
    return InferredSchema(Schema(tuple(specs)), remarks, certainty)


def _minimum_certainty(never_negative: dict[str, int]) -> Iterator[str]:
    """How sure a minimum of zero is.

    If none of n values is negative, the share p of negative ones satisfies (1 - p)^n >= 1 - confidence
    (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934; the "rule of three").
    """
    if never_negative:
        count = min(never_negative.values())
        share = 1 - (1 - CONFIDENCE) ** (1 / count)
        yield (
            f"The minimum is 0 where no value of the sample is negative: {join_names(never_negative, MOST_NAMES)}. "
            f"From {count} values it is {CONFIDENCE:.0%} sure that fewer than {share:.2%} are. If negative values are "
            "valid, set a lower minimum."
        )


def with_measures(inferred_spec: InferredSchema, model: Model, rows: Sequence[Row]) -> InferredSchema:
    """The schema with whole numbers as `numeric` where the model treats them as measures, so that 999.95 is served.

    A column is a code if an encoder takes it, and unknown if a function or a transformer of another package does.

    Args:
        inferred_spec: the result of `describe`.
        model: the model with that schema.
        rows: the sample.
    """
    names = model.features.names
    whole_names = [spec.name for spec in model.features.features if spec.type is FeatureType.INTEGER]
    codes = [name for name in whole_names if name in encoded_columns(model.estimator, names)]
    opaque = opaque_columns(model.estimator, names)
    unknown = [name for name in whole_names if name not in codes and name in opaque]
    measures = [name for name in whole_names if name not in codes and name not in unknown]
    if measures and not _answers_stay(model, _numeric(model.features, measures), measures, rows):
        unknown, measures = [*unknown, *measures], []
    sentences = (
        ("Whole numbers that the model treats as measures are numeric, so fractions are served", measures),
        ("Whole numbers that the model encodes are codes: each is watched as a category is", codes),
        ("Whole numbers stay integer, since it is not certain that the model treats them as measures", unknown),
    )
    certainty = (f"{sentence}: {join_names(group, MOST_NAMES)}." for sentence, group in sentences if group)
    return replace(
        inferred_spec, schema=_numeric(inferred_spec.schema, measures), certainty=(*inferred_spec.certainty, *certainty)
    )


def with_texts(inferred_spec: InferredSchema, model: Model, rows: Sequence[Row]) -> InferredSchema:
    """The schema with the columns as free text of which the model reads single words.

    Args:
        inferred_spec: the result of `describe`.
        model: the model with that schema.
        rows: the sample.
    """
    words = vectorized_columns(model.estimator, model.features.names)
    closed_types = (FeatureType.CATEGORY, FeatureType.IDENTIFIER)
    names = [spec.name for spec in model.features.features if spec.name in words and spec.type in closed_types]
    texts = {name: [row[name] for row in rows if isinstance(row[name], str)] for name in names}
    remarks = {
        name: f"The model reads its words. {text_remark(each)}"
        for name, each in texts.items()
        if len(each) >= FEWEST_VALUES and new_value_chance(each) > READ_WORDS_CHANCE
    }
    specs = (
        replace(spec, type=FeatureType.TEXT) if spec.name in remarks else spec for spec in inferred_spec.schema.features
    )
    return replace(inferred_spec, schema=Schema(tuple(specs)), remarks={**inferred_spec.remarks, **remarks})


def with_orders(inferred_spec: InferredSchema, model: Model, features: pd.DataFrame) -> InferredSchema:
    """The schema with a sentence about the order of categories, as the model's encoder or the sample has it.

    Args:
        inferred_spec: the result of `describe`.
        model: the model with that schema.
        features: the sample.
    """
    orders = ordered_categories(model.estimator, model.features.names)
    for name, dtype in features.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
            orders[str(name)] = tuple(dtype.categories)
    sentences = (
        f"The categories of {name} have an order: {' < '.join(map(str, orders[name][:MOST_NAMES]))}. Each is watched "
        "by itself, and what a shift towards one costs is measured on the model."
        for name in inferred_spec.schema.names
        if name in orders
    )
    return replace(inferred_spec, certainty=(*inferred_spec.certainty, *sentences))


def text_remark(values: Sequence[Any]) -> str:
    """What free text was taken for, how sure that is, and how to change it."""
    with_spaces = sum(" " in value.strip() for value in values) / max(len(values), 1)
    return (
        f"{_news(values)}, {with_spaces:.0%} with several words, so it is free text: watched by its length, the script "
        'of its letters and the share of words that the sample lacks. If it is none, set `type = "category"` or '
        '`"identifier"`.'
    )


def _news(values: Sequence[Any]) -> str:
    return f"New values keep coming ({new_value_chance(values):.0%} of the next ones are new)"


def _numeric(schema: Schema, names: Sequence[str]) -> Schema:
    return Schema(
        tuple(replace(spec, type=FeatureType.NUMERIC) if spec.name in names else spec for spec in schema.features)
    )


def _answers_stay(model: Model, schema: Schema, names: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether the model gives the same answers for the same numbers as decimals, and answers fractions as well."""
    tried_rows = rows[:: max(1, len(rows) // MOST_ROWS_TRIED)]
    decimals = [{**row, **{name: _with_offset(row[name], 0.0) for name in names}} for row in tried_rows]
    fractions = [{**row, **{name: _with_offset(row[name], 0.5) for name in names}} for row in tried_rows]
    numeric_model = replace(model, features=schema)
    scores, decimal_scores, fraction_scores = (
        each.score_with_failures(each_rows)[0]
        for each, each_rows in ((model, tried_rows), (numeric_model, decimals), (numeric_model, fractions))
    )
    is_equal = all(equal_scores(*pair) for pair in zip(scores, decimal_scores, strict=True))
    return is_equal and all(
        score.error is None for old_spec, score in zip(scores, fraction_scores, strict=True) if old_spec.error is None
    )


def _with_offset(value: Value, shift: float) -> Value:
    return None if value is None or isinstance(value, str) else float(value) + shift


def rows_of(features: pd.DataFrame, schema: Schema) -> list[Row]:
    """The sample's rows as requests would carry them: plain values, None for missing."""
    columns = [_values(spec, features[spec.name]) for spec in schema.features]
    return [dict(zip(schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _present(column: "pd.Series[Any]") -> list[Any]:
    """The values that are not missing, plain."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb":
        return list(column.dropna().tolist())
    return [value.item() if isinstance(value, np.generic) else value for value in column.dropna().tolist()]


def _spec(name: str, values: Sequence[Any], dates: str | None = None) -> FeatureSpec:
    types = {*map(type, values)}
    if not values:
        return FeatureSpec(name, FeatureType.NUMERIC, required=False)
    if types <= {int, float}:
        return _number(name, values)
    if any(isinstance(value, _TIME_TYPES) for value in values):
        raise _refusal(name, "has times", "Convert them to numbers (an hour, an age) before they reach the model.")
    if all(isinstance(value, bool) for value in values):
        return FeatureSpec(name, FeatureType.BOOLEAN, required=False)
    if all(isinstance(value, str) for value in values):
        longest = max(LONGEST_USUAL_CATEGORY, 2 * max(len(value) for value in values))
        formats, common_format = text_date_formats(values, dates), None
        if formats or (common_format := common_date_format(values, dates)):
            form = formats[0] if formats else common_format
            return FeatureSpec(name, FeatureType.DATE, required=False, max_length=longest, date_format=form)
        return FeatureSpec(name, _text_type(values), required=False, max_length=longest)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        remedy = "Use one type of plain value per column: numbers, texts, or true and false."
        raise _refusal(name, f"has values of mixed or nested kinds ({kinds})", remedy)
    return _number(name, values)


def _text_type(values: Sequence[str]) -> FeatureType:
    if len(values) < FEWEST_VALUES or new_value_chance(values) <= OPEN_ENDED_CHANCE:
        return FeatureType.CATEGORY
    with_spaces = sum(" " in value.strip() for value in values)
    return FeatureType.TEXT if with_spaces > WITH_SPACES * len(values) else FeatureType.IDENTIFIER


def new_value_chance(values: Sequence[object]) -> float:
    """Chance that the next value is new: the share of the values that occur once (the Good-Turing estimate)."""
    return sum(count == 1 for count in Counter(values).values()) / len(values)


def _number(name: str, values: Sequence[float]) -> FeatureSpec:
    if not all(map(math.isfinite, values)):
        raise _refusal(
            name, "has infinite values", "JSON has none: replace them in the sample and in the training data."
        )
    low, high = min(values), max(values)
    whole = all(isinstance(value, int) for value in values) and max(abs(low), abs(high)) <= LARGEST_INTEGER
    date_format = number_date_format(name, values)
    room = float(LIMIT_FACTOR) * max(high - low, abs(high), abs(low), 1)
    kind = FeatureType.INTEGER if whole else FeatureType.NUMERIC
    if not math.isfinite(room + abs(high) + abs(low)):
        return FeatureSpec(name, kind, required=False)
    minimum = 0.0 if low >= 0 else -_round_up(room - low)
    return FeatureSpec(
        name, kind, required=False, minimum=minimum, maximum=_round_up(room + high), date_format=date_format
    )


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
    if spec.type is FeatureType.DATE or spec.date_format is not None:
        return date_remark(spec, values)
    if spec.type is FeatureType.TEXT:
        return text_remark(values)
    if spec.type in OPEN_TYPES:
        return (
            f"{_news(values)}, most of them one word, so it is an identifier and its form is watched: missing values, "
            'length and characters. If it is none, set `type = "text"` or `"category"`.'
        )
    if spec.type is FeatureType.CATEGORY and distinct > max(MANY_CATEGORIES, len(values) / 2):
        return f"It has {distinct} categories in {len(values)} values: an identifier or free text helps a model little."
    if spec.type is FeatureType.INTEGER and distinct == len(values):
        return "It has a different whole number in each row: if it is an identifier, it helps a model little."
    return ""


def _values(spec: FeatureSpec, column: "pd.Series[Any]") -> list[Value]:
    if not isinstance(column.dtype, np.dtype) or column.dtype.kind not in "iuf":
        return [_value(spec, value) for value in column.tolist()]
    numbers = column.astype(np.float64) if spec.type is FeatureType.NUMERIC else column
    values = numbers.tolist()
    return [None if is_missing else value for value, is_missing in zip(values, column.isna().tolist(), strict=True)]


def _value(spec: FeatureSpec, value: Any) -> Value:
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or plain is pd.NA or plain is pd.NaT or (isinstance(plain, float) and math.isnan(plain)):
        return None
    return float(plain) if spec.type is FeatureType.NUMERIC else plain


def _refusal(name: str, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"The column {name!r} {problem}, which no feature type can represent.", remedy)
