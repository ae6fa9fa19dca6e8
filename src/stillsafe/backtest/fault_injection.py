"""Break a history on purpose: what would the rules have said if this feed had failed?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.errors import ConfigurationError

FACTOR = 100  # a fraction sent as a percentage, euros sent as cents
SENTINEL = -999
LAG = 100  # rows by which a stale feed is behind
COMMON = 0.05  # share of rows from which a category counts as common
UPPER_QUARTER = 0.75
MOST_NAMED = 20


class Fault(StrEnum):
    """One way in which data goes wrong upstream; `shift` is no fault of the data, but other customers."""

    UNIT_CHANGE = "unit_change"
    NULLS = "nulls"
    STUCK = "stuck"
    STALE = "stale"
    SWAPPED = "swapped"
    PERMUTED = "permuted"
    RENAMED = "renamed"
    SENTINEL = "sentinel"
    SHIFT = "shift"


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault and the features that it befalls."""

    fault: Fault
    features: tuple[str, ...]


_Column = list[Any]
_Columns = dict[str, _Column]


def parse(text: str) -> Injection:
    """An injection as it is written: `permuted:dep_delay`, `swapped:a,b`.

    Args:
        text: the fault, a colon, and features separated by commas.

    Raises:
        ConfigurationError: it is not written so; the message says what is possible.
    """
    word, _, named = text.partition(":")
    features = tuple(dict.fromkeys(name for part in named.split(",") if (name := part.strip())))
    if word.strip() not in tuple(Fault) or not features:
        raise ConfigurationError(
            f"{text!r} is no injection.",
            f"Write a fault, a colon and features, as in swapped:age,income. The faults are: {', '.join(Fault)}.",
        )
    return Injection(Fault(word.strip()), features)


def inject(
    columns: Mapping[str, "NDArray[Any] | Sequence[object]"], injection: Injection, rows: NDArray[np.bool_], seed: int
) -> dict[str, list[object]]:
    """The same columns with the given rows damaged; the columns given stay as they are.

    Args:
        columns: name -> (n,) plain values in the order of time; None or NaN is missing. Columns that are no features,
            such as the label, are left alone, except by a shift, which brings whole rows.
        injection: the fault and its features.
        rows: (n,) which rows it befalls.
        seed: of what chance decides.

    Returns:
        name -> (n,) plain values, None for missing.

    Raises:
        ConfigurationError: the fault cannot befall these features.
    """
    plain = {name: _plain(column) for name, column in columns.items()}
    _require(injection, plain)
    draw = np.random.default_rng(seed)
    hit = np.flatnonzero(rows)
    if len(hit) == 0:
        return plain
    return {**plain, **_INJECT[injection.fault](plain, injection.features, hit, draw)}


def _plain(column: "NDArray[Any] | Sequence[object]") -> _Column:
    values = column.tolist() if isinstance(column, np.ndarray) else column
    plain = (value.item() if isinstance(value, np.generic) else value for value in values)
    return [None if isinstance(value, float) and math.isnan(value) else value for value in plain]


def _require(injection: Injection, columns: _Columns) -> None:
    """Refuse what makes no sense.

    Raises:
        ConfigurationError: naming what there is.
    """
    for name in injection.features:
        if name not in columns:
            some = ", ".join([*columns][:MOST_NAMED]) + (", ..." if len(columns) > MOST_NAMED else "")
            raise ConfigurationError(f"There is no feature {name!r}.", f"There are: {some}.")
    fault, features = injection.fault, injection.features
    if fault is Fault.SWAPPED and (len(features) != 2 or len({_is_number(columns[name]) for name in features}) != 1):
        raise ConfigurationError(
            f"{', '.join(features)} cannot be swapped.", "Swap two features that are both numbers or both are not."
        )
    if fault is Fault.SHIFT and len(features) != 1:
        raise ConfigurationError(f"A shift goes by one feature, not by {len(features)}.", "Name one.")
    if fault in (Fault.UNIT_CHANGE, Fault.SENTINEL):
        _require_kind(fault, columns, features, number=True)
    if fault is Fault.RENAMED:
        _require_kind(fault, columns, features, number=False)


def _require_kind(fault: Fault, columns: _Columns, features: Sequence[str], *, number: bool) -> None:
    fitting = [name for name, column in columns.items() if _fits(column, number=number)]
    for name in features:
        if name not in fitting:
            raise ConfigurationError(
                f"{fault} needs a feature that is {'a number' if number else 'a category'}, and {name!r} is not.",
                f"There are: {', '.join(fitting[:MOST_NAMED]) or 'none'}.",
            )


def _fits(column: _Column, *, number: bool) -> bool:
    return _is_number(column) if number else any(isinstance(value, str) for value in column)


def _is_number(column: _Column) -> bool:
    present = [value for value in column if value is not None]
    return bool(present) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present)


_Injector = Callable[[_Columns, tuple[str, ...], NDArray[np.intp], np.random.Generator], _Columns]


def _each(change: Callable[[_Column, list[int]], list[Any]]) -> _Injector:
    """A fault of a feature by itself: from its column and the rows hit to what these rows hold then."""

    def injected(
        columns: _Columns, features: tuple[str, ...], hit: NDArray[np.intp], draw: np.random.Generator
    ) -> _Columns:
        del draw
        places = [int(place) for place in hit]
        return {name: _put(columns[name], places, change(columns[name], places)) for name in features}

    return injected


def _put(column: _Column, places: Sequence[int], values: Sequence[Any]) -> _Column:
    changed = list(column)
    for place, value in zip(places, values, strict=True):
        changed[place] = value
    return changed


def _value_by_value(change: Callable[[Any], Any]) -> _Injector:
    """A fault that befalls each value; a missing one stays missing."""
    return _each(lambda column, hit: [None if column[i] is None else change(column[i]) for i in hit])


def _stuck(column: _Column, hit: list[int]) -> list[Any]:
    """The last value before the fault for ever; without one, the first that there is."""
    before = next((value for value in reversed(column[: hit[0]]) if value is not None), None)
    return [next((value for value in column if value is not None), None) if before is None else before] * len(hit)


def _stale(column: _Column, hit: list[int]) -> list[Any]:
    """The value of earlier rows; where there were none yet, of the last ones."""
    lag = min(LAG, len(column) // 2)
    return [column[(i - lag) % len(column)] for i in hit]


def _swapped(
    columns: _Columns, features: tuple[str, ...], hit: NDArray[np.intp], draw: np.random.Generator
) -> _Columns:
    del draw
    places = [int(place) for place in hit]
    one, other = features
    return {
        name: _put(columns[name], places, [columns[source][i] for i in places])
        for name, source in ((one, other), (other, one))
    }


def _permuted(
    columns: _Columns, features: tuple[str, ...], hit: NDArray[np.intp], draw: np.random.Generator
) -> _Columns:
    """Several features stay together: a join that found the wrong row."""
    return _taken(columns, features, hit, draw.permutation(hit))


def _shift(columns: _Columns, features: tuple[str, ...], hit: NDArray[np.intp], draw: np.random.Generator) -> _Columns:
    chosen = _far_end(columns[features[0]], features[0])
    return _taken(columns, tuple(columns), hit, draw.choice(chosen, len(hit)))


def _far_end(column: _Column, name: str) -> NDArray[np.intp]:
    """The rows to draw from: the feature's upper quarter, or its rarest common category.

    Raises:
        ConfigurationError: every value is missing.
    """
    if _is_number(column):
        numbers = np.array([np.nan if value is None else value for value in column], np.float64)
        return np.flatnonzero(numbers >= np.nanquantile(numbers, UPPER_QUARTER))
    counts: dict[Any, int] = {}
    for value in column:
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    if not counts:
        raise ConfigurationError(f"Every value of {name!r} is missing.", "Shift by another feature.")
    common = [value for value, count in counts.items() if count >= COMMON * len(column)] or [
        max(counts, key=counts.__getitem__)
    ]
    rarest = min(common, key=lambda value: (counts[value], str(value)))
    return np.flatnonzero([value == rarest for value in column])


def _taken(columns: _Columns, names: Sequence[str], hit: NDArray[np.intp], sources: NDArray[np.intp]) -> _Columns:
    """The columns with the rows hit filled from the source rows."""
    places, origins = hit.tolist(), sources.tolist()
    return {name: _put(columns[name], places, [columns[name][i] for i in origins]) for name in names}


_INJECT: dict[Fault, _Injector] = {
    Fault.UNIT_CHANGE: _value_by_value(lambda value: value * FACTOR),
    Fault.NULLS: _each(lambda _column, hit: [None] * len(hit)),
    Fault.STUCK: _each(_stuck),
    Fault.STALE: _each(_stale),
    Fault.SWAPPED: _swapped,
    Fault.PERMUTED: _permuted,
    Fault.RENAMED: _value_by_value(lambda value: f"{value} (renamed)"),
    Fault.SENTINEL: _each(lambda _column, hit: [SENTINEL] * len(hit)),
    Fault.SHIFT: _shift,
}
