"""Computes the views of dates and free texts: columns by which values are watched that are new all the time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.view import CATEGORY_KINDS, View, ViewKind
from stillsafe.core.schema import Schema
from stillsafe.monitoring.columns import Column, Columns, DictionaryColumn
from stillsafe.monitoring.date_values import DateValues
from stillsafe.monitoring.known_words import known_words, own_unknown_shares, stored_words, unknown_shares
from stillsafe.monitoring.local_time import EPOCH, utc_offsets
from stillsafe.monitoring.text_values import SCRIPTS, TextValues

Numbers = NDArray[np.float64]

DAY_MICROS, HOUR_MICROS = 86_400 * 10**6, 3_600 * 10**6
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HOURS = tuple(str(hour) for hour in range(24))
FIRST_WEEKDAY = 3
"""The weekday of 1970-01-01."""
FEWEST_VALUES = 50
"""Fewer dates or texts show no pattern."""
SPREAD = (0.1, 0.9)
"""Quantiles of the lag between which its spread is measured."""
FREE_HOUR_DAYS, FREE_WEEKDAY_DAYS = 3.0, 28.0
"""Spread of the lag from which on the clock of the requests determines neither the hour nor the weekday of a value."""
FOLLOWS_CLOCK_DAYS = 1.0
"""Spread of the lag below which values follow the clock, so that it tells in which time zone they are."""
CLOCK_RATIO = 0.3
"""Mean difference of neighbours' lags, as a share of that of any two rows, below which the time of a row decides."""
UNTIMED_SPREAD_DAYS = 3_650.0
"""Spread from which on the age of a sample without times matters little to its lags."""
DIGITS = 8
_LARGEST_MICROS = 6e16
"""A time within it, before or after 1970, has a year of four digits."""


@dataclass(frozen=True, slots=True)
class ViewConditions:
    """What the views of a healthy period depend on besides its rows.

    Attributes:
        schema: the features.
        at: the time of its baseline; a row whose time is not known counts as from then.
        timezone: IANA name of the time zone of values and hours.
        is_timed: whether the rows' times are those of the requests.
        min_count: texts that share a known word.
        salt: of the hashes of known words.
    """

    schema: Schema
    at: datetime
    timezone: str
    is_timed: bool
    min_count: int = 1
    salt: str = ""


def with_healthy_views(rows: Columns, period: ViewConditions) -> Columns:
    """A healthy period with the views of its dates and texts. Features with precise views already keep these."""
    # Which words are known follows from the salt and the privacy of now.
    old_views = {
        name: view for name, view in rows.views.items() if not view.is_rough and view.kind is not ViewKind.UNKNOWN_WORDS
    }
    old_names = {view.of for view in old_views.values()}
    is_timed = period.is_timed and len(rows.times) == len(rows)
    at_micros = int((period.at - EPOCH).total_seconds() * 10**6)
    timed_rows = rows if is_timed else replace(rows, times=np.full(len(rows), at_micros, dtype=np.int64))
    views, columns = dict(old_views), {name: _column(rows, name) for name in old_views}
    for name, values in rows.open_values.items():
        if name in old_names and isinstance(values, DateValues):
            continue
        own_views = (
            _date_views(name, values, timed_rows, period, is_timed=is_timed)
            if isinstance(values, DateValues)
            else _text_views(name, values, period)
        )
        for view in own_views:
            if view.name not in period.schema.names and view.name not in old_views:
                views[view.name] = view
                columns[view.name] = _healthy_column(view, timed_rows, period)
    return _with_columns(rows, views, columns)


def with_baseline_views(rows: Columns, features: Mapping[str, FeatureBaseline], salt: str) -> Columns:
    """The rows with the views that a baseline has, and with no others."""
    views = {name: feature.view for name, feature in features.items() if feature.view is not None}
    if rows.views.keys() == views.keys():
        return rows
    columns = {
        name: _column(rows, name) if name in rows.views else view_column(view, rows, salt)
        for name, view in views.items()
    }
    present = {name: column for name, column in columns.items() if column is not None}
    return _with_columns(rows, {name: views[name] for name in present}, present)


def view_column(view: View, rows: Columns, salt: str) -> Column | None:
    """The column of a view; None where the rows do not show it: the feature is hidden, or their times are unknown."""
    values = rows.open_values.get(view.of)
    if isinstance(values, TextValues):
        match view.kind:
            case ViewKind.LENGTH:
                return values.lengths
            case ViewKind.SCRIPT:
                return _category(values.scripts.astype(np.intp), SCRIPTS)
            case ViewKind.UNKNOWN_WORDS:
                return unknown_shares(values.words, view.words, salt)
    if isinstance(values, DateValues):
        if view.kind is ViewKind.LAG:
            return _lags(view, values, rows.times) if len(rows.times) == len(rows) else None
        walls = _walls(values, view.timezone)
        if view.kind is ViewKind.HOUR:
            # Whole hours first: the remainder of a number just below midnight is rounded up to a whole day.
            return _category(_whole(walls // HOUR_MICROS % len(HOURS)), HOURS)
        if view.kind is ViewKind.WEEKDAY:
            return _category(_whole((walls // DAY_MICROS + FIRST_WEEKDAY) % len(WEEKDAYS)), WEEKDAYS)
    return None


def needs_times(features: Mapping[str, FeatureBaseline]) -> bool:
    """Whether rows must be read with their times, for the lags of dates."""
    return any(each.view is not None and each.view.kind is ViewKind.LAG for each in features.values())


def _date_views(
    name: str, values: DateValues, rows: Columns, period: ViewConditions, *, is_timed: bool
) -> tuple[View, ...]:
    """The views of a date: hour and weekday only where its lag leaves them free."""
    present = values.micros[np.isfinite(values.micros)]
    if len(present) < FEWEST_VALUES:
        return ()
    lag = _lag_view(name, values, rows.times, period.timezone)
    lags = _lags(lag, values, rows.times)
    spread = _spread(lags)
    if not is_timed:
        return (replace(lag, is_rough=spread < UNTIMED_SPREAD_DAYS),)
    if _is_of_clock(lags):
        return (replace(lag, follows_clock=True),)
    views = [lag]
    if spread >= FREE_HOUR_DAYS and not lag.is_daily:
        views.append(replace(lag, kind=ViewKind.HOUR))
    if spread >= FREE_WEEKDAY_DAYS:
        views.append(replace(lag, kind=ViewKind.WEEKDAY))
    return tuple(views)


def _lag_view(name: str, values: DateValues, times: NDArray[np.int64], timezone: str) -> View:
    """How the lag of a date is measured: in days without a time of day, and in the time zone that the values fit."""
    candidates = []
    for zone in (timezone, "UTC"):
        walls = _walls(values, zone)
        is_daily = not (walls[np.isfinite(walls)] % DAY_MICROS).any()
        candidates.append(View(name, ViewKind.LAG, zone, is_daily))
    first, other = candidates
    if first.is_daily is not other.is_daily:
        return first if first.is_daily else other
    lags, other_lags = (_lags(view, values, times) for view in candidates)
    if max(_spread(lags), _spread(other_lags)) >= FOLLOWS_CLOCK_DAYS + first.is_daily:
        return first
    # Values that follow the clock tell in which time zone they are: there they are nearer to it.
    return other if np.nanmean(np.abs(other_lags)) < np.nanmean(np.abs(lags)) else first


def _is_of_clock(lags: Numbers) -> bool:
    """Whether neighbours in time have nearly the same lag although it varies: then their time decides it."""
    present = lags[np.isfinite(lags)]
    neighbours = float(np.abs(np.diff(present)).mean())
    others = float(np.abs(present - np.random.default_rng(0).permutation(present)).mean())
    return neighbours < CLOCK_RATIO * others


def _text_views(name: str, values: TextValues, period: ViewConditions) -> tuple[View, ...]:
    if np.isfinite(values.lengths).sum() < FEWEST_VALUES:
        return ()
    form = View(name, ViewKind.LENGTH), View(name, ViewKind.SCRIPT)
    if not period.salt:  # whoever reads the baseline could find the words by trial
        return form
    words = stored_words(known_words(values.words, period.min_count), period.salt)
    return (*form, View(name, ViewKind.UNKNOWN_WORDS, words=words))


def _healthy_column(view: View, rows: Columns, period: ViewConditions) -> Column:
    values = rows.open_values[view.of]
    if view.kind is ViewKind.UNKNOWN_WORDS and isinstance(values, TextValues):
        return own_unknown_shares(values.words, period.min_count)
    column = view_column(view, rows, period.salt)
    return np.full(len(rows), np.nan) if column is None else column


def _with_columns(rows: Columns, views: Mapping[str, View], columns: Mapping[str, Column]) -> Columns:
    """The rows with these views in place of those that they have."""
    numbers: dict[str, Numbers] = {name: column for name, column in rows.numbers.items() if name not in rows.views}
    categories = {name: column for name, column in rows.categories.items() if name not in rows.views}
    for name, column in columns.items():
        if isinstance(column, DictionaryColumn):
            categories[name] = column
        else:
            numbers[name] = column
    return replace(rows, numbers=numbers, categories=categories, views=dict(views))


def _column(rows: Columns, name: str) -> Column:
    return rows.categories[name] if rows.views[name].kind in CATEGORY_KINDS else rows.numbers[name]


def _lags(view: View, values: DateValues, times: NDArray[np.int64]) -> Numbers:
    """(n,) days from each value to its request, in the clock of the value's time zone where it names none."""
    request_walls = (times + utc_offsets(times, view.timezone)).astype(np.float64)
    if view.is_daily:
        return np.asarray(request_walls // DAY_MICROS - _walls(values, view.timezone) // DAY_MICROS)
    requests = np.where(values.is_zoned, times.astype(np.float64), request_walls)
    return np.round((requests - values.micros) / DAY_MICROS, DIGITS)


def _walls(values: DateValues, timezone: str) -> Numbers:
    """(n,) the clock of each value in microseconds since 1970; NaN where it is no date."""
    is_usable = values.is_zoned & (np.abs(values.micros) < _LARGEST_MICROS)
    instants = np.where(is_usable, values.micros, 0.0).astype(np.int64)
    return values.micros + np.where(is_usable, utc_offsets(instants, timezone), 0)


def _spread(lags: Numbers) -> float:
    low, high = np.nanquantile(lags, SPREAD).tolist()
    return float(high - low)


def _whole(numbers: Numbers) -> NDArray[np.intp]:
    return np.where(np.isfinite(numbers), np.floor(np.nan_to_num(numbers)), -1).astype(np.intp)


def _category(codes: NDArray[np.intp], names: tuple[str, ...]) -> DictionaryColumn:
    """The column of names by their positions; missing where that is -1."""
    return DictionaryColumn((codes + 1).astype(np.int32), (None, *names))
