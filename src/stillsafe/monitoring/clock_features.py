"""Recognises clock features: those that the time of a request determines, such as an hour, a weekday or a season.

A feature is one where the clock leaves less than `CLOCK_SHARE` of its entropy. Where the period is too short to show
that, its values count, each of them a rendering of its row's date, and its name: a month that never changes in a sample
of one month is still a month.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.slot_table import ClockFeature, ClockUnit
from stillsafe.core.schema import OPEN_TYPES
from stillsafe.monitoring.binning import BinCodes
from stillsafe.monitoring.calendar_forms import YEARS, calendar_unit, has_calendar_form
from stillsafe.monitoring.clock_agreement import value_cells
from stillsafe.monitoring.columns import Column, Columns, DictionaryColumn
from stillsafe.monitoring.local_time import LocalTimes

CLOCK_SHARE = 0.3
"""Share of a feature's entropy that the clock may leave."""
EXACT_SHARE = 0.02
"""Share of its entropy below which a coarser unit of the clock is preferred to a finer one."""
MOST_VALUES = 96
"""A feature with more distinct values is compared by its bins."""
SHORT_PERIOD_DAYS = 7
FEWEST_ROWS = 200
UNITS = (ClockUnit.HOUR, ClockUnit.WEEKDAY, ClockUnit.MONTH, ClockUnit.SLOT, ClockUnit.HALF_HOUR)
_WORDS: Mapping[str, ClockUnit] = {
    **dict.fromkeys(("hour", "hr", "hours"), ClockUnit.HOUR),
    **dict.fromkeys(("weekday", "dow", "dayofweek", "weekend", "workday", "workingday"), ClockUnit.WEEKDAY),
    **dict.fromkeys(("month", "season", "quarter"), ClockUnit.MONTH),
    **dict.fromkeys(("year", "week", "day", "date", "holiday", "doy", "dayofyear", "dayofmonth"), ClockUnit.DATE),
}
_RANGES: Mapping[ClockUnit, tuple[int, int, int]] = {
    ClockUnit.HOUR: (0, 24, 12),
    ClockUnit.WEEKDAY: (0, 7, 4),
    ClockUnit.MONTH: (1, 12, 1),
}
"""Of a unit: the smallest and the largest whole number, and how many distinct ones make it look like that unit."""


def clock_features(
    rows: Columns, features: Mapping[str, FeatureBaseline], codes: Mapping[str, BinCodes], local: LocalTimes, least: int
) -> dict[str, ClockFeature]:
    """The clock features of a healthy period.

    Args:
        rows: the period.
        features: their profiles.
        codes: the bins of the rows.
        local: the rows' times.
        least: rows below which a count is not stored exactly, and a value not at all.
    """
    if len(rows) < FEWEST_ROWS:
        return {}
    columns: dict[str, Column] = {**rows.numbers, **rows.categories}
    days = local.days()
    is_short = int(days.max() - days.min()) + 1 < SHORT_PERIOD_DAYS
    clocks = {}
    for name in codes:
        if features[name].type in OPEN_TYPES or features[name].view is not None:
            continue
        cells, values = _cells(columns[name], codes[name], least)
        unit = None if features[name].value_count < FEWEST_ROWS else calendar_unit(_texts(columns[name]), local)
        unit = unit or _unit(name, cells, local, is_short=is_short)
        if unit is not None:
            width = max(len(values), int(cells.max()) + 1)
            clocks[name] = ClockFeature(unit, _table(unit, cells, local, width, least), values)
    return clocks


def look_alikes(
    rows: Columns, features: Mapping[str, FeatureBaseline], codes: Mapping[str, BinCodes]
) -> dict[str, ClockFeature]:
    """The features that look like a clock, where no times are known: by name and values, or by the form of these."""
    columns: dict[str, Column] = {**rows.numbers, **rows.categories}
    return {
        name: ClockFeature(ClockUnit.UNKNOWN)
        for name in codes
        if features[name].type not in OPEN_TYPES
        and features[name].view is None
        and (has_calendar_form(_texts(columns[name])) or _looks_like_clock(name, columns[name]))
    }


def name_unit(name: str) -> ClockUnit | None:
    """The unit of the clock that a feature's name means: `pickup_hour`, `DayOfWeek`, `is_weekend`; or None."""
    spaced_name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = re.findall(r"[a-z]+", spaced_name.lower())
    joined_words = "".join(words)
    if "dayofweek" in joined_words or "dayofwk" in joined_words:
        return ClockUnit.WEEKDAY
    return next((_WORDS[word] for word in words if word in _WORDS), None)


def _looks_like_clock(name: str, column: Column) -> bool:
    unit = name_unit(name)
    distinct = [text for text in _texts(column).counts() if text is not None]
    if unit is ClockUnit.DATE and distinct and {*map(str, distinct)} <= {*map(str, YEARS)}:
        return True
    if unit is None or unit not in _RANGES:
        return False
    least, most, fewest = _RANGES[unit]
    try:
        numbers = [float(str(text)) for text in distinct]
    except ValueError:
        return unit is not ClockUnit.HOUR and 2 <= len(distinct) <= most - least + 1
    return all(number.is_integer() and least <= number <= most for number in numbers) and (
        len(numbers) >= fewest or (len(numbers) == 2 and set(numbers) == {0.0, 1.0})
    )


def _texts(column: Column) -> DictionaryColumn:
    return column if isinstance(column, DictionaryColumn) else DictionaryColumn.of_codes(column)


def _cells(column: Column, codes: BinCodes, least: int) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """(n,) the cell of each row, -1 of a missing value; and the values that are cells, empty where the bins are."""
    texts = _texts(column)
    counts = texts.counts()
    counts.pop(None, None)
    if len(counts) > MOST_VALUES:
        values: tuple[str, ...] = ()
    else:
        values = tuple(sorted(str(text) for text, count in counts.items() if count >= least))
    cells, is_present = value_cells(ClockFeature(ClockUnit.UNKNOWN, values=values), texts, codes)
    return np.where(is_present, cells, -1), values


def _unit(name: str, cells: NDArray[np.intp], local: LocalTimes, *, is_short: bool) -> ClockUnit | None:
    """The unit that determines the cells, the coarsest that does so exactly; or None."""
    is_present = cells >= 0
    if is_present.sum() < FEWEST_ROWS:
        return None
    present, by_name = cells[is_present], name_unit(name)
    whole = _entropy(np.bincount(present)[None, :])
    if whole <= 0:
        return None if by_name is None else ClockUnit.DATE if by_name is ClockUnit.HOUR else by_name
    shares = {unit: _conditional_entropy(present, local.cells(unit)[is_present]) / whole for unit in UNITS}
    if by_name in shares and shares[by_name] < CLOCK_SHARE:
        return by_name
    if int(local.days().max() - local.days().min()) + 1 < 2 * SHORT_PERIOD_DAYS:
        del shares[ClockUnit.WEEKDAY]  # each weekday stands for one day only, so the date may be what counts
    best = min(shares, key=lambda unit: shares[unit])
    if shares[best] < CLOCK_SHARE:
        return next((unit for unit, share in shares.items() if share < max(EXACT_SHARE, shares[best] * 1.1)), best)
    is_daily = _conditional_entropy(present, local.cells(ClockUnit.DATE)[is_present]) / whole < EXACT_SHARE
    return ClockUnit.DATE if is_daily and (is_short or by_name is not None) else None


def _conditional_entropy(cells: NDArray[np.intp], units: NDArray[np.str_]) -> float:
    """The mean entropy of the cells given the unit, in nats, corrected for few rows per unit.

    Source of the correction: G. Miller, "Note on the bias of information estimates", 1955.
    """
    names, positions = np.unique(units, return_inverse=True)
    if len(names) < 2:
        return float("inf")
    width = int(cells.max()) + 1
    counts = np.bincount(positions * width + cells, minlength=len(names) * width).reshape(len(names), width)
    return _entropy(counts)


def _entropy(counts: NDArray[np.int64]) -> float:
    """The entropy of each row of counts, in nats, as the mean over the rows weighted by their totals."""
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals[:, None], 1)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    bias = (np.maximum((counts > 0).sum(axis=1), 1) - 1) / (2 * np.maximum(totals, 1))
    return float(((-(shares * logs).sum(axis=1) + bias) * totals).sum() / totals.sum())


def _table(
    unit: ClockUnit, cells: NDArray[np.intp], local: LocalTimes, width: int, least: int
) -> dict[str, tuple[int, ...]]:
    """Per value of the unit the rows in each cell. A count below `least` counts as that, so that none is exact."""
    is_present = cells >= 0
    units = local.cells(unit)[is_present]
    return dict(_rows_of_table(units, cells[is_present], width, least))


def _rows_of_table(
    units: NDArray[np.str_], cells: NDArray[np.intp], width: int, least: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in np.unique(units).tolist():
        counts = np.bincount(cells[units == name], minlength=width)
        if counts.sum() >= least:
            yield name, tuple(np.where((counts > 0) & (counts < least), least, counts).tolist())
