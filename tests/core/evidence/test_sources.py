"""Evidence by source: what a source adds to a deviation, who speaks for the service, and what is a few clients' own."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.sources import (
    added_deviation,
    is_of_sources,
    most_outliers,
    source_readings,
    speak_for_service,
)
from stillsafe.core.policy import EVIDENCE, Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal, insufficient
from stillsafe.core.window import Tally, Window

POLICY = Policy()
END = datetime(2026, 3, 1, 12, tzinfo=UTC)


def window(count: int, **fields: object) -> Window:
    """A window of so many rows."""
    tally = Tally(prediction_count=count)
    return replace(Window(END - timedelta(minutes=15), END, "1", tally, tally), **fields)  # type: ignore[arg-type] # any


def reading(value: float, level: Level = Level.NONE, signal: Signal = Signal.MISSING_RATE) -> Reading:
    """A reading of one feature, or of the traffic."""
    evidence = Evidence.OK if level is Level.NONE else Evidence.BAD
    feature = "size" if signal is Signal.MISSING_RATE else None
    return Reading(signal, feature, evidence, level, value, 0.0, 0.05, 0.25, 300)


WHOLE = window(380, source_count=6, outliers={"b" * 16: 40, "a" * 16: 40}, rest=window(300))
BAD = (reading(0.3, Level.SEVERE),)


@pytest.mark.parametrize(("sources", "most"), [(0, 0), (2, 0), (3, 1), (5, 1), (6, 2), (11, 3), (50, 5), (9000, 5)])
def test_few_sources_of_many_may_be_outliers(sources: int, most: int) -> None:
    """Two others for each of them, and never more than five."""
    assert most_outliers(EVIDENCE, sources) == most


def test_the_most_outliers_follow_the_policy() -> None:
    """Both of its numbers decide: the most of many, and the others for each."""
    assert most_outliers(replace(EVIDENCE, outlier_max_sources=2), 50) == 2
    assert most_outliers(replace(EVIDENCE, outlier_min_others=9), 50) == 5
    assert most_outliers(replace(EVIDENCE, outlier_min_others=24), 50) == 2


@pytest.mark.parametrize(
    ("counts", "speak"),
    [
        ((50,), False),
        ((25, 25), True),
        ((25, 24), False),
        ((300, 24), False),
        ((300, 25), True),
        ((6,) * 50, True),
        ((1,) * 49, False),
    ],
)
def test_two_sources_with_enough_rows_speak_for_the_service(counts: tuple[int, ...], speak: bool) -> None:
    """All of them have enough rows, and all but the largest have enough fresh ones."""
    assert speak_for_service(POLICY, {f"{i}": count for i, count in enumerate(counts)}) is speak


@given(st.lists(st.lists(st.integers(0, 200), min_size=4, max_size=4), min_size=1, max_size=6))
def test_what_sources_add_is_the_deviation_of_all(rows: list[list[int]]) -> None:
    """What sources add does not depend on their order, and sums up to a likelihood ratio, which is never negative."""
    counts, healthy = np.array(rows), (700, 200, 90, 10)
    additions = added_deviation(counts, healthy)
    assert np.allclose(added_deviation(counts[::-1], healthy)[::-1], additions)
    assert np.isfinite(additions).all()
    assert additions.sum() >= -1.0  # a likelihood ratio is zero or more, but for the prior


def test_the_source_with_unusual_values_adds_most() -> None:
    """A hostile source with a fifth of the rows is ahead of honest ones with a mixture of their own."""
    counts = np.array([[60, 30, 10, 0], [90, 5, 5, 0], [50, 40, 10, 0], [0, 0, 0, 80]])
    additions = added_deviation(counts, (700, 200, 90, 10))
    assert additions.argmax() == 3
    assert additions[3] > 10 * max(additions[:3])


def test_a_deviation_that_goes_with_a_source_is_its_own() -> None:
    """The others' readings are those of the run, and one more names the sources and the share of their rows."""
    rest = (reading(0.01),)
    first, second = source_readings(POLICY, WHOLE, BAD, rest)
    assert first == rest[0]
    assert (second.signal, second.level, second.severe_limit) == (Signal.SOURCE_DEVIATION, Level.MODERATE, None)
    assert second.sources == ("a" * 16, "b" * 16)
    assert second.source_keys == ("missing_rate:size",)
    assert second.value == pytest.approx(1 - 0.01 * 300 / (0.3 * 380), abs=1e-6)


@pytest.mark.parametrize(
    ("whole", "readings", "rest"),
    [
        (replace(WHOLE, rest=None), BAD, ()),
        (replace(WHOLE, rest=window(49)), BAD, (reading(0.0),)),
        (WHOLE, BAD, (reading(0.3, Level.SEVERE),)),
        (WHOLE, BAD, (reading(0.06, Level.MODERATE),)),
        (WHOLE, BAD, (reading(0.16),)),
        (WHOLE, BAD, (insufficient(Signal.MISSING_RATE, "size", 300),)),
        (WHOLE, BAD, ()),
        (WHOLE, (reading(0.0),), (reading(0.0),)),
        (WHOLE, (reading(0.5, Level.MODERATE, Signal.REFUSAL_RATE),), (reading(0.0),)),
    ],
    ids=[
        "no others",
        "too few others",
        "severe others",
        "moderate others",
        "others that lost too little of it",
        "others that cannot be judged",
        "others without that reading",
        "no deviation",
        "a deviation that is no row's",
    ],
)
def test_any_other_deviation_is_the_service_s(
    whole: Window, readings: tuple[Reading, ...], rest: tuple[Reading, ...]
) -> None:
    """The readings stay as they are, beside a calm one of the signal."""
    assert not is_of_sources(POLICY, whole, readings, rest)
    *others, last = source_readings(POLICY, whole, readings, rest)
    assert tuple(others) == readings
    assert (last.signal, last.evidence) == (Signal.SOURCE_DEVIATION, Evidence.OK)


def test_refusals_of_others_are_no_obstacle() -> None:
    """A reading that concerns no row of the model neither makes nor prevents a split."""
    rest = (reading(0.0), reading(0.5, Level.MODERATE, Signal.REFUSAL_RATE))
    assert is_of_sources(POLICY, WHOLE, BAD, rest)


def test_unknown_sources_leave_the_readings_alone() -> None:
    """Nothing is additions, and a window that is too small has too little data for the signal too."""
    assert source_readings(POLICY, window(380), BAD, ()) == BAD
    small = source_readings(POLICY, window(20, source_count=3), BAD, ())
    assert small[-1].evidence is Evidence.INSUFFICIENT
    assert source_readings(POLICY, window(20, source_count=3), (), ()) == ()


def test_the_limit_switches_it_off() -> None:
    """With a share of 1 no deviation shrinks by enough."""
    policy = replace(POLICY, source_deviation_moderate=1.0)
    assert not is_of_sources(policy, WHOLE, BAD, (reading(0.001),))
