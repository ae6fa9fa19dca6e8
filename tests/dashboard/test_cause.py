"""The cause in one line."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.impact_part import ImpactKind, ImpactPart
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.dashboard.cause import cause_line, damaged_features, new_sentences, stored_cause

DAMAGE_READING = Reading(Signal.MISSING_RATE, "age", Evidence.BAD, Level.MODERATE, 0.97, 0.0, 0.05, 0.25, 600)
SHIFT_READING = Reading(Signal.DISTRIBUTION_CHANGE, "age", Evidence.BAD, Level.MODERATE, 0.9, 0.1, 0.2, None, 600)
LOSS = Reading(Signal.ESTIMATED_ACCURACY_LOSS, None, Evidence.BAD, Level.SEVERE, 0.15, 0.0, 0.02, 0.0375, 600)


def test_the_line_has_the_feature_and_the_loss() -> None:
    """The damage of the feature that costs most, then the loss, then the other features; no limits."""
    other = replace(DAMAGE_READING, feature="size")
    loss = replace(LOSS, parts=(ImpactPart(ImpactKind.DAMAGE, "age", 0.84, 0.15),))
    line = cause_line([SHIFT_READING, loss, other, DAMAGE_READING], 0.1)
    assert line == (
        "age is missing in 97.0% of 600 predictions. "
        "Estimated accuracy 75% (healthy 90%), 15.0 points lost. Also: size."
    )


def test_without_a_feature_the_worst_reading_is_the_cause() -> None:
    """And nothing that is calm is one."""
    assert cause_line([LOSS]) == "Estimated accuracy: 15.0 points lost."
    assert cause_line([replace(DAMAGE_READING, level=Level.NONE, evidence=Evidence.OK)]) == cause_line([]) == ""


def test_clients_are_named_first() -> None:
    """A deviation of single clients is no damage of the model's input."""
    client = Reading(Signal.SOURCE_DEVIATION, None, Evidence.BAD, Level.MODERATE, 0.9, 0.1, 0.5, None, 600)
    assert cause_line([DAMAGE_READING, client]).startswith("90% of the deviating rows of 600 predictions come from")


@given(st.sampled_from(Signal), st.floats(0, 1), st.text(max_size=20))
def test_every_signal_makes_one_line(signal: Signal, value: float, feature: str) -> None:
    """Without a placeholder that is left over."""
    reading = Reading(signal, feature or None, Evidence.BAD, Level.MODERATE, value, 0.0, 0.1, None, 10)
    line = cause_line([reading])
    assert line.strip()
    assert "()" not in line.replace(feature, "")


def test_features_are_in_the_order_of_their_harm() -> None:
    """By the loss that they cause, then damage before a shift."""
    shift = replace(SHIFT_READING, feature="wind")
    small = replace(LOSS, parts=(ImpactPart(ImpactKind.DAMAGE, "size", 0.5, 0.1),))
    assert damaged_features([shift, DAMAGE_READING, small]) == ("size", "age", "wind")


def test_a_stored_reason_has_a_cause_too() -> None:
    """Its second sentence, without the numbers in brackets."""
    reason = "CRITICAL after 3 consecutive severe runs. age is missing in 97% of 600 (baseline 0%, limit 5%). More."
    assert stored_cause(reason) == "age is missing in 97% of 600."
    assert stored_cause("Inherited") == "Inherited"


def test_sentences_that_stand_elsewhere_are_left_out() -> None:
    """And those that stand twice in the text itself."""
    assert new_sentences("One is here. Two is there. Two is there.", ["Zero. One is here."]) == "Two is there."
    assert new_sentences("One.", ["One."]) == ""
