"""Numbers and times as short text for a page: times as ISO 8601 in UTC with `Z`, and never NaN."""

import math
from datetime import datetime

from stillsafe.core.evidence.sentences import number_text
from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.signals import ORIGIN_ZERO, SIGNALS, Reading, Signal, Unit
from stillsafe.core.text import truncate

NO_VALUE = "–"
LONGEST_CLIENT_TEXT = 40


def percent(rate: float | None) -> str:
    """A share in [0, 1] as a percentage with one digit."""
    return NO_VALUE if rate is None or not math.isfinite(100 * rate) else f"{100 * rate:.1f}%"


def decimal(value: float | None) -> str:
    """A confidence with three digits."""
    return NO_VALUE if value is None or not math.isfinite(value) else f"{value:.3f}"


def count(value: int | float | None) -> str:
    """A whole number, grouped by thousands."""
    return NO_VALUE if value is None or not math.isfinite(value) else f"{value:,.0f}"


def span(length_seconds: float | None) -> str:
    """A duration in its two largest units; below one second in milliseconds."""
    if length_seconds is None or not math.isfinite(length_seconds):
        return NO_VALUE
    remainder = round(abs(length_seconds))
    if remainder < 1:
        return f"{1000 * abs(length_seconds):.0f} ms"
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, remainder = divmod(remainder, size)
        if amount:
            parts.append(f"{amount} {name}")
    return " ".join(parts[:2])


def moment(at: datetime | None) -> str:
    """A time to the second as every sentence and command writes it, such as 2026-01-31T12:00:00Z."""
    return NO_VALUE if at is None else time_text(at)


def time_since(at: datetime | None, now: datetime) -> str:
    """How long ago a time was, or how far ahead it is where clocks disagree."""
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(seconds)}"


def format_value(signal: Signal, value: float | None) -> str:
    """A reading's number in the unit of its signal."""
    match SIGNALS[signal].unit:
        case Unit.SECONDS:
            return span(value)
        case Unit.SCORE:
            return decimal(value)
        case Unit.SHARE:
            return percent(value)
        case unit:
            return NO_VALUE if value is None or not math.isfinite(100 * value) else number_text(unit, value)


def format_limits(reading: Reading) -> str:
    """The values at which a reading becomes moderate and severe."""
    limits = (("moderate", reading.moderate_limit), ("severe", reading.severe_limit))
    return ", ".join(f"{level} {_limit(reading, limit)}" for level, limit in limits if limit is not None) or NO_VALUE


def _limit(reading: Reading, limit: float) -> str:
    row = SIGNALS[reading.signal]
    origin = 0.0 if row.unit in ORIGIN_ZERO else reading.reference or 0.0
    upper = f"> {format_value(reading.signal, origin + limit)}"
    if not row.two_sided:
        return upper
    return f"< {format_value(reading.signal, max(0.0, origin - limit))} or {upper}"


def shorten(text: object) -> str:
    """A client's text on one line, short enough for a table. It is not escaped: the template does that."""
    return truncate(" ".join(str(text).split()), LONGEST_CLIENT_TEXT)
