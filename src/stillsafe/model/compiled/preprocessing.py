"""Convert rows to the matrix that a fitted pipeline passes to its last step, without a data frame.

For a few rows, a frame and scikit-learn's input checks cost many times more than the steps themselves. Each step here
applies the fitted step's numbers to arrays, in the same order. An encoder of categories becomes a lookup table of its
outputs. `equivalence` checks that the resulting model predicts the same.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stillsafe.core.schema import FeatureType, Row, Schema
from stillsafe.errors import StillsafeError
from stillsafe.model.boosters.adapter import BoosterModel
from stillsafe.model.confidence import Numbers
from stillsafe.model.feature_columns import FeatureColumns

Values = list[Sequence[Any]]
"""Per column its values, None for missing."""
Block = Numbers | Values
Step = Callable[[Block], Block]
Encoder = Callable[[Sequence[Row]], Any]

FEWEST_REPEATED = 32
"""From so many values on, each that differs is looked up once."""
_UNSEEN_CATEGORY = "\x00 never seen \x00"
_NUMBERS = {FeatureType.NUMERIC, FeatureType.INTEGER}


class CannotCompile(StillsafeError):
    """A part of the model, or the way in which it is used, is not supported by the compiler."""


def encoder(steps: Sequence[Any], schema: Schema, names: Sequence[str], booster: BoosterModel | None = None) -> Encoder:
    """Compile fitted transformers.

    Args:
        steps: the transformers of a pipeline, in order.
        schema: the features of the rows.
        names: the input columns of the first step, in its order.
        booster: takes what the steps give, texts as well; None for an estimator that takes a matrix of numbers.

    Returns:
        A function from n clean rows to an (n, width) float64 matrix, or to what the booster takes.
        It raises ValueError for the same rows as the fitted steps.

    Raises:
        CannotCompile: a step, or the way in which it is used, is not supported.
    """
    active = [step for step in steps if step is not None and step != "passthrough"]
    if active and _kind(active[0]) == "ColumnTransformer":
        first, rest = _column_transformer(active[0], schema, names), _chain(active[1:])
    else:
        first, rest = _select(schema, names), _chain(active)

    finish = _numbers if booster is None else _booster_input(booster)

    def encode(rows: Sequence[Row]) -> Any:
        return finish(rest(first(rows)))

    return encode


def _booster_input(booster: BoosterModel) -> Callable[[Block], Any]:
    """What a booster takes: a matrix of numbers, or per row a list of values."""

    def encode(block: Block) -> Any:
        return booster.encode_values([*map(list, zip(*block, strict=True))] if isinstance(block, list) else block)

    return encode


def _column_transformer(transformer: Any, schema: Schema, names: Sequence[str]) -> Callable[[Sequence[Row]], Block]:
    """A ColumnTransformer: each part takes some columns, and the outputs are concatenated."""
    parts = []
    for _, step, columns in transformer.transformers_:
        inputs = _columns(columns, names)
        if inputs and step != "drop":
            parts.append((_select(schema, inputs), _chain([] if step == "passthrough" else [step])))
    if not parts:
        raise CannotCompile("a ColumnTransformer that keeps no column")

    def apply(rows: Sequence[Row]) -> Block:
        return np.concatenate([_numbers(chain(select(rows))) for select, chain in parts], axis=1)

    return apply


def _columns(columns: Any, names: Sequence[str]) -> list[str]:
    """The input columns of a ColumnTransformer's part, by name."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        raise CannotCompile("columns chosen by a slice")
    selectors = list(np.asarray(columns, dtype=object).ravel())
    if all(isinstance(selector, str) for selector in selectors):
        return [str(name) for name in selectors]
    if selectors and all(isinstance(selector, bool | np.bool_) for selector in selectors):
        return [name for name, is_selected in zip(names, selectors, strict=True) if is_selected]
    return [names[int(position)] for position in selectors]


def _select(schema: Schema, names: Sequence[str]) -> Callable[[Sequence[Row]], Block]:
    """Select columns of the rows: an array of numbers with NaN for missing if every column is numeric, else lists."""
    by_name = {spec.name: spec for spec in schema.features}
    columns, specs = list(names), [by_name[name] for name in names]
    if all(_is_number(spec.type, required=spec.required) for spec in specs):

        def numbers(rows: Sequence[Row]) -> Block:
            if isinstance(rows, FeatureColumns):
                return np.column_stack([rows.numbers(name) for name in columns])
            return np.array([[row.get(name) for name in columns] for row in rows], dtype=np.float64)

        return numbers

    def values(rows: Sequence[Row]) -> Block:
        if isinstance(rows, FeatureColumns):
            return [rows.values(spec) for spec in specs]
        return [[row.get(name) for row in rows] for name in columns]

    return values


def _is_number(kind: FeatureType, *, required: bool) -> bool:
    # A boolean that may be missing has the dtype object in a frame, so we treat it as a category.
    return kind in _NUMBERS or (kind is FeatureType.BOOLEAN and required)


def _chain(steps: Sequence[Any]) -> Step:
    compiled_steps: list[Step] = []
    for step in steps:
        if _kind(step) == "Pipeline":
            compiled_steps.append(
                _chain([inner for _, inner in step.steps if inner is not None and inner != "passthrough"])
            )
        elif make := _STEPS.get(_kind(step)):
            compiled_steps.append(make(step))
        else:
            raise CannotCompile(f"{type(step).__name__} is not supported")

    def apply(block: Block) -> Block:
        for step in compiled_steps:
            block = step(block)
        return block

    return apply


def _kind(step: Any) -> str:
    """The name of a class of scikit-learn; empty for a class of another package, which may have the same name."""
    return type(step).__name__ if type(step).__module__.startswith("sklearn.") else ""


def _numbers(block: Block) -> Numbers:
    if isinstance(block, list):
        raise CannotCompile("a column of categories is not encoded")
    return block


def _passthrough(step: Any) -> Step:
    """A fitted ColumnTransformer replaces `passthrough` by a FunctionTransformer without a function."""
    if step.func is not None:
        raise CannotCompile("a FunctionTransformer with a function")
    return lambda block: block


def _imputer(step: Any) -> Step:
    missing = step.missing_values
    if step.add_indicator or not (isinstance(missing, float) and math.isnan(missing)):
        raise CannotCompile("a SimpleImputer with an indicator, or with a missing value other than NaN")
    fills = [fill.item() if isinstance(fill, np.generic) else fill for fill in step.statistics_]
    if any(fill is None or fill != fill for fill in fills):
        raise CannotCompile("a SimpleImputer that drops a column")

    def apply(block: Block) -> Block:
        if isinstance(block, list):
            return [
                column if None not in column else [fill if value is None else value for value in column]
                for column, fill in zip(block, fills, strict=True)
            ]
        return np.where(np.isnan(block), numbers, block)

    numbers = np.asarray(fills, np.float64) if all(isinstance(fill, int | float) for fill in fills) else np.empty(0)
    return apply


def _affine(*, less: Any = None, over: Any = None, times: Any = None, plus: Any = None, clip: Any = None) -> Step:
    """`(x - less) / over * times + plus`, in the order of scikit-learn's scalers; an operand of None is left out."""

    def apply(block: Block) -> Block:
        numbers = _numbers(block)
        if less is not None:
            numbers = numbers - less
        if over is not None:
            numbers = numbers / over
        if times is not None:
            numbers = numbers * times
        if plus is not None:
            numbers = numbers + plus
        return numbers if clip is None else np.clip(numbers, *clip)

    return apply


def _standard(step: Any) -> Step:
    return _affine(less=step.mean_ if step.with_mean else None, over=step.scale_ if step.with_std else None)


def _robust(step: Any) -> Step:
    return _affine(less=step.center_ if step.with_centering else None, over=step.scale_ if step.with_scaling else None)


def _min_max(step: Any) -> Step:
    return _affine(times=step.scale_, plus=step.min_, clip=step.feature_range if step.clip else None)


def _max_abs(step: Any) -> Step:
    if getattr(step, "clip", False):
        raise CannotCompile("a MaxAbsScaler that clips")
    return _affine(over=step.scale_)


def _category_encoder(step: Any) -> Step:
    """An encoder of categories as one lookup table per column: known categories, missing, and unseen."""
    widths = getattr(step, "_n_features_outs", [1] * len(step.categories_))
    ends = np.cumsum(widths)
    tables = [
        _table(step, column, end - width, end) for column, (width, end) in enumerate(zip(widths, ends, strict=True))
    ]

    def apply(block: Block) -> Block:
        columns = block if isinstance(block, list) else block.T.tolist()
        parts = []
        for column, (positions, outputs, unseen) in zip(columns, tables, strict=True):
            row_positions = _positions(column, positions, unseen)
            if None in row_positions:
                raise ValueError("a category that the encoder refuses")
            parts.append(outputs[np.array(row_positions, np.intp)])
        return np.concatenate(parts, axis=1)

    return apply


def _positions(column: Sequence[Any], positions: Mapping[Any, int | None], unseen: int | None) -> list[int | None]:
    """The position of each value in a lookup table."""
    if len(column) < FEWEST_REPEATED:
        return [positions.get(_key(value), unseen) for value in column]
    place_of = {value: positions.get(_key(value), unseen) for value in set(column)}
    return list(map(place_of.__getitem__, column))


def _table(step: Any, column: int, start: int, end: int) -> tuple[dict[Any, int | None], Numbers, int | None]:
    """Category -> position of its output, the outputs, and the position for unseen categories; None: refused."""
    categories = [value for value in _categories(step, column) if _key(value) is not None]
    has_texts = any(isinstance(value, str) for value in categories)
    unseen_value = _UNSEEN_CATEGORY if has_texts or not categories else max(categories) + 1
    outputs = list(_encode(step, column, categories)[:, start:end]) if categories else []

    def add_output(value: Any) -> int | None:
        try:
            outputs.append(_encode(step, column, [value])[0, start:end])
        except ValueError:
            return None
        return len(outputs) - 1

    positions: dict[Any, int | None] = {_key(value): position for position, value in enumerate(categories)}
    positions[None] = add_output(np.nan)
    unseen = add_output(unseen_value)
    return positions, np.array(outputs, np.float64).reshape(-1, end - start), unseen


def _encode(step: Any, column: int, values: Sequence[Any]) -> Numbers:
    """The fitted encoder's output for rows with these values in one column and known categories in the others."""
    import pandas as pd

    defaults = [
        next((c for c in _categories(step, other) if _key(c) is not None), None)
        for other in range(len(step.categories_))
    ]
    probe = [[*defaults[:column], value, *defaults[column + 1 :]] for value in values]
    names = getattr(step, "feature_names_in_", None)
    inputs = np.array(probe, dtype=object) if names is None else pd.DataFrame(probe, columns=names, dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unknown categories warn
        outputs = step.transform(inputs)
    return np.asarray(outputs.toarray() if hasattr(outputs, "toarray") else outputs, np.float64)


def _categories(step: Any, column: int) -> list[Any]:
    return [value.item() if isinstance(value, np.generic) else value for value in step.categories_[column]]


def _key(value: Any) -> Any:
    """The key of a category in a lookup table: None for every kind of missing value."""
    return None if value is None or value != value else value


_STEPS: dict[str, Callable[[Any], Step]] = {
    "FunctionTransformer": _passthrough,
    "SimpleImputer": _imputer,
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "OneHotEncoder": _category_encoder,
    "OrdinalEncoder": _category_encoder,
}
