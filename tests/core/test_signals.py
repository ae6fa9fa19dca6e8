"""The signal table: one complete row per signal, and one measure of how far a reading is from healthy."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.metric import Metric
from stillsafe.core.signals import (
    CLIENT,
    DAMAGE,
    FAILURE,
    METRIC_SIGNALS,
    OUTPUT_SIGNALS,
    SIGNALS,
    Evidence,
    Level,
    Reading,
    Signal,
    Subject,
    Unit,
    distance,
    excess,
    reading_key,
)

NUMBERS = st.floats(0, 1)


def reading(signal: Signal, value: float | None, reference: float | None, moderate: float | None = 0.05) -> Reading:
    """A reading of 200 predictions."""
    return Reading(signal, None, Evidence.BAD, Level.MODERATE, value, reference, moderate, None, 200)


def test_every_signal_has_its_row_and_its_own_label() -> None:
    """The table has one row per signal, in the order of the signals, and no two share a label."""
    assert list(SIGNALS) == list(Signal)
    assert len({row.label for row in SIGNALS.values()}) == len(Signal)


@pytest.mark.parametrize("signal", Signal)
def test_a_row_is_complete(signal: Signal) -> None:
    """Sentence, cause and remedy are whole sentences; the observer can fill in every placeholder of the latter two."""
    row = SIGNALS[signal]
    assert all(text.endswith(".") and text[0] in "ABCDEFGHIJKLMNOPQRSTUVWXYZ{" for text in _texts(signal))
    assert set(re.findall(r"{(\w+)}", row.cause)) <= {"name", "examples", "repeated"}
    assert set(re.findall(r"{(\w+)}", row.remedy)) <= {"name"}
    assert row.limit_fields


def _texts(signal: Signal) -> tuple[str, str, str]:
    row = SIGNALS[signal]
    return row.sentence, row.cause, row.remedy


def test_only_a_signal_of_a_feature_names_one() -> None:
    """Features are named in the sentences of their signals and of no others."""
    signals = {signal for signal, row in SIGNALS.items() if "{feature}" in row.sentence}
    assert signals == {signal for signal, row in SIGNALS.items() if row.subject is Subject.FEATURE}


def test_the_groups_are_those_that_decisions_depend_on() -> None:
    """Damage skips fallback rules and failure alone is severe: no signal changes its group unnoticed."""
    assert {
        Signal.MISSING_RATE,
        Signal.UNSEEN_CATEGORY_RATE,
        Signal.OUT_OF_RANGE_RATE,
        Signal.REPEATED_VALUE_RATE,
        Signal.CLOCK_CONTRADICTION_RATE,
        Signal.BROKEN_RELATION_RATE,
    } == DAMAGE
    assert {
        Signal.ESTIMATED_ACCURACY_LOSS,
        Signal.ESTIMATED_ERROR_GROWTH,
        Signal.ESTIMATED_METRIC_LOSS,
        Signal.REALISED_LOSS,
        Signal.MODEL_ERROR_RATE,
    } == FAILURE
    assert {Signal.REPEATED_ROW_RATE, Signal.REFUSAL_RATE, Signal.SOURCE_DEVIATION} == CLIENT
    assert all(len(SIGNALS[signal].limit_fields) == 1 for signal in CLIENT)
    assert {signal for signal, row in SIGNALS.items() if row.two_sided} == {Signal.AVG_CONFIDENCE}
    assert {signal for signal, row in SIGNALS.items() if row.rebuttable} == {
        Signal.OUT_OF_RANGE_RATE,
        Signal.REPEATED_VALUE_RATE,
    }


def test_outputs_and_metrics_lead_to_their_signals() -> None:
    """Each output of the model has the signal of its distribution, each metric that of its loss."""
    assert OUTPUT_SIGNALS == {"confidence": Signal.CONFIDENCE_CHANGE, "prediction": Signal.PREDICTION_CHANGE}
    own_signals = {
        Metric.ACCURACY: Signal.ESTIMATED_ACCURACY_LOSS,
        Metric.MEAN_ABSOLUTE_ERROR: Signal.ESTIMATED_ERROR_GROWTH,
    }
    assert dict.fromkeys(Metric, Signal.ESTIMATED_METRIC_LOSS) | own_signals == METRIC_SIGNALS


def test_a_key_names_the_signal_and_the_feature() -> None:
    """The key of a reading is that of its signal, followed by its feature if it has one."""
    assert reading_key(Signal.REFUSAL_RATE, None) == reading(Signal.REFUSAL_RATE, 0.1, 0.0).key == "refusal_rate"
    assert replace(reading(Signal.MISSING_RATE, 0.1, 0.0), feature="a:b").key == "missing_rate:a:b"


@given(st.sampled_from(Signal), NUMBERS, NUMBERS, st.floats(0.01, 1))
def test_excess_is_the_distance_in_moderate_limits(
    signal: Signal, value: float, reference: float, limit: float
) -> None:
    """Never negative; above 1 exactly where the distance exceeds the moderate limit."""
    each = reading(signal, value, reference, limit)
    assert excess(each) == distance(each) / limit >= 0
    assert (excess(each) > 1) == (distance(each) / limit > 1)


@given(NUMBERS, NUMBERS)
def test_only_a_two_sided_signal_deviates_downwards(value: float, reference: float) -> None:
    """A rate below its reference is healthy, a mean confidence below it is as far as one above."""
    rate, mean = (reading(signal, value, reference) for signal in (Signal.MISSING_RATE, Signal.AVG_CONFIDENCE))
    assert distance(rate) == max(value - reference, 0)
    assert distance(mean) == abs(value - reference)


def test_a_silence_counts_from_zero() -> None:
    """Its limit is a duration. The order of the sentences alone counts it from the longest healthy pause."""
    silence = reading(Signal.SILENCE_SECONDS, 4000.0, 1000.0, 2000.0)
    assert SIGNALS[silence.signal].unit is Unit.SECONDS
    assert (excess(silence), excess(silence, from_reference=True)) == (2.0, 1.5)


@pytest.mark.parametrize("signal", Signal)
def test_nothing_is_no_distance(signal: Signal) -> None:
    """Without a value or without a limit there is no excess."""
    assert excess(reading(signal, None, None, None)) == excess(reading(signal, 0.5, 0.1, None)) == 0
