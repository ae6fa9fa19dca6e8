"""Convert tables of an owner's program to rows as a request would carry them: plain values, None where one is missing.

`backtest`, `score` and `Guard` read tables here, so that the same cell is the same value in all of them.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from stillsafe.core.schema import TEXT_TYPES, FeatureSpec, Schema

_PLAIN_TYPES = frozenset((str, float, int, bool, type(None)))

if TYPE_CHECKING:
    import pandas as pd


def rows_of(schema: Schema, table: "pd.DataFrame") -> list[dict[str, object]]:
    """The rows of a table, not yet checked; a feature whose column is missing is in none of them.

    Columns that are no features are left out.

    Raises:
        ValueError: a feature has several columns.
    """
    require_single_columns(schema, table)
    columns = {spec.name: feature_values(spec, table[spec.name]) for spec in schema.features if spec.name in table}
    if not columns:
        return [{} for _ in range(len(table))]
    names = [*columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def require_single_columns(schema: Schema, table: "pd.DataFrame") -> None:
    """Require that no feature has several columns: which of them is meant is not known.

    Raises:
        ValueError: the feature.
    """
    if table.columns.is_unique:
        return
    names = [*table.columns]
    if name := next((spec.name for spec in schema.features if names.count(spec.name) > 1), None):
        raise ValueError(f"The data frame has the column {name!r} {names.count(name)} times. Rename the others.")


def feature_values(spec: FeatureSpec, column: "pd.Series[Any]") -> list[object]:
    """The values of one feature. A table from elsewhere may have numbers or times where the schema has texts."""
    values = plain_values(column)
    if spec.type not in TEXT_TYPES or {*map(type, values)} <= {str, type(None)}:
        return values
    return [_as_text(value) for value in values]


def plain_values(column: "pd.Series[Any]") -> list[object]:
    """The values of a column as plain Python values, None where one is missing."""
    is_present = column.notna().to_numpy()
    values = column.astype(object).tolist()
    if {*map(type, values)} <= _PLAIN_TYPES:
        if is_present.all():
            return values
        return [value if each else None for value, each in zip(values, is_present.tolist(), strict=True)]
    present = is_present.tolist()
    return [_plain_number(value) if is_present else None for value, is_present in zip(values, present, strict=True)]


def plain_row(features: Any) -> Any:
    """Features of a program as a request would carry them: NumPy's scalars as Python's, times as text, None for NaN.

    A pandas row becomes a dictionary. What is neither is returned unchanged, and the schema refuses it.
    """
    if not isinstance(features, Mapping):
        to_dict = getattr(features, "to_dict", None)
        if to_dict is None:
            return features
        features = to_dict()
    return {name: _plain(value) for name, value in features.items()}


def plain_rows(schema: Schema, table: object) -> list[object]:
    """The rows of a data frame or of a sequence of mappings, not yet checked.

    Raises:
        TypeError: it is neither.
    """
    if is_frame(table):
        return [*rows_of(schema, table)]  # type: ignore[arg-type] # a data frame
    if isinstance(table, Sequence) and not isinstance(table, str | bytes):
        return [plain_row(features) for features in table]
    raise TypeError(f"{type(table).__name__} is neither a data frame nor a list of rows")


def is_frame(table: object) -> bool:
    """Whether it is a data frame; pandas is not imported for the question."""
    return hasattr(table, "columns") and hasattr(table, "iloc")


def _plain_number(value: object) -> object:
    """A scalar of NumPy or a decimal as Python's own number."""
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, Decimal):
        return value
    if value.is_nan():
        return None
    # An exponent may stand for more digits than there is memory.
    return int(value) if value.as_tuple().exponent == 0 else float(value)


def _plain(value: object) -> object:
    value = _plain_number(value)
    if type(value).__name__ == "NAType":  # pandas' missing value, which equals nothing and is neither true nor false
        return None
    # NaN and pandas' missing time are the values that differ from themselves.
    if isinstance(value, float | date) and value != value:
        return None
    return value.isoformat() if isinstance(value, date) else value


def _as_text(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, int | float) else value
