"""Numbers and times in words, for a page: short, in UTC, and never NaN."""

import math
from datetime import datetime

from stillsafe.core.signals import Reading, Signal

NOTHING = "–"
LONGEST_CLIENT_TEXT = 40


def percent(rate: float | None) -> str:
    """A share of one as a percentage."""
    return NOTHING if rate is None or not math.isfinite(100 * rate) else f"{100 * rate:.1f} %"


def decimal(value: float | None) -> str:
    """A confidence."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.3f}"


def count(value: int | float | None) -> str:
    """A whole number, grouped by thousands."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def span(length_seconds: float | None) -> str:
    """A length of time in its two largest units."""
    if length_seconds is None or not math.isfinite(length_seconds):
        return NOTHING
    left = round(abs(length_seconds))
    if left < 1:
        return f"{1000 * abs(length_seconds):.0f} ms"
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount:
            parts.append(f"{amount} {name}")
    return " ".join(parts[:2])


def moment(at: datetime | None) -> str:
    """A time to the second."""
    return NOTHING if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, or how far ahead where the clocks disagree."""
    if at is None:
        return "never"
    apart = (now - at).total_seconds()
    if abs(apart) < 1:
        return "just now"
    return f"{span(apart)} ago" if apart > 0 else f"in {span(apart)}"


def measured(signal: Signal, value: float | None) -> str:
    """A reading's number in the signal's own unit."""
    if signal is Signal.AVG_CONFIDENCE:
        return decimal(value)
    return span(value) if signal is Signal.SILENCE_SECONDS else percent(value)


def limits(reading: Reading) -> str:
    """Where the levels of a reading begin, as values that can be compared with the reading itself."""
    told = [
        f"{words} {_beyond(reading, limit)}"
        for words, limit in (("moderate", reading.moderate_limit), ("severe", reading.severe_limit))
        if limit is not None
    ]
    return ", ".join(told) or NOTHING


def _beyond(reading: Reading, limit: float) -> str:
    reference = reading.reference or 0.0
    if reading.signal is Signal.SILENCE_SECONDS:
        return f"> {span(limit)}"
    if reading.signal is Signal.AVG_CONFIDENCE:
        return f"< {decimal(max(0.0, reference - limit))} or > {decimal(reference + limit)}"
    return f"> {percent(reference + limit)}"


def cut(text: object) -> str:
    """A client's text, short enough for a table. Escaping is the template's business."""
    words = " ".join(str(text).split())
    return words if len(words) <= LONGEST_CLIENT_TEXT else f"{words[:LONGEST_CLIENT_TEXT]}…"
