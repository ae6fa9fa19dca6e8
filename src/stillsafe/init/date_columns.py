"""Recognises dates and times among the columns of a sample, and how they are written."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from stillsafe.core.schema import FeatureSpec, FeatureType, is_date
from stillsafe.csv_files.table_format import DATE_ORDERS
from stillsafe.monitoring.date_values import date_values
from stillsafe.table_file import date_order, formats_of

FEWEST_DATES = 30
"""Values below which other texts and numbers than ISO 8601 are no evidence of dates."""
MOST_TRIED = 2_000
MOST_EXAMPLES = 5
"""Texts of which each gives the formats that are tried on all."""
DATE_SHARE, MOST_ODD_VALUES = 0.9, 5
"""Share of the values in one format from which on a column is one of dates, and how many different others it may have:
a feed writes a few words for no date, such as 0000-00-00."""
LONGEST_DATE, FEWEST_DIGITS = 40, 4
"""Characters and digits of a date such as 1/2/24."""
EPOCH_UNITS = (("seconds", 1), ("milliseconds", 1_000))
EARLIEST, LATEST = 978_307_200, 2_082_758_400
"""Seconds since 1970 of 2001 and 2036: numbers of other meanings seldom all lie between."""
WHOLE_DATE, WHOLE_DATE_RANGE = "%Y%m%d", (19000101, 21001231)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")
_TIME_WORDS = re.compile(
    "date|time|timestamp|datetime|day|ts|at|epoch|since|until|born|birthday|dob|created|updated|modified|joined|signup|"
    "registered|expires|start|end|.*date|.*time"
)


def text_date_formats(values: Sequence[str], dates: str | None = None) -> tuple[str | None, ...]:
    """The formats in which all texts are dates: None for ISO 8601, else of `strptime`; the likeliest first.

    Args:
        values: the texts.
        dates: the order of day and month or the format, as the owner states it.
    """
    if all(_ISO.match(value) and is_date(value) for value in values):
        return (None,)
    if len(values) < FEWEST_DATES or not _may_be_date(values[0]):
        return ()
    candidates = [dates] if dates is not None and "%" in dates else formats_of(values[0].strip())
    if dates in DATE_ORDERS:
        candidates = [each for each in candidates if date_order(each) == str(dates).replace("-", " ")]
    distinct = list(dict.fromkeys(value.strip() for value in values))[:MOST_TRIED]
    return tuple(form for form in candidates if all(_fits(value, form) for value in distinct))


def common_date_format(values: Sequence[str], dates: str | None = None) -> str | None:
    """The format in which nearly all texts are dates, where the few others are the same words again and again; or None.

    Args:
        values: the texts.
        dates: the order of day and month or the format, as the owner states it.
    """
    if len(values) < FEWEST_DATES:
        return None
    counts = Counter(value.strip() for value in values)
    distinct = list(counts)[:MOST_TRIED]
    likely = [value for value in distinct if _may_be_date(value)][:MOST_EXAMPLES]
    if dates is not None and "%" in dates:
        candidates = [dates]
    else:
        candidates = list(dict.fromkeys(form for value in likely for form in formats_of(value)))
    if dates in DATE_ORDERS:
        candidates = [each for each in candidates if date_order(each) == str(dates).replace("-", " ")]
    for form in candidates:
        others = [value for value in distinct if not _fits(value, form)]
        if _are_few(sum(counts[value] for value in others), len(others), sum(counts[value] for value in distinct)):
            return form if len(distinct) - len(others) > 1 else None
    return None


def _are_few(count: int, distinct_count: int, total: int) -> bool:
    """Whether so many odd values, of so many kinds, leave a column one of dates."""
    return count <= (1 - DATE_SHARE) * total and distinct_count <= MOST_ODD_VALUES


def _without_odd(values: Sequence[Any]) -> Sequence[Any]:
    """Numbers without the few at either end that are repeated and far from the rest, such as 0 and 99999999."""
    counts = Counter(values)
    ascending = sorted(counts)
    ends = {each for each in (*ascending[:2], *ascending[-2:]) if counts[each] > 1 and not _is_likely(each)}
    is_few = _are_few(sum(counts[each] for each in ends), len(ends), len(values))
    return [each for each in values if each not in ends] if is_few else values


def _is_likely(number: float) -> bool:
    """Whether a number alone may be a date or a time since 1970."""
    sizes = (EARLIEST <= number < LATEST, 1_000 * EARLIEST <= number < 1_000 * LATEST)
    first, last = WHOLE_DATE_RANGE
    return any(sizes) or (first <= number <= last and _fits(str(int(number)), WHOLE_DATE))


def number_date_format(name: str, values: Sequence[Any]) -> str | None:
    """How numbers are times: `seconds` or `milliseconds` since 1970, `%Y%m%d`, or None."""
    values = _without_odd(values)
    if len(values) < FEWEST_DATES:
        return None
    low, high = min(values), max(values)
    for unit, size in EPOCH_UNITS:
        is_likely = _names_time(name) or size > 1 or all(isinstance(value, int) for value in values)
        if is_likely and size * EARLIEST <= low and high < size * LATEST and len(set(values)) >= FEWEST_DATES:
            return unit
    first, last = WHOLE_DATE_RANGE
    is_date_like = first <= low and high <= last and len(set(values)) > 1
    distinct = list(dict.fromkeys(values))[:MOST_TRIED]
    is_whole = is_date_like and all(float(each).is_integer() for each in distinct)
    return WHOLE_DATE if is_whole and all(_fits(str(int(each)), WHOLE_DATE) for each in distinct) else None


def date_remark(spec: FeatureSpec, values: Sequence[Any]) -> str:
    """What dates were taken for, how sure that is, and how to change it."""
    watched = "watched by the time from it to the request, and by hour and weekday where these are free"
    number_text = _count_text(spec, values)
    if spec.type is FeatureType.DATE:
        form = "ISO 8601" if spec.date_format is None else spec.date_format
        others = [each for each in text_date_formats(values) if each not in (None, spec.date_format)]
        doubt = (
            f" {others[0]} fits all values too: correct `date_format` if days and months are mixed up."
            if others
            else ""
        )
        return f'{number_text} values are dates ({form}): {watched}. If they are none, set `type = "category"`.{doubt}'
    if spec.date_format == WHOLE_DATE:
        return f"{number_text} numbers are dates (20260131): {watched}. If they are none, delete `date_format`."
    reason = "By its name, and as " if _names_time(spec.name) else "As "
    return (
        f"{reason}{number_text.lower()} numbers lie in the years 2001 to 2035, it is a time in {spec.date_format} "
        f"since 1970: {watched}. If it is none, delete `date_format`."
    )


def _count_text(spec: FeatureSpec, values: Sequence[Any]) -> str:
    """`All 200`, or `190 of 200` where some are no dates."""
    count = int(np.isfinite(date_values(spec, values).micros).sum())
    return f"All {len(values)}" if count == len(values) else f"{count} of {len(values)}"


def _names_time(name: str) -> bool:
    spaced_name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = [word for word in re.findall(r"[a-z]+", spaced_name.lower()) if word not in ("ms", "sec", "s", "utc")]
    return any(map(_TIME_WORDS.fullmatch, words))


def _may_be_date(text: str) -> bool:
    """Whether it is worth trying all formats, which takes half a second."""
    return len(text) <= LONGEST_DATE and sum(map(str.isdigit, text)) >= FEWEST_DIGITS


def _fits(text: str, form: str) -> bool:
    try:
        return bool(datetime.strptime(text, form))
    except (ValueError, re.error):
        return False


def untimed_sentences(names: Sequence[str]) -> Iterator[str]:
    """What is not watched of dates in a sample whose times are not known, and what changes that."""
    if names:
        yield (
            f"Of {', '.join(names)} only dates far from all others are found, because the sample has no `timestamp`. "
            "Add the column, or run `stillsafe baseline create` when some thousand requests are logged."
        )
