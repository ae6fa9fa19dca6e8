"""Recognises a month, a quarter, a year, a week or a day by how its values are written, whatever the column's name.

With the times of the rows, each value must be one rendering of its own row's date. Without them a value must have a
form that can only be one, such as `2026-03` or `March`.
"""

import re
from collections.abc import Collection, Mapping
from datetime import date
from functools import lru_cache

import numpy as np

from stillsafe.core.evidence.slot_table import ClockUnit
from stillsafe.monitoring.columns import DictionaryColumn
from stillsafe.monitoring.local_time import LocalTimes

MOST_VALUES = 400
"""Distinct values up to which a column may be a part of the date; a day of the year has 366."""
FEWEST_WEAK_VALUES = 3
"""Distinct values from which on small numbers, such as a day of the month, are a form: one or two agree by chance."""
YEARS = range(1990, 2041)
QUARTERS_OF_DAY = 96
TIME_SHARE = 0.98
"""Share of the rows whose time of day must be the same distance from that of the request."""
_MONTH_TEXTS = {
    "english": "january february march april may june july august september october november december",
    "german": "januar februar märz april mai juni juli august september oktober november dezember",
    "french": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "spanish": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "italian": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "portuguese": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "dutch": "januari februari maart april mei juni juli augustus september oktober november december",
}
_MONTHS: Mapping[str, tuple[str, ...]] = {language: tuple(text.split()) for language, text in _MONTH_TEXTS.items()}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SEASONS = {"winter", "spring", "summer", "autumn", "fall"}
_YEAR_MONTH = re.compile(r"(?P<year>\d{4})m?(?P<month>\d{2})|(?P<month2>\d{2})(?P<year2>\d{4})")
_QUARTER = re.compile(r"(fy)?(\d{4}|\d{2})?q[1-4]((\d{4}|\d{2}))?|[1-4]q(\d{4}|\d{2})?")
_TIME = re.compile(r"(\d{1,2}):(\d{2})(:\d{2})?")


def calendar_unit(texts: DictionaryColumn, local: LocalTimes) -> ClockUnit | None:
    """The unit of the clock of which each value is a rendering for its own row; None of another column.

    `MONTH` and `WEEKDAY` come again; `DATE` stands for what does not, such as a year and month.
    """
    counts = texts.counts()
    counts.pop(None, None)
    if not counts:
        return None
    if len(counts) > MOST_VALUES:
        return ClockUnit.HALF_HOUR if _is_time_of_day(texts, local) else None
    days = local.days()
    pairs = np.unique(np.stack([texts.indices.astype(np.int64), days]), axis=1)
    values = [_plain(text) for text in texts.vocabulary]
    forms: set[str] | None = None
    for index, day in pairs.T.tolist():
        if values[index] is None:
            continue
        matching = _matching_forms(str(values[index]), day)
        forms = matching if forms is None else forms & matching
        if not forms:
            return ClockUnit.HALF_HOUR if _is_time_of_day(texts, local) else None
    strong = [form for form in forms or () if not form.startswith("weak") or len(counts) >= FEWEST_WEAK_VALUES]
    if set(strong) == {"month number"} and set(map(str, counts)) <= {"1"}:
        return None  # in January also a flag that is always set
    units = {_unit_of(form) for form in strong}
    return next((unit for unit in (ClockUnit.MONTH, ClockUnit.WEEKDAY, ClockUnit.DATE) if unit in units), None)


def has_calendar_form(texts: DictionaryColumn) -> bool:
    """Whether all values have a form that can only be a month, a quarter or a season."""
    distinct = [_plain(text) for text in texts.counts() if text is not None]
    values = {value for value in distinct if value is not None}
    if not values or len(values) < len(distinct) or len(values) > MOST_VALUES:
        return False
    if values <= _month_names() or values <= _SEASONS or _are_named_months(values):
        return True
    quarters = [_QUARTER.fullmatch(value) for value in values]
    has_years = all(len(value) > len("q1") for value in values)
    is_quarter = all(quarters) and (has_years or len(values) < len("1234"))  # all four may be the quarters of a scale
    return is_quarter or _are_successive_months(values)


def _are_named_months(values: Collection[str]) -> bool:
    """Whether all values are names of months with a year: `mar2026`."""
    parts = [re.fullmatch(r"([^\W\d]+)(\d{4}|\d{2})|(\d{4})([^\W\d]+)", value) for value in values]
    return all(part is not None and (part[1] or part[4]) in _month_names() for part in parts)


def _are_successive_months(values: Collection[str]) -> bool:
    """Whether the values are years with months, one after the other without a gap."""
    months = []
    for value in values:
        match = _YEAR_MONTH.fullmatch(value)
        if match is None:
            return False
        candidates = [(match["year"], match["month"]), (match["year2"], match["month2"])]
        if match["year"] is not None and len(value) == 6:
            candidates.append((value[2:], value[:2]))
        dates = [(int(y), int(m)) for y, m in candidates if y is not None and int(y) in YEARS and 1 <= int(m) <= 12]
        if not dates:
            return False
        months.append(dates[0][0] * 12 + dates[0][1])
    return max(months) - min(months) < len(set(months))


def _plain(text: object) -> str | None:
    """A value without the marks between its parts, in small letters; None of anything but text and whole number."""
    if text is None:
        return None
    value = str(text).strip().casefold()
    value = re.sub(r"(?<=\w)[-/_ ]+(?=\w)", "", value)
    value = re.sub(r"^(\d{2})\.(?=\d{4}$)|(?<=^\d{4})\.(?=\d{2}$)", r"\1", value)
    return value.removesuffix(".") or None


def _matching_forms(value: str, day: int) -> set[str]:
    """The forms in which a value is a rendering of a day, or of one beside it as another time zone has it."""
    days = (date.fromordinal(day + shift) for shift in (0, -1, 1))
    return {form for each in days for form, text in _renderings(each).items() if text == value}


def _unit_of(form: str) -> ClockUnit:
    if form.startswith(("month", "quarter", "half")):
        return ClockUnit.MONTH
    return ClockUnit.WEEKDAY if "weekday" in form else ClockUnit.DATE


@lru_cache(maxsize=1)
def _month_names() -> frozenset[str]:
    """The names of months, short ones in English only: `out` is a month in Portuguese."""
    names = {name for months in _MONTHS.values() for name in months}
    return frozenset(names | {name[:length] for name in _MONTHS["english"] for length in (3, 4)})


@lru_cache(maxsize=1_000)
def _renderings(day: date) -> dict[str, str]:
    """How a day's parts are written, by the name of the form; without the marks between the parts."""
    parts = _month_parts(day)
    years = {"year": str(day.year), "short year": f"{day.year % 100:02d}"}
    forms = {
        "year": years["year"],
        "year fiscal": f"fy{years['year']}",
        "year fiscal short": f"fy{years['short year']}",
    }
    for kind, year in years.items():
        for name, part in parts.items():
            if kind == "year" or name != "month number":
                forms |= {f"{kind} before {name}": year + part, f"{kind} after {name}": part + year}
    return {**parts, **forms, **_day_parts(day)}


def _month_parts(day: date) -> dict[str, str]:
    """How the parts of a year are written."""
    month, quarter, half = day.month, (day.month + 2) // 3, (day.month + 5) // 6
    names = {f"month {language} {n}": months[month - 1][:n] for language, months in _MONTHS.items() for n in (3, 4, 20)}
    return {
        **names,
        "month number": str(month),
        "month in two digits": f"{month:02d}",
        "month m": f"m{month}",
        "month m in two digits": f"m{month:02d}",
        "quarter q": f"q{quarter}",
        "quarter q in two digits": f"q{quarter:02d}",
        "quarter last": f"{quarter}q",
        "half h": f"h{half}",
    }


def _day_parts(day: date) -> dict[str, str]:
    """How weeks, weekdays and days are written."""
    iso, name = day.isocalendar(), _WEEKDAYS[day.weekday()]
    return {
        "week": f"{iso.year}w{iso.week:02d}",
        "week alone": f"w{iso.week:02d}",
        "week short": f"w{iso.week}",
        **{f"weekday {length}": name[:length] for length in (2, 3, 20)},
        "weak week": str(iso.week),
        "weak week in two digits": f"{iso.week:02d}",
        "weak day": str(day.day),
        "weak day in two digits": f"{day.day:02d}",
        "weak day of year": str(day.timetuple().tm_yday),
        "weak day of year in three digits": f"{day:%j}",
        "weak weekday": str(day.weekday()),
        "weak weekday from 1": str(iso.weekday),
        "weak weekday from Sunday": str(iso.weekday % 7),
        "weak weekday from Sunday 1": str(iso.weekday % 7 + 1),
        "date": f"{day:%Y%m%d}",
        "date the other way": f"{day:%d%m%Y}",
        "day and month": f"{day:%d%m}",
    }


def _is_time_of_day(texts: DictionaryColumn, local: LocalTimes) -> bool:
    """Whether the values are times of the day that keep one distance from the request, such as `07:31`."""
    matches = [None if text is None else _TIME.fullmatch(str(text).strip()) for text in texts.vocabulary]
    indices = np.unique(texts.indices).tolist()
    if not all(matches[index] for index in indices if texts.vocabulary[index] is not None):
        return False
    own = np.array([0 if each is None else int(each[1]) * 4 + int(each[2]) // 15 for each in matches])[texts.indices]
    clock = np.array([each.hour * 4 + each.minute // 15 for each in local.quarters])[local.positions]
    is_present = np.array([each is not None for each in matches])[texts.indices]
    distances = np.bincount(((own - clock) % QUARTERS_OF_DAY)[is_present], minlength=QUARTERS_OF_DAY)
    return bool(distances.max() >= TIME_SHARE * max(distances.sum(), 1))
