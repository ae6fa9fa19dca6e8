"""Fault injection: corrupt a history deliberately, to see whether the monitoring rules detect it."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.text import join_names
from stillsafe.errors import ConfigurationError

UNIT_FACTOR = 100  # as if a fraction were sent as a percentage, or euros as cents
SENTINEL_VALUE = -999
STALE_LAG = 100  # rows
COMMON_SHARE = 0.05  # fraction of rows from which a category is common
UPPER_QUARTILE = 0.75
MOST_NAMES_LISTED = 20


class Fault(StrEnum):
    """A kind of upstream data fault. `shift` is not a fault: it changes the population, and the data stay correct."""

    UNIT_CHANGE = "unit_change"
    """Numbers are multiplied by `UNIT_FACTOR`."""
    NULLS = "nulls"
    """Values are missing."""
    STUCK_VALUE = "stuck"
    """Every value is the last one before the fault."""
    STALE = "stale"
    """Values are those of the row `STALE_LAG` rows earlier."""
    SWAP = "swapped"
    """Two features have each other's values."""
    PERMUTATION = "permuted"
    """Values belong to other rows, as after a join on a wrong key."""
    RENAMING = "renamed"
    """Categories have new names."""
    SENTINEL = "sentinel"
    """Numbers are `SENTINEL_VALUE`."""
    SHIFT = "shift"
    """Rows are replaced by rows from one end of a feature's distribution."""


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault and the features that it affects."""

    fault: Fault
    features: tuple[str, ...]


_Column = list[Any]
_Columns = dict[str, _Column]


def parse(text: str) -> Injection:
    """Parse an injection such as `permuted:dep_delay` or `swapped:a,b`.

    Args:
        text: the fault, a colon, and features separated by commas.

    Raises:
        ConfigurationError: the text has another form, or the fault is unknown.
    """
    fault, _, names = text.partition(":")
    features = tuple(dict.fromkeys(name for part in names.split(",") if (name := part.strip())))
    if fault.strip() not in tuple(Fault) or not features:
        raise ConfigurationError(
            f"{text!r} is not a valid injection.",
            f"Write a fault, a colon and features, as in swapped:age,income. The faults are: {', '.join(Fault)}.",
        )
    return Injection(Fault(fault.strip()), features)


def inject(
    columns: Mapping[str, "NDArray[Any] | Sequence[object]"], injection: Injection, rows: NDArray[np.bool_], seed: int
) -> dict[str, list[object]]:
    """Return a copy of the columns with a fault in the given rows.

    Args:
        columns: name -> (n,) plain values in time order; None or NaN is missing. A column that is not a feature, such
            as the label, changes only by a shift, which replaces whole rows.
        injection: the fault and its features.
        rows: (n,) the rows that it affects.
        seed: of the random generator.

    Returns:
        name -> (n,) plain values, None for missing.

    Raises:
        ConfigurationError: the fault does not fit these features.
    """
    plain_columns = {name: _plain(column) for name, column in columns.items()}
    _require_fitting(injection, plain_columns)
    row_numbers = np.flatnonzero(rows)
    if len(row_numbers) == 0:
        return plain_columns
    random = np.random.default_rng(seed)
    return {**plain_columns, **_INJECTORS[injection.fault](plain_columns, injection.features, row_numbers, random)}


def _plain(column: "NDArray[Any] | Sequence[object]") -> _Column:
    values = column.tolist() if isinstance(column, np.ndarray) else column
    plain = (value.item() if isinstance(value, np.generic) else value for value in values)
    return [None if isinstance(value, float) and math.isnan(value) else value for value in plain]


def _require_fitting(injection: Injection, columns: _Columns) -> None:
    """Check that the features exist and suit the fault.

    Raises:
        ConfigurationError: they do not; the message lists the features that do.
    """
    for name in injection.features:
        if name not in columns:
            names = join_names(columns, MOST_NAMES_LISTED)
            raise ConfigurationError(f"There is no feature {name!r}.", f"There are: {names}.")
    fault, features = injection.fault, injection.features
    if fault is Fault.SWAP and (len(features) != 2 or len({_is_number(columns[name]) for name in features}) != 1):
        raise ConfigurationError(
            f"{', '.join(features)} cannot be swapped.", "Swap two features that are both numbers or both are not."
        )
    if fault is Fault.SHIFT and len(features) != 1:
        raise ConfigurationError(f"A shift takes one feature, not {len(features)}.", "Name one.")
    if fault in (Fault.UNIT_CHANGE, Fault.SENTINEL):
        _require_type(fault, columns, features, number=True)
    if fault is Fault.RENAMING:
        _require_type(fault, columns, features, number=False)


def _require_type(fault: Fault, columns: _Columns, features: Sequence[str], *, number: bool) -> None:
    candidates = [name for name, column in columns.items() if _fits(column, number=number)]
    for name in features:
        if name not in candidates:
            raise ConfigurationError(
                f"{fault} needs a feature that is {'a number' if number else 'a category'}, and {name!r} is not.",
                f"There are: {join_names(candidates, MOST_NAMES_LISTED) or 'none'}.",
            )


def _fits(column: _Column, *, number: bool) -> bool:
    return _is_number(column) if number else any(isinstance(value, str) for value in column)


def _is_number(column: _Column) -> bool:
    present = [value for value in column if value is not None]
    return bool(present) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present)


_Injector = Callable[[_Columns, tuple[str, ...], NDArray[np.intp], np.random.Generator], _Columns]


def _column_fault(corrupt: Callable[[_Column, list[int]], list[Any]]) -> _Injector:
    """A fault of single features: `corrupt` maps a column and the affected rows to the new values of these rows."""

    def injector(
        columns: _Columns, features: tuple[str, ...], rows: NDArray[np.intp], random: np.random.Generator
    ) -> _Columns:
        del random
        indices = rows.tolist()
        return {name: _replace(columns[name], indices, corrupt(columns[name], indices)) for name in features}

    return injector


def _replace(column: _Column, indices: Sequence[int], values: Sequence[Any]) -> _Column:
    new_column = list(column)
    for index, value in zip(indices, values, strict=True):
        new_column[index] = value
    return new_column


def _value_fault(corrupt: Callable[[Any], Any]) -> _Injector:
    """A fault of single values; missing values stay missing."""
    return _column_fault(lambda column, rows: [None if column[i] is None else corrupt(column[i]) for i in rows])


def _repeat_last_value(column: _Column, rows: list[int]) -> list[Any]:
    """The last value before the fault; if there is none, the first value of the column."""
    previous = next((value for value in reversed(column[: rows[0]]) if value is not None), None)
    first = next((value for value in column if value is not None), None)
    return [first if previous is None else previous] * len(rows)


def _delay(column: _Column, rows: list[int]) -> list[Any]:
    """The value of an earlier row; the first rows take the values of the last ones."""
    lag = min(STALE_LAG, len(column) // 2)
    return [column[(i - lag) % len(column)] for i in rows]


def _swap(
    columns: _Columns, features: tuple[str, ...], rows: NDArray[np.intp], random: np.random.Generator
) -> _Columns:
    del random
    indices = rows.tolist()
    first, second = features
    return {
        name: _replace(columns[name], indices, [columns[source][i] for i in indices])
        for name, source in ((first, second), (second, first))
    }


def _permute(
    columns: _Columns, features: tuple[str, ...], rows: NDArray[np.intp], random: np.random.Generator
) -> _Columns:
    """Features of one injection get the same permutation, as after a join on a wrong key."""
    return _copy_rows(columns, features, rows, random.permutation(rows))


def _shift(
    columns: _Columns, features: tuple[str, ...], rows: NDArray[np.intp], random: np.random.Generator
) -> _Columns:
    candidates = _tail_rows(columns[features[0]], features[0])
    return _copy_rows(columns, tuple(columns), rows, random.choice(candidates, len(rows)))


def _tail_rows(column: _Column, name: str) -> NDArray[np.intp]:
    """The rows that a shift draws from: the feature's upper quarter, or its rarest common category.

    Raises:
        ConfigurationError: every value is missing.
    """
    if _is_number(column):
        numbers = np.array([np.nan if value is None else value for value in column], np.float64)
        return np.flatnonzero(numbers >= np.nanquantile(numbers, UPPER_QUARTILE))
    counts = Counter(value for value in column if value is not None)
    if not counts:
        raise ConfigurationError(f"Every value of {name!r} is missing.", "Shift by another feature.")
    common = [value for value, count in counts.items() if count >= COMMON_SHARE * len(column)]
    candidates = common or [max(counts, key=counts.__getitem__)]
    rarest = min(candidates, key=lambda value: (counts[value], str(value)))
    return np.flatnonzero([value == rarest for value in column])


def _copy_rows(
    columns: _Columns, names: Sequence[str], rows: NDArray[np.intp], source_rows: NDArray[np.intp]
) -> _Columns:
    """The named columns with `rows` replaced by `source_rows`."""
    indices, sources = rows.tolist(), source_rows.tolist()
    return {name: _replace(columns[name], indices, [columns[name][i] for i in sources]) for name in names}


_INJECTORS: dict[Fault, _Injector] = {
    Fault.UNIT_CHANGE: _value_fault(lambda value: value * UNIT_FACTOR),
    Fault.NULLS: _column_fault(lambda _column, rows: [None] * len(rows)),
    Fault.STUCK_VALUE: _column_fault(_repeat_last_value),
    Fault.STALE: _column_fault(_delay),
    Fault.SWAP: _swap,
    Fault.PERMUTATION: _permute,
    Fault.RENAMING: _value_fault(lambda value: f"{value} (renamed)"),
    Fault.SENTINEL: _column_fault(lambda _column, rows: [SENTINEL_VALUE] * len(rows)),
    Fault.SHIFT: _shift,
}
