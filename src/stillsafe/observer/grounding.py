"""Whether every number in a text about an incident stands in the incident's payload. Pure.

A number counts as grounded if it is one of the payload's, or follows from them in a way that a reader would accept:
a rate as a percentage, rounded, a distance from the reference, a time of day, a length of time in another unit. All
else is returned with its place, to be marked where the text is shown. Words ("three", "half") are not numbers here.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto

from stillsafe.core.signals import Signal
from stillsafe.observer.payload import Deviation, IncidentPayload

MARK = " [unverified]"
COARSEST = Decimal("0.05")
"""Rounding may move a number by so much of itself; only with the monitor's own number of decimals by more."""
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
class Unverified:
    """A number that the payload does not hold, at `text[start:end]`."""

    number: str
    start: int
    end: int


class _Kind(Enum):
    """How a number is meant."""

    PLAIN = auto()
    PERCENT = auto()
    SECONDS = auto()
    DAY = auto()
    CLOCK = auto()
    ODD = auto()


_DECIMALS = {_Kind.PLAIN: 2, _Kind.PERCENT: 1, _Kind.SECONDS: None}
"""Decimals with which the monitor's own sentences tell a rate: so many say enough even of hardly any."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A number of a text: its place, how it is meant, its parts, and the worth of its last digit."""

    start: int
    end: int
    kind: _Kind
    parts: tuple[Decimal | int | None, ...] = ()
    ulp: Decimal = Decimal(0)


_Known = dict[_Kind, set[tuple[Decimal | int | None, ...]]]


def unverified(text: str, payload: IncidentPayload) -> tuple[Unverified, ...]:
    """The numbers of the text that are not the payload's, in order."""
    known = _known(payload)
    said = _numbers(text, _names(payload))
    return tuple(Unverified(text[one.start : one.end], one.start, one.end) for one in said if not _grounded(one, known))


def marked(text: str, doubts: Iterable[Unverified]) -> str:
    """The text with each of them marked behind it."""
    for doubt in sorted(doubts, key=lambda each: each.end, reverse=True):
        text = f"{text[: doubt.end]}{MARK}{text[doubt.end :]}"
    return text


def _numbers(text: str, names: Iterable[str]) -> Iterator[_Said]:
    """Every number of the text, but for those that only count a list's points or belong to a name."""
    spared = [match.span() for match in _ENUMERATION.finditer(text)]
    for name in names:
        spared += [match.span() for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    odd = [_Said(n, n + 1, _Kind.ODD) for n, sign in enumerate(text) if unicodedata.category(sign) in ("No", "Nl")]
    read = [_read(match) for match in _TOKEN.finditer(text)]
    for said in sorted([*odd, *read], key=lambda one: one.start):
        if not any(start <= said.start and said.end <= end for start, end in spared):
            yield said


def _read(match: re.Match[str]) -> _Said:
    start, end = match.span(match.lastgroup if match.lastgroup in ("date", "clock") else 0)
    if match["number"]:
        return _read_number(match)
    if match["clock"]:
        hour, minute, second = (None if match[name] is None else int(match[name]) for name in _CLOCK_PARTS)
        if match["half"] and hour is not None:
            hour = hour % 12 + (12 if match["half"].lower() == "p" else 0)
        return _Said(start, end, _Kind.CLOCK, (hour, minute, second))
    if match["date"]:
        return _Said(start, end, _Kind.DAY, tuple(int(match[f"iso_{part}"]) for part in ("year", "month", "day")))
    prefix = "its_" if match["month_first"] else ""
    year, name = match[f"{prefix}year"], match[f"{prefix}month"].lower()
    month = 1 + next(n for n, full in enumerate(_MONTHS) if full.startswith(name))
    return _Said(start, end, _Kind.DAY, (int(year) if year else None, month, int(match[f"{prefix}day"])))


_CLOCK_PARTS = ("hour", "minute", "second")


def _read_number(match: re.Match[str]) -> _Said:
    told = match["number"].replace("\u2212", "-").translate({ord(sign): None for sign in _SEPARATORS})
    number = Decimal(told)
    ulp = Decimal(1).scaleb(int(number.as_tuple().exponent))
    start, end = match.span("number")
    if match["percent"]:
        end = match.end() if match["percent"].endswith("%") else end
        return _Said(start, end, _Kind.PERCENT, (number,), ulp)
    if match["unit"]:
        seconds = _UNIT_SECONDS[match["unit"][0].lower()]
        return _Said(start, end, _Kind.SECONDS, (number * seconds,), ulp * seconds)
    scale = _SCALES[match["scale"].lower()] if match["scale"] else 1
    return _Said(start, end, _Kind.PLAIN, (number * scale,), ulp * scale)


def _grounded(said: _Said, known: _Known) -> bool:
    if said.kind in (_Kind.DAY, _Kind.CLOCK, _Kind.ODD):
        return any(_agrees(said.parts, parts) for parts in known[said.kind])
    return any(_rounds_to(said, Decimal(number)) for (number,) in known[said.kind] if number is not None)


def _agrees(said: tuple[object, ...], known: tuple[object, ...]) -> bool:
    return all(one is None or one == other for one, other in zip(said, known, strict=True))


def _rounds_to(said: _Said, known: Decimal) -> bool:
    """Whether a number is a known one rounded to its last digit, and not so coarsely that it says nothing."""
    number = said.parts[0]
    if number is None:
        return False
    off = abs(Decimal(number) - known)
    if off == 0:
        return True
    if off > said.ulp / 2 + abs(known) * Decimal("1e-9"):
        return False
    decimals = _DECIMALS[said.kind]
    if decimals is not None and said.ulp <= Decimal(1).scaleb(-decimals):
        return True
    a_share = said.kind is _Kind.PLAIN and abs(known) < 1  # "1" is no way to say 0.97
    return off <= COARSEST * abs(known) and not (a_share and said.ulp >= 1)


def _names(payload: IncidentPayload) -> list[str]:
    """Names that may hold digits. A client's text counts only where it stands in its quotes."""
    features = [name for each in payload.deviations for name in (each.feature, *each.instead_of) if name]
    new_values = [value for each in payload.deviations for value in each.new_values]
    own = [payload.incident_id, payload.service, payload.model_version, *features, *payload.fallback.avoided_features]
    return [*(name for name in own if name and not _NUMERIC_NAME.fullmatch(name)), *new_values]


def _known(payload: IncidentPayload) -> _Known:
    known: _Known = {kind: set() for kind in _Kind}
    known[_Kind.PLAIN] |= {(_exact(number),) for number in _counts(payload)}
    for told in (payload.model_version, payload.fallback.default):
        if _NUMERIC_NAME.fullmatch(told):
            known[_Kind.PLAIN].add((Decimal(told),))
    for deviation in payload.deviations:
        _learn_reading(known, deviation)
    for moment in (payload.detected_at, payload.at, payload.window_start, payload.window_end):
        _learn_moment(known, moment)
    for span in (payload.window_end - payload.window_start, payload.at - payload.detected_at):
        known[_Kind.SECONDS].add((_exact(span.total_seconds()),))
    names = _names(payload)
    for told in (payload.reason, payload.earlier_reason, *(each.sentence for each in payload.deviations)):
        for said in _numbers(told, names):
            known[said.kind].add(tuple(0 if part is None else part for part in said.parts))
    known[_Kind.ODD].clear()
    return known


def _counts(payload: IncidentPayload) -> Iterator[float]:
    traffic, features = payload.traffic, {each.feature for each in payload.deviations if each.feature}
    yield from (traffic.prediction_count, traffic.fallback_count, traffic.refusal_count, traffic.model_error_count)
    yield from (len(payload.deviations), payload.further_deviations, payload.fallback.rule_count, len(features))
    yield len(payload.deviations) + payload.further_deviations
    for each in payload.deviations:
        yield from (each.sample_count, each.deviating_runs, each.severe_runs)
        if each.repeated_value is not None:
            yield each.repeated_value


def _learn_reading(known: _Known, deviation: Deviation) -> None:
    """A reading's own numbers, its distance from the reference, and how much of the reference that is."""
    numbers = [deviation.value, deviation.reference, deviation.moderate_limit, deviation.severe_limit]
    told = {_exact(number) for number in numbers if number is not None}
    if deviation.signal is Signal.SILENCE_SECONDS:
        known[_Kind.SECONDS] |= {(number,) for number in told}
        return
    if deviation.value is not None and deviation.reference is not None:
        value, reference = _exact(deviation.value), _exact(deviation.reference)
        told |= {value - reference, reference - value}
        if reference:
            change = 100 * (value - reference) / reference
            known[_Kind.PERCENT] |= {(change,), (-change,)}
    known[_Kind.PLAIN] |= {(number,) for number in told}
    known[_Kind.PERCENT] |= {(100 * number,) for number in told}


def _learn_moment(known: _Known, moment: datetime) -> None:
    known[_Kind.DAY].add((moment.year, moment.month, moment.day))
    known[_Kind.CLOCK].add((moment.hour, moment.minute, moment.second))
    known[_Kind.PLAIN].add((moment.year,))


def _exact(number: float) -> Decimal:
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
