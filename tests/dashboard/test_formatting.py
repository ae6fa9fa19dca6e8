"""Numbers and times as text: short, in the signal's unit, and never NaN."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.dashboard import formatting

from .story import EVERY, START


def reading(signal: Signal, reference: float, moderate: float | None, severe: float | None) -> Reading:
    return Reading(signal, None, Evidence.OK, Level.NONE, 0.5, reference, moderate, severe, 100)


@given(st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.just(0.0))
def test_no_text_contains_nan(number: float | None) -> None:
    """A number that cannot be shown is a dash, never NaN or infinity."""
    for formatter in (formatting.percent, formatting.decimal, formatting.count, formatting.span):
        assert not re.search("nan|inf", formatter(number))


@pytest.mark.parametrize(
    ("length", "text"),
    [(0.02, "20 ms"), (3, "3 s"), (60, "1 min"), (754, "12 min 34 s"), (7_500, "2 h 5 min"), (176_400, "2 d 1 h")],
)
def test_spans_are_short(length: float, text: str) -> None:
    """A duration is shown in its two largest units."""
    assert formatting.span(length) == text


def test_times_are_relative_to_now() -> None:
    """A time is in the past, ahead where clocks disagree, or never."""
    assert formatting.time_since(START, START + EVERY) == "10 min ago"
    assert formatting.time_since(START + EVERY, START) == "in 10 min"
    assert formatting.time_since(START, START) == "just now"
    assert formatting.time_since(None, START) == "never"
    assert formatting.moment(START) == "2026-03-01T12:00:00Z"


def test_values_have_the_unit_of_their_signal() -> None:
    """A confidence is a decimal, a rate a percentage, a silence a duration."""
    assert formatting.format_value(Signal.AVG_CONFIDENCE, 0.5) == "0.500"
    assert formatting.format_value(Signal.MISSING_RATE, 0.5) == "50.0%"
    assert formatting.format_value(Signal.SILENCE_SECONDS, 90.0) == "1 min 30 s"
    assert formatting.format_value(Signal.MISSING_RATE, None) == formatting.NO_VALUE


def test_limits_can_be_compared_with_the_value() -> None:
    """Limits are values and not distances: of both sides where both deviate, and from zero for a duration."""
    assert formatting.format_limits(reading(Signal.MISSING_RATE, 0.02, 0.05, 0.25)) == "moderate > 7.0%, severe > 27.0%"
    two_sided = formatting.format_limits(reading(Signal.AVG_CONFIDENCE, 0.9, 0.05, None))
    assert two_sided == "moderate < 0.850 or > 0.950"
    assert formatting.format_limits(reading(Signal.SILENCE_SECONDS, 30.0, 600.0, None)) == "moderate > 10 min"
    assert formatting.format_limits(reading(Signal.MISSING_RATE, 0.02, None, None)) == formatting.NO_VALUE


@given(st.text())
def test_client_text_is_one_short_line(text: str) -> None:
    """Whatever a client sent, the table shows one line of limited length."""
    line = formatting.shorten(text)
    assert len(line) <= formatting.LONGEST_CLIENT_TEXT + len("...")
    assert len(line.splitlines()) <= 1
