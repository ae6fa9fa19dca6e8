"""Finds the numbers of an explanation that the incident's payload does not support. Pure.

A number is grounded if the payload holds it or if it follows by a usual conversion: a rate as a percentage, rounding,
the distance from the reference, a time of day, a duration in another unit. Every other number is returned with its
position, so that it can be marked. Words for numbers ("three", "half") are not checked.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto

from stillsafe.core.evidence.quoted_text import UNVERIFIED_MARK
from stillsafe.core.signals import Signal
from stillsafe.observer.payload import Deviation, IncidentPayload

MARK = UNVERIFIED_MARK
COARSEST_ROUNDING = Decimal("0.05")
"""Largest relative rounding error, except with at least as many decimals as the monitor's own sentences have."""
_SEPARATORS = ",'_\u00a0\u2009\u202f"
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = "(?-i:" + "|".join(f"{name.title()}|{name[:3].title()}" for name in _MONTHS) + ")"
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SCALES = {"k": 10**3, "thousand": 10**3, "m": 10**6, "million": 10**6, "billion": 10**9}
_TOKEN = re.compile(
    rf"""
      (?P<date>(?P<iso_year>\d{{4}})-(?P<iso_month>\d\d)-(?P<iso_day>\d\d))
    | (?P<day_first>(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s(?P<month>{_MONTH})\b(?:,?\s(?P<year>\d{{4}}))?)
    | (?P<month_first>\b(?P<its_month>{_MONTH})\.?\s(?P<its_day>\d{{1,2}})(?!\d|[.:]\d)(?:st|nd|rd|th)?
        (?:,?\s(?P<its_year>\d{{4}}))?)
    | (?P<clock>(?P<hour>\d{{1,2}}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d+)?)?
        (?:\s?(?P<half>[ap])\.?m\b)?(?:Z|\+00:00)?)
    | (?P<number>(?:(?<![\w)])[-+\u2212])?(?:\d{{1,3}}(?:[{_SEPARATORS}]\d{{3}})+(?!\d)|\d+)(?:\.\d+)?
        (?:e[-+]?\d{{1,3}}\b)?)
      (?:(?P<percent>\s?%|[\s-]per\s?cent\b|[\s-](?:percentage\s)?points?\b|\s?pp\b)
        |[\s-]?(?P<scale>k|thousand|(?-i:M)|million|billion)\b
        |[\s-]?(?P<unit>s|secs?|seconds?|(?-i:m)|mins?|minutes?|h|hrs?|hours?|d|days?|weeks?)\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ENUMERATION = re.compile(r"^[ \t]*\(?\d{1,2}[.)](?=\s)", re.MULTILINE)
_NUMERIC_NAME = re.compile(r"[-+]?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class UnverifiedNumber:
    """A number that the payload does not support, at `text[start:end]`."""

    number: str
    start: int
    end: int


class _Kind(Enum):
    """The notation of a number."""

    PLAIN = auto()  #: `612`, `0.97`, `12k`
    PERCENT = auto()  #: `97%`, `5 points`
    SECONDS = auto()  #: a duration: `90 minutes`
    DAY = auto()  #: a date: `2026-03-01`, `March 1`
    CLOCK = auto()  #: a time of day: `12:40`
    SYMBOL = auto()  #: one character: `½`


_DECIMALS = {_Kind.PLAIN: 2, _Kind.PERCENT: 1, _Kind.SECONDS: None}
"""Decimals of rates in the monitor's own sentences."""

_Parts = tuple[Decimal | int | None, ...]
_Figures = dict[_Kind, set[_Parts]]
"""The numbers that a payload supports, by notation."""


@dataclass(frozen=True, slots=True)
class _Number:
    """A number in a text: its position, notation, parts, and the value of one unit of its last digit."""

    start: int
    end: int
    kind: _Kind
    parts: _Parts = ()
    ulp: Decimal = Decimal(0)


def unverified_numbers(text: str, payload: IncidentPayload) -> tuple[UnverifiedNumber, ...]:
    """The numbers of the text that the payload does not support, in order."""
    figures = _figures(payload)
    return tuple(
        UnverifiedNumber(text[number.start : number.end], number.start, number.end)
        for number in _numbers(text, _names(payload))
        if not _is_grounded(number, figures)
    )


def mark_unverified(text: str, numbers: Iterable[UnverifiedNumber]) -> str:
    """The text with `MARK` after each of the numbers."""
    for number in sorted(numbers, key=lambda each: each.end, reverse=True):
        text = f"{text[: number.end]}{MARK}{text[number.end :]}"
    return text


def _numbers(text: str, names: Iterable[str]) -> Iterator[_Number]:
    """Every number of the text in order, except list numbers and numbers that belong to a name."""
    exempt_spans = [match.span() for match in _ENUMERATION.finditer(text)]
    for name in names:
        exempt_spans += [match.span() for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    symbols = [
        _Number(index, index + 1, _Kind.SYMBOL)
        for index, sign in enumerate(text)
        if unicodedata.category(sign) in ("No", "Nl")
    ]
    tokens = [_parse(match) for match in _TOKEN.finditer(text)]
    for number in sorted([*symbols, *tokens], key=lambda each: each.start):
        if not any(start <= number.start and number.end <= end for start, end in exempt_spans):
            yield number


def _parse(match: re.Match[str]) -> _Number:
    start, end = match.span(match.lastgroup if match.lastgroup in ("date", "clock") else 0)
    if match["number"]:
        return _parse_number(match)
    if match["clock"]:
        hour, minute, second = (None if match[name] is None else int(match[name]) for name in _CLOCK_PARTS)
        if match["half"] and hour is not None:
            hour = hour % 12 + (12 if match["half"].lower() == "p" else 0)
        return _Number(start, end, _Kind.CLOCK, (hour, minute, second))
    if match["date"]:
        return _Number(start, end, _Kind.DAY, tuple(int(match[f"iso_{part}"]) for part in ("year", "month", "day")))
    prefix = "its_" if match["month_first"] else ""
    year, name = match[f"{prefix}year"], match[f"{prefix}month"].lower()
    month = 1 + next(n for n, full in enumerate(_MONTHS) if full.startswith(name))
    return _Number(start, end, _Kind.DAY, (int(year) if year else None, month, int(match[f"{prefix}day"])))


_CLOCK_PARTS = ("hour", "minute", "second")


def _parse_number(match: re.Match[str]) -> _Number:
    digits = match["number"].replace("\u2212", "-").translate({ord(sign): None for sign in _SEPARATORS})
    number = Decimal(digits)
    ulp = Decimal(1).scaleb(int(number.as_tuple().exponent))
    start, end = match.span("number")
    if match["percent"]:
        end = match.end() if match["percent"].endswith("%") else end
        return _Number(start, end, _Kind.PERCENT, (number,), ulp)
    if match["unit"]:
        seconds = _UNIT_SECONDS[match["unit"][0].lower()]
        return _Number(start, end, _Kind.SECONDS, (number * seconds,), ulp * seconds)
    scale = _SCALES[match["scale"].lower()] if match["scale"] else 1
    return _Number(start, end, _Kind.PLAIN, (number * scale,), ulp * scale)


def _is_grounded(number: _Number, figures: _Figures) -> bool:
    if number.kind in (_Kind.DAY, _Kind.CLOCK, _Kind.SYMBOL):
        return any(_agrees(number.parts, figure) for figure in figures[number.kind])
    return any(_rounds_to(number, Decimal(figure)) for (figure,) in figures[number.kind] if figure is not None)


def _agrees(parts: _Parts, figure: _Parts) -> bool:
    """Whether a date or time equals a figure in every part that it has."""
    return all(part is None or part == other for part, other in zip(parts, figure, strict=True))


def _rounds_to(number: _Number, figure: Decimal) -> bool:
    """Whether a number is a figure rounded to the number's last digit, and not too coarsely."""
    value = number.parts[0]
    if value is None:
        return False
    difference = abs(Decimal(value) - figure)
    if difference == 0:
        return True
    if difference > number.ulp / 2 + abs(figure) * Decimal("1e-9"):
        return False
    decimals = _DECIMALS[number.kind]
    if decimals is not None and number.ulp <= Decimal(1).scaleb(-decimals):
        return True
    is_rate = number.kind is _Kind.PLAIN and abs(figure) < 1  # "1" does not count as 0.97 rounded
    return difference <= COARSEST_ROUNDING * abs(figure) and not (is_rate and number.ulp >= 1)


def _names(payload: IncidentPayload) -> list[str]:
    """Names that may hold digits. A client's text counts only with its quotes."""
    features = [name for each in payload.deviations for name in (each.feature, *each.instead_of) if name]
    new_values = [value for each in payload.deviations for value in each.new_values]
    own = [payload.incident_id, payload.service, payload.model_version, *features, *payload.fallback.avoided_features]
    return [*(name for name in own if name and not _NUMERIC_NAME.fullmatch(name)), *new_values]


def _figures(payload: IncidentPayload) -> _Figures:
    figures: _Figures = {kind: set() for kind in _Kind}
    figures[_Kind.PLAIN] |= {(_exact(count),) for count in _counts(payload)}
    for name in (payload.model_version, payload.fallback.default):
        if _NUMERIC_NAME.fullmatch(name):
            figures[_Kind.PLAIN].add((Decimal(name),))
    for deviation in payload.deviations:
        _add_reading(figures, deviation)
    for moment in (payload.detected_at, payload.at, payload.window_start, payload.window_end):
        _add_moment(figures, moment)
    for span in (payload.window_end - payload.window_start, payload.at - payload.detected_at):
        figures[_Kind.SECONDS].add((_exact(span.total_seconds()),))
    names = _names(payload)
    for text in (payload.reason, payload.earlier_reason, *(each.sentence for each in payload.deviations)):
        for number in _numbers(text, names):
            figures[number.kind].add(tuple(0 if part is None else part for part in number.parts))
    figures[_Kind.SYMBOL].clear()
    return figures


def _counts(payload: IncidentPayload) -> Iterator[float]:
    traffic, features = payload.traffic, {each.feature for each in payload.deviations if each.feature}
    yield from (traffic.prediction_count, traffic.fallback_count, traffic.refusal_count, traffic.model_error_count)
    yield from (len(payload.deviations), payload.further_deviations, payload.fallback.rule_count, len(features))
    yield len(payload.deviations) + payload.further_deviations
    for each in payload.deviations:
        yield from (each.sample_count, each.deviating_runs, each.severe_runs)
        if each.repeated_value is not None:
            yield each.repeated_value


def _add_reading(figures: _Figures, deviation: Deviation) -> None:
    """Add a reading's numbers, its distance from the reference, and that distance relative to the reference."""
    readings = [deviation.value, deviation.reference, deviation.moderate_limit, deviation.severe_limit]
    numbers = {_exact(number) for number in readings if number is not None}
    if deviation.signal is Signal.SILENCE_SECONDS:
        figures[_Kind.SECONDS] |= {(number,) for number in numbers}
        return
    if deviation.value is not None and deviation.reference is not None:
        value, reference = _exact(deviation.value), _exact(deviation.reference)
        numbers |= {value - reference, reference - value}
        if reference:
            change = 100 * (value - reference) / reference
            figures[_Kind.PERCENT] |= {(change,), (-change,)}
    figures[_Kind.PLAIN] |= {(number,) for number in numbers}
    figures[_Kind.PERCENT] |= {(100 * number,) for number in numbers}


def _add_moment(figures: _Figures, moment: datetime) -> None:
    figures[_Kind.DAY].add((moment.year, moment.month, moment.day))
    figures[_Kind.CLOCK].add((moment.hour, moment.minute, moment.second))
    figures[_Kind.PLAIN].add((moment.year,))


def _exact(number: float) -> Decimal:
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
