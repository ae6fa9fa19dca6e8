"""The streak rule of the peers, and the figures of the table."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from benchmarks.detection.data import Half, Task
from benchmarks.detection.measures import ScoredStream, figures
from benchmarks.detection.streams import Stream, StreamFamily
from benchmarks.detection.verdicts import Verdict, streaks

from stillsafe.core.state import Severity

N, W, C = Severity.NORMAL, Severity.WARNING, Severity.CRITICAL
STREAM = Stream(
    dataset="made up",
    model="trees",
    family=StreamFamily.INJECTED,
    kind="nulls",
    name="nulls: age",
    features=("age",),
    runs=(),
    first_bad=3,
    scores=(0.9,) * 8,
    reference_score=0.9,
    losses=(0.0,) * 3 + (2.0,) * 5,
    harmful=True,
    harmless=False,
    half=Half.DESIGN,
)
HARMLESS = replace(STREAM, harmful=False, harmless=True)
DETECTION = (N, N, N, N, W, C, C, C)
CALM = (N,) * 8


def scored_stream(
    stream: Stream, severities: Sequence[Severity], gain: float | None = None, task: Task = Task.BINARY
) -> ScoredStream:
    return ScoredStream(stream, task, Verdict(tuple(severities), (gain,) * len(severities)))


def test_one_deviating_run_changes_nothing() -> None:
    """Two in a row are a WARNING, three are CRITICAL, and one calm run ends it."""
    severities = streaks([True, False, True, True, True, True, False, True])
    assert severities == (N, N, N, W, C, C, N, N)


def test_what_the_schema_refuses_is_no_harm_of_the_model() -> None:
    """A failure whose requests are mostly refused is left out and counted; one with few refusals is judged."""

    def refused_stream(rate: float) -> ScoredStream:
        return ScoredStream(STREAM, Task.BINARY, Verdict(CALM, (None,) * 8, (0.0,) * 3 + (rate,) * 5))

    line = figures([scored_stream(STREAM, DETECTION), refused_stream(1.0), refused_stream(0.1)])
    assert line.refused_count == 1
    assert line.caught_pooled == pytest.approx(1 / 2)
    assert (line.caught_count, line.harmful_count) == (1, 2)
    assert line.caught_of_all == pytest.approx(1 / 3)


def test_kinds_of_failure_count_alike() -> None:
    """A kind with many streams weighs no more than one with few; shifts are one kind however they were drawn."""
    shift = replace(STREAM, family=StreamFamily.SHIFT, kind="by_range")
    other = replace(shift, kind="to_category")
    line = figures(
        [
            *(scored_stream(STREAM, DETECTION) for _ in range(3)),
            scored_stream(shift, DETECTION),
            scored_stream(other, CALM),
            scored_stream(HARMLESS, CALM),
        ]
    )
    assert line.caught_rate == pytest.approx((1 + 0.5) / 2)
    assert line.caught_pooled == pytest.approx(4 / 5)
    assert line.by_kind == {"nulls": 1.0, "shift": 0.5}


def test_an_alarm_before_the_failure_is_no_catch() -> None:
    """What is CRITICAL only while all is well counts as false, not as caught."""
    line = figures([scored_stream(STREAM, (C, C, W, N, N, N, N, N))])
    assert (line.caught_rate, line.warned_rate) == (0.0, 0.0)
    assert line.false_critical == pytest.approx(2000 / 3)
    assert line.false_warning == pytest.approx(1000 / 3)


def test_alarms_without_harm() -> None:
    """Harmless faults, benign shifts and bursts are counted apart, by stream."""
    benign, burst = replace(HARMLESS, family=StreamFamily.BENIGN), replace(STREAM, family=StreamFamily.BURST)
    line = figures(
        [
            scored_stream(HARMLESS, DETECTION),
            scored_stream(HARMLESS, CALM),
            scored_stream(benign, (N, N, N, N, W, W, N, N)),
            scored_stream(burst, CALM),
        ]
    )
    assert (line.critical_harmless, line.critical_benign, line.critical_burst) == (0.5, 0.0, 0.0)
    assert (line.warned_harmless, line.warned_benign) == (0.5, 1.0)


def test_natural_runs_are_judged_one_by_one() -> None:
    """Precision and recall of CRITICAL runs against harmful ones; tails without harm have figures of their own."""
    natural = replace(STREAM, family=StreamFamily.NATURAL, first_bad=0, losses=(0.0, 0.0, 1.2, 1.2))
    tail = replace(natural, losses=(0.0,) * 4)
    line = figures([scored_stream(natural, (N, C, C, W)), scored_stream(tail, (N, W, C, N))])
    assert line.precision == pytest.approx(1 / 3)
    assert line.recall == pytest.approx(1 / 2)
    assert (line.natural_runs, line.natural_harmful) == (8, 2)
    assert line.tail_critical == pytest.approx(1 / 4)
    assert line.tail_warning == pytest.approx(1 / 2)


def test_the_fallback_is_priced_while_critical_only() -> None:
    """The gain is a mean over CRITICAL runs; classifiers and regressors are not mixed."""
    line = figures(
        [
            scored_stream(STREAM, DETECTION, 0.1),
            scored_stream(STREAM, DETECTION, 0.4, Task.REGRESSION),
            scored_stream(STREAM, CALM, 9.0),
        ]
    )
    assert line.gain_injected == pytest.approx(0.1)
    assert line.gain_injected_error == pytest.approx(0.4)
    assert line.gain_natural is None


def test_a_bypass_wins_only_where_it_answers() -> None:
    """An alarmed run in which the model answers wins nothing; a bypassed one counts without an alarm too."""
    bypasses = (False,) * 4 + (True, False, False, True)
    verdict = Verdict(DETECTION, (0.4,) * 8, (), bypasses)
    line = figures([ScoredStream(STREAM, Task.BINARY, verdict)])
    assert line.gain_injected == pytest.approx(0.4 * 2 / 4)
    assert line.bypassed_injected == pytest.approx(0.4)
    assert (line.bypassed_natural, line.bypassed_count) == (None, 0)
