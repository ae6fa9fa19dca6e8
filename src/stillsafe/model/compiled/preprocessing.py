"""Rows to the matrix that a fitted pipeline's last step is given, without a data frame on the way.

A frame and scikit-learn's checks cost many times what the steps compute on a few rows. Each step here is the
fitted one's own numbers, applied in the same order to arrays; of encoders of categories it is a table of what they
answer when asked. Whether a matrix is the same to the bit is proven, not assumed: see `proof`.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stillsafe.core.schema import FeatureType, Row, Schema
from stillsafe.errors import StillsafeError
from stillsafe.model.confidence import Numbers

Values = list[list[Any]]
"""Per row the values of some columns, None for missing."""
Block = Numbers | Values
Step = Callable[[Block], Block]
Encoder = Callable[[Sequence[Row]], Numbers]

_UNSEEN = "\x00 never seen \x00"
_NUMBERS = {FeatureType.NUMERIC, FeatureType.INTEGER}


class CannotCompile(StillsafeError):
    """A part of the model is none of those that are known, or is used in a way that is not."""


def encoder(steps: Sequence[Any], schema: Schema, names: Sequence[str]) -> Encoder:
    """What stands for these fitted steps.

    Args:
        steps: the transformers of a pipeline, in order.
        schema: the features of the rows.
        names: the columns that the first step takes, in its order.

    Returns:
        A function of n clean rows to an (n, width) matrix, float64. It raises ValueError on rows that the steps
        would raise it on.

    Raises:
        CannotCompile: a step, or a way of using it, is not known here.
    """
    real = [step for step in steps if step is not None and step != "passthrough"]
    if real and _kind(real[0]) == "ColumnTransformer":
        first, rest = _beside(real[0], schema, names), _chain(real[1:])
    else:
        first, rest = _selected(schema, names), _chain(real)

    def encode(rows: Sequence[Row]) -> Numbers:
        return _numbers(rest(first(rows)))

    return encode


def _beside(transformer: Any, schema: Schema, names: Sequence[str]) -> Callable[[Sequence[Row]], Block]:
    """A ColumnTransformer: each part takes some columns, and their outputs stand side by side."""
    parts = []
    for _, step, columns in transformer.transformers_:
        chosen = _columns(columns, names)
        if chosen and step != "drop":
            parts.append((_selected(schema, chosen), _chain([] if step == "passthrough" else [step])))
    if not parts:
        raise CannotCompile("a ColumnTransformer that keeps no column")

    def apply(rows: Sequence[Row]) -> Block:
        return np.concatenate([_numbers(chain(select(rows))) for select, chain in parts], axis=1)

    return apply


def _columns(columns: Any, names: Sequence[str]) -> list[str]:
    """A ColumnTransformer's choice of columns, by name."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        raise CannotCompile("columns chosen by a slice")
    chosen = list(np.asarray(columns, dtype=object).ravel())
    if all(isinstance(each, str) for each in chosen):
        return [str(each) for each in chosen]
    if chosen and all(isinstance(each, bool | np.bool_) for each in chosen):
        return [name for name, taken in zip(names, chosen, strict=True) if taken]
    return [names[int(each)] for each in chosen]


def _selected(schema: Schema, names: Sequence[str]) -> Callable[[Sequence[Row]], Block]:
    """Some columns of the rows: numbers where all of them are, with NaN for missing."""
    specs = {spec.name: spec for spec in schema.features}
    chosen = list(names)
    if all(_is_number(specs[name].type, required=specs[name].required) for name in chosen):
        return lambda rows: np.array([[row.get(name) for name in chosen] for row in rows], dtype=np.float64)
    return lambda rows: [[row.get(name) for name in chosen] for row in rows]


def _is_number(kind: FeatureType, *, required: bool) -> bool:
    # A boolean that may be missing is an object in a frame, and goes with the categories.
    return kind in _NUMBERS or (kind is FeatureType.BOOLEAN and required)


def _chain(steps: Sequence[Any]) -> Step:
    made: list[Step] = []
    for step in steps:
        if _kind(step) == "Pipeline":
            made.append(_chain([inner for _, inner in step.steps if inner is not None and inner != "passthrough"]))
        elif make := _STEPS.get(_kind(step)):
            made.append(make(step))
        else:
            raise CannotCompile(f"{type(step).__name__} is no step that is known")

    def apply(block: Block) -> Block:
        for step in made:
            block = step(block)
        return block

    return apply


def _kind(step: Any) -> str:
    """A class of scikit-learn by its name; nothing of anybody else's, which may be called the same."""
    return type(step).__name__ if type(step).__module__.startswith("sklearn.") else ""


def _numbers(block: Block) -> Numbers:
    if isinstance(block, list):
        raise CannotCompile("a column that is no number is never encoded")
    return block


def _untouched(step: Any) -> Step:
    """A fitted ColumnTransformer keeps `passthrough` as a FunctionTransformer without a function."""
    if step.func is not None:
        raise CannotCompile("a FunctionTransformer, whose function may do anything")
    return lambda block: block


def _imputer(step: Any) -> Step:
    missing = step.missing_values
    if step.add_indicator or not (isinstance(missing, float) and math.isnan(missing)):
        raise CannotCompile("a SimpleImputer with an indicator, or of other missing values than NaN")
    fills = [fill.item() if isinstance(fill, np.generic) else fill for fill in step.statistics_]
    if any(fill is None or fill != fill for fill in fills):
        raise CannotCompile("a SimpleImputer that drops a column")

    def apply(block: Block) -> Block:
        if isinstance(block, list):
            return [[fill if value is None else value for value, fill in zip(row, fills, strict=True)] for row in block]
        return np.where(np.isnan(block), numbers, block)

    numbers = np.asarray(fills, np.float64) if all(isinstance(fill, int | float) for fill in fills) else np.empty(0)
    return apply


def _affine(*, less: Any = None, over: Any = None, times: Any = None, plus: Any = None, clip: Any = None) -> Step:
    """`(x - less) / over * times + plus`, each where it is given, in this order, as scikit-learn's scalers do it."""

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


def _lookups(step: Any) -> Step:
    """An encoder of categories, as one table a column: what it makes of each category, of missing, and of another."""
    widths = getattr(step, "_n_features_outs", [1] * len(step.categories_))
    ends = np.cumsum(widths)
    tables = [
        _table(step, column, end - width, end) for column, (width, end) in enumerate(zip(widths, ends, strict=True))
    ]

    def apply(block: Block) -> Block:
        rows = block if isinstance(block, list) else block.tolist()
        parts = []
        for column, (places, outputs, other) in enumerate(tables):
            found = [places.get(_key(row[column]), other) for row in rows]
            if None in found:
                raise ValueError("a category that the encoder refuses")
            parts.append(outputs[np.array(found, np.intp)])
        return np.concatenate(parts, axis=1)

    return apply


def _table(step: Any, column: int, start: int, end: int) -> tuple[dict[Any, int | None], Numbers, int | None]:
    """Where each category's output is, the outputs, and where that of a category never seen is; None: refused."""
    known = [value for value in _learnt(step, column) if _key(value) is not None]
    unseen = _UNSEEN if any(isinstance(value, str) for value in known) or not known else max(known) + 1
    outputs = list(_encoded(step, column, known)[:, start:end]) if known else []

    def place_of(value: Any) -> int | None:
        try:
            outputs.append(_encoded(step, column, [value])[0, start:end])
        except ValueError:
            return None
        return len(outputs) - 1

    places: dict[Any, int | None] = {_key(value): place for place, value in enumerate(known)}
    places[None] = place_of(np.nan)
    other = place_of(unseen)
    return places, np.array(outputs, np.float64).reshape(-1, end - start), other


def _encoded(step: Any, column: int, values: Sequence[Any]) -> Numbers:
    """What the fitted encoder makes of rows with these values in a column, and ordinary ones in the others."""
    import pandas as pd

    usual = [
        next((c for c in _learnt(step, other) if _key(c) is not None), None) for other in range(len(step.categories_))
    ]
    probe = [[*usual[:column], value, *usual[column + 1 :]] for value in values]
    names = getattr(step, "feature_names_in_", None)
    inputs = np.array(probe, dtype=object) if names is None else pd.DataFrame(probe, columns=names, dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a category is unknown
        encoded = step.transform(inputs)
    return np.asarray(encoded.toarray() if hasattr(encoded, "toarray") else encoded, np.float64)


def _learnt(step: Any, column: int) -> list[Any]:
    return [value.item() if isinstance(value, np.generic) else value for value in step.categories_[column]]


def _key(value: Any) -> Any:
    """A category as a table knows it: None for every kind of missing."""
    return None if value is None or value != value else value


_STEPS: dict[str, Callable[[Any], Step]] = {
    "FunctionTransformer": _untouched,
    "SimpleImputer": _imputer,
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "OneHotEncoder": _lookups,
    "OrdinalEncoder": _lookups,
}
