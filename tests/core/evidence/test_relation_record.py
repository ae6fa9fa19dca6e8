"""Broken relations over runs: n runs in a row have the noise of one over the square root of n, and not less."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.relation_record import Record, next_record, noise_factor
from stillsafe.core.policy import EVIDENCE
from stillsafe.core.signals import Evidence, Level, Reading, Signal, insufficient

TWO, THREE = math.sqrt(2), math.sqrt(3)
LEAST = EVIDENCE.relation_least_part / THREE
SHARES = st.floats(LEAST, 1)


def relation(share: float, shares_before: tuple[float, ...] = (), feature: str = "x") -> Reading:
    """A reading whose share is so many times the noise of one run."""
    noise = 0.25 * noise_factor(shares_before, EVIDENCE)
    numbers = (share * 0.25, 0.0, 0.15, None, 300)
    signal, evidence = Signal.BROKEN_RELATION_RATE, Evidence.OK
    return Reading(signal, feature, evidence, Level.NONE, *numbers, noise=noise, shares_before=shares_before)


@pytest.mark.parametrize(
    ("shares_before", "factor"),
    [
        ((), 1),
        ((0.3,), 1),
        ((0.6,), TWO - 0.6),
        ((1.0,), TWO - 1),
        ((0.6, 0.6), THREE - 1.2),
        ((1.0, 1.0), LEAST),
        ((0.3, 1.0), THREE - 1.3),
        ((1.0, 0.3), TWO - 1),
    ],
)
def test_what_the_runs_before_showed_is_missing_no_longer(shares_before: tuple[float, ...], factor: float) -> None:
    """The sum of n runs must exceed sqrt(n) times the noise of one; each run shows a part of its mean."""
    assert noise_factor(shares_before, EVIDENCE) == pytest.approx(factor)


@given(st.lists(SHARES, min_size=1, max_size=2))
def test_no_run_speaks_for_several(shares_before: list[float]) -> None:
    """However clear the runs before were, a run by itself must show a part of the mean, and never more than one run."""
    assert LEAST <= noise_factor(shares_before, EVIDENCE) <= 1


@given(st.lists(st.floats(0.01, 4), max_size=6))
def test_the_record_is_of_the_last_runs_without_a_gap(shares: list[float]) -> None:
    """A run that shows too little ends it; a lower limit in a run does not change what is recorded of it."""
    record: Record = {}
    for share in shares:
        record = next_record(record, [relation(share, record.get("x", ()))], EVIDENCE)
    expected: list[float] = []
    for share in reversed(shares):
        if share < LEAST or len(expected) == 2:
            break
        expected.append(min(share, 1.0))
    assert record.get("x", ()) == pytest.approx(tuple(expected), abs=1e-5)


def test_a_feature_without_a_reading_is_forgotten() -> None:
    """Too few rows, no share, or another signal: no run is judged together with one that shows nothing."""
    record = next_record({}, [relation(2, feature="x"), relation(2, feature="y")], EVIDENCE)
    assert set(record) == {"x", "y"}
    too_few = insufficient(Signal.BROKEN_RELATION_RATE, "x", 20)
    assert next_record(record, [too_few, relation(0, feature="y")], EVIDENCE) == {}


def alarm_share(mean: float, streams: int = 400, runs: int = 5) -> float:
    """Share of streams with an alarm in one of the first runs, where a run has a noise of 1 / 4.3 of its limit."""
    draw, alarm_count = np.random.default_rng(5), 0
    for _ in range(streams):
        record: Record = {}
        for _ in range(runs):
            share, earlier = mean + draw.normal() / 4.3, record.get("x", ())
            if share > noise_factor(earlier, EVIDENCE):
                alarm_count += 1
                break
            record = next_record(record, [relation(max(share, 0), earlier)], EVIDENCE)
    return alarm_count / streams


def test_a_break_below_the_limit_of_one_run_is_found_by_several() -> None:
    """Runs that each show 0.7 of the limit are found; healthy ones are not."""
    assert alarm_share(0.7) > 0.9
    assert alarm_share(0.0, streams=4_000) == 0
