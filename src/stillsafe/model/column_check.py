"""The check of a table against the schema, by column. Rows that are not certainly right are left to the row rules.

So every refusal, with its words, comes from the one set of rules, and a column needs to be understood only as far as
that saves time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.schema import LARGEST_INTEGER, TEXT_TYPES, FeatureSpec, FeatureType, Row, Schema, Violation
from stillsafe.model.feature_columns import Column, FeatureColumns
from stillsafe.model.frame_rows import feature_values, require_single_columns

if TYPE_CHECKING:
    import pandas as pd

Flags = NDArray[np.bool_]
Checks = list[Row | tuple[Violation, ...] | None]
CheckRow = Callable[[dict[str, object]], Row | tuple[Violation, ...]]
RawColumns = Mapping[str, Sequence[Any] | NDArray[Any]]
_NOTHING = type(None)
_NUMBER_TYPES = frozenset((int, float, _NOTHING))


class CheckedColumns:
    """What became of the rows of a table.

    Attributes:
        rows: those that the schema accepts, in order.
        refusals: position of each other row -> what is wrong with it.
    """

    __slots__ = ("refusals", "rows")

    def __init__(self, rows: FeatureColumns, refusals: Mapping[int, tuple[Violation, ...]]) -> None:
        self.rows = rows
        self.refusals = refusals


def columns_of(schema: Schema, table: "pd.DataFrame") -> RawColumns:
    """The columns of a table that are features, not yet checked, as `rows_of` reads them; raises as it does."""
    require_single_columns(schema, table)
    return {spec.name: _raw_column(spec, table[spec.name]) for spec in schema.features if spec.name in table}


def check_columns(schema: Schema, columns: RawColumns, count: int, check_row: CheckRow) -> CheckedColumns:
    """Check every row of some columns.

    Args:
        schema: the features.
        columns: feature -> its values; one whose column is missing is in no row.
        count: the number of rows.
        check_row: the row rules: the clean row, or what is wrong with it.
    """
    sure = np.ones(count, np.bool_)
    clean: dict[str, Any] = {}
    for spec in schema.features:
        if spec.name in columns:
            clean[spec.name], is_right = _check(spec, columns[spec.name])
            sure &= is_right
        else:
            clean[spec.name] = [None] * count
            if spec.required or not spec.omittable:
                sure[:] = False
    if sure.all():
        return CheckedColumns(FeatureColumns(schema, clean, count), {})
    refusals = _apply_row_rules(columns, clean, np.flatnonzero(~sure).tolist(), check_row)
    is_kept = np.ones(count, np.bool_)
    is_kept[[*refusals]] = False
    return CheckedColumns(FeatureColumns(schema, _rows_at(clean, is_kept), int(is_kept.sum())), refusals)


def _apply_row_rules(
    columns: RawColumns, clean: dict[str, Any], places: Sequence[int], check_row: CheckRow
) -> dict[int, tuple[Violation, ...]]:
    """Check rows by themselves; put the values of those that are accepted into the clean columns."""
    refusals = {}
    for name, values in clean.items():
        if not isinstance(values, np.ndarray):
            clean[name] = [*values]
    for place in places:
        check = check_row({name: _plain_cell(column[place]) for name, column in columns.items()})
        if isinstance(check, tuple):
            refusals[place] = check
            continue
        for name, value in check.items():
            clean[name][place] = np.nan if value is None and isinstance(clean[name], np.ndarray) else value
    return refusals


def _raw_column(spec: FeatureSpec, column: "pd.Series[Any]") -> Sequence[Any] | NDArray[Any]:
    """The values as an array where NumPy has a type for all of them, else as plain values."""
    dtype = column.dtype
    is_plain = isinstance(dtype, np.dtype) and dtype.kind in "fiu" and dtype.itemsize <= 8
    return column.to_numpy() if is_plain and spec.type not in TEXT_TYPES else feature_values(spec, column)


def _plain_cell(value: Any) -> object:
    plain = value.item() if isinstance(value, np.generic) else value
    return None if plain != plain else plain


def _check(spec: FeatureSpec, column: Sequence[Any] | NDArray[Any]) -> tuple[Column, Flags]:
    """The clean values, and of which it is certain that they are right; the others are any values."""
    if spec.type in TEXT_TYPES or spec.type is FeatureType.BOOLEAN:
        values: Sequence[Any] = column.tolist() if isinstance(column, np.ndarray) else column
        return values, _right_values(spec, values)
    return _check_numbers(spec, column)


def _right_values(spec: FeatureSpec, values: Sequence[Any]) -> Flags:
    """Which texts or flags the rule of the feature accepts; it is evaluated once for each that differs."""
    kind = bool if spec.type is FeatureType.BOOLEAN else str
    if not {*map(type, values)} <= {kind, _NOTHING}:  # values of other types could be equal to some of these
        return np.array([(type(each) is kind or each is None) and _is_right(spec, each) for each in values], np.bool_)
    verdicts = {each: _is_right(spec, each) for each in set(values)}
    if all(verdicts.values()):
        return np.ones(len(values), np.bool_)
    return np.fromiter(map(verdicts.__getitem__, values), np.bool_, len(values))


def _is_right(spec: FeatureSpec, value: Any) -> bool:
    return not isinstance(spec.check(value), Violation)


def _check_numbers(spec: FeatureSpec, column: Sequence[Any] | NDArray[Any]) -> tuple[Column, Flags]:
    if isinstance(column, np.ndarray):
        numbers, sure = column.astype(np.float64), np.ones(len(column), np.bool_)
    else:
        numbers, sure = _numbers(column)
    missing = np.isnan(numbers)
    right = np.isfinite(numbers)
    if spec.minimum is not None:
        right &= numbers >= spec.minimum
    if spec.maximum is not None:
        right &= numbers <= spec.maximum
    if spec.type is FeatureType.INTEGER:
        # At 2**53 a number may have been rounded.
        right &= (np.abs(numbers) < LARGEST_INTEGER) & (np.floor(numbers) == numbers)
    return numbers, sure & (right if spec.required else right | missing)


def _numbers(values: Sequence[Any]) -> tuple[NDArray[np.float64], Flags]:
    """The values as numbers, NaN for missing, and which of them are numbers or missing."""
    sure = np.ones(len(values), np.bool_)
    if not {*map(type, values)} <= _NUMBER_TYPES:
        sure = np.fromiter((type(each) in _NUMBER_TYPES for each in values), np.bool_, len(values))
        values = [each if is_number else None for each, is_number in zip(values, sure.tolist(), strict=True)]
    try:
        numbers = np.array(values, np.float64)
    except OverflowError:
        return np.full(len(values), np.nan), np.zeros(len(values), np.bool_)
    # A NaN among plain values is no missing value: the row rules say what it is.
    return numbers, sure & ~(np.isnan(numbers) & np.fromiter((each is not None for each in values), np.bool_))


def _rows_at(columns: Mapping[str, Any], is_kept: Flags) -> dict[str, Any]:
    places = np.flatnonzero(is_kept).tolist()
    return {
        name: column[is_kept] if isinstance(column, np.ndarray) else [column[place] for place in places]
        for name, column in columns.items()
    }
