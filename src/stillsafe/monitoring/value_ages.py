"""Measures in a healthy period how many of each day's values earlier days lack, and how much of that is no chance."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.new_values import NewValues
from stillsafe.core.signals import Signal, reading_key
from stillsafe.monitoring.columns import Columns, DictionaryColumn
from stillsafe.monitoring.local_time import EPOCH, local_times

MOST_DAYS = 7
"""Days by which the growth of what is new is measured."""
LEAST_SHARE = 0.005
"""Below, new values of each day are far from any limit of what is unseen."""
DEVIATIONS = 4.0
"""Standard errors beyond chance from which on time makes a difference: of hundreds of features none does by chance."""
PARTS_OF_DAY = 4
FEWEST_ROWS = 50
"""Rows of a part of a day from which on its share counts for the variation."""
DIGITS = 6
HOUR_MICROS = 3_600 * 10**6


class _Values(NamedTuple):
    """The values of a feature in its period: of each row its value, its day, and the first day of its value."""

    values: NDArray[np.int64]
    days: NDArray[np.int64]
    first_days: NDArray[np.int64]


def with_value_ages(baseline: Baseline, rows: Columns, timezone: str | None) -> Baseline:
    """The baseline with what is new each day of its categories and codes; the same one without times.

    Args:
        baseline: made of these rows.
        rows: the healthy period, each category in the form that the baseline has it in.
        timezone: of the days, or None where the times of the rows are not known.
    """
    if timezone is None or not len(rows.times):
        return baseline
    days = local_times(rows.times, timezone).days()
    ends_at = EPOCH + timedelta(microseconds=int(rows.times.max()) // HOUR_MICROS * HOUR_MICROS)
    features, variation = dict(baseline.features), dict(baseline.variation)
    for name, texts in _columns(rows, baseline.features).items():
        if name in baseline.clock:
            continue
        values = _values_of(texts, days)
        shares = _shares(values)
        features[name] = replace(features[name], new_values=NewValues(ends_at, shares))
        if shares:
            key = reading_key(Signal.UNSEEN_CATEGORY_RATE, name)
            variation[key] = max(variation.get(key, 0.0), _variation(values, rows, timezone, texts))
    return replace(baseline, features=features, variation=dict(sorted(variation.items())))


def _columns(rows: Columns, features: Mapping[str, FeatureBaseline]) -> dict[str, DictionaryColumn]:
    columns = {name: rows.categories[name] for name in features if name in rows.categories}
    columns |= {name: DictionaryColumn.of_codes(rows.numbers[name]) for name in features if name in rows.numbers}
    return {name: column for name, column in columns.items() if features[name].is_categorical}


def _values_of(texts: DictionaryColumn, days: NDArray[np.int64]) -> _Values:
    is_present = _is_present(texts)
    values, own_days = texts.indices[is_present].astype(np.int64), days[is_present]
    first_days = np.full(len(texts.vocabulary), np.iinfo(np.int64).max)
    np.minimum.at(first_days, values, own_days)
    return _Values(values, own_days, first_days[values])


def _is_present(texts: DictionaryColumn) -> NDArray[np.bool_]:
    return np.array([text is not None for text in texts.vocabulary], dtype=np.bool_)[texts.indices]


def _shares(values: _Values) -> tuple[float, ...]:
    """What is new by the days that have passed, beyond chance; one share where it does not grow, or none."""
    all_days = np.unique(values.days)
    if len(all_days) < 2:
        return ()
    later_days = all_days[len(all_days) // 2 :]
    counts = np.bincount(values.values)[values.values]
    is_later = values.days >= later_days[0]
    shares, errors = [], []
    for age in range(1, min(MOST_DAYS, int(later_days[0] - all_days[0])) + 1):
        share, chance = _new_share(values, counts, is_later, age)
        shares.append(max(share - chance, 0.0))
        errors.append(float(np.sqrt(max(share * (1 - share), LEAST_SHARE) / max(int(is_later.sum()), 1))))
    is_known = [share > max(LEAST_SHARE, DEVIATIONS * error) for share, error in zip(shares, errors, strict=True)]
    if not any(is_known):
        return ()
    rising = np.maximum.accumulate(shares)
    if rising[-1] - rising[0] <= DEVIATIONS * np.hypot(errors[0], errors[-1]):
        return (round(float(np.mean(shares)), DIGITS),)
    return tuple(np.round(rising, DIGITS).tolist())


def _new_share(
    values: _Values, counts: NDArray[np.int64], is_later: NDArray[np.bool_], age: int
) -> tuple[float, float]:
    """Of the later rows the share whose value was not there so many days before, and what chance makes of it.

    If the rows had come in any order, a value of `c` rows of `n` would be in none of `h` earlier ones with probability
    (1 - h / (n - 1))^(c - 1), to the order of c / n: the argument of Good and Turing for a part of the rows.
    """
    days = values.days[is_later]
    share = float((values.first_days[is_later] > days - age).mean())
    all_days, per_day = np.unique(values.days, return_counts=True)
    earlier_count = np.concatenate([[0], np.cumsum(per_day)])[np.searchsorted(all_days, days - age, side="right")]
    others = max(len(values.days) - 1, 1)
    chance = (1 - np.minimum(earlier_count / others, 1.0)) ** (counts[is_later] - 1)
    return share, float(chance.mean())


def _variation(values: _Values, rows: Columns, timezone: str, texts: DictionaryColumn) -> float:
    """Standard deviation of what is new from one part of a day to another, beyond sampling."""
    times = local_times(rows.times[_is_present(texts)], timezone)
    hours = np.array([quarter.hour for quarter in times.quarters])[times.positions]
    is_later = values.days >= np.unique(values.days)[len(np.unique(values.days)) // 2]
    parts = (values.days * PARTS_OF_DAY + hours * PARTS_OF_DAY // 24)[is_later]
    is_new = (values.first_days == values.days)[is_later]
    _, positions, sizes = np.unique(parts, return_inverse=True, return_counts=True)
    sums = np.bincount(positions, is_new.astype(np.float64))
    is_large = sizes >= FEWEST_ROWS
    if is_large.sum() < 3:
        return 0.0
    shares, sizes = sums[is_large] / sizes[is_large], sizes[is_large]
    mean = float(shares.mean())
    within = float((mean * (1 - mean) / sizes).mean())
    return round(float(np.sqrt(max(0.0, float(shares.var(ddof=1)) - within))), 9)
