"""Who answers and why, in words: the numbers are those of the price."""

from dataclasses import replace

import pytest

from stillsafe.core.evidence.bypass_sentences import fallback_end, fallback_outlook
from stillsafe.core.evidence.label_streak import LabelStreak
from stillsafe.core.policy import Bypass, FallbackPrice, Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory, State, Streak

PRICES = (FallbackPrice(("temp",), 0.77), FallbackPrice((), 0.6))
POLICY = Policy(bypass=Bypass.WHEN_IT_PAYS, fallback_prices=PRICES, model_score=0.83)
LOSS = Reading(
    Signal.ESTIMATED_ACCURACY_LOSS, None, Evidence.BAD, Level.SEVERE, 0.2, 0.0, 0.02, 0.0375, 300, corruption=0.155
)
WARNING = Memory(State.WARNING, streaks={LOSS.key: Streak(3, 3)})
DEGRADED = replace(WARNING, state=State.DEGRADED)


@pytest.mark.parametrize(("names", "points"), [((), "9.5"), (("temp",), "-7.5")])
def test_a_bypass_says_what_it_is_expected_to_win(names: tuple[str, ...], points: str) -> None:
    """The damage minus the model's lead over the best usable list."""
    text = fallback_outlook(POLICY, replace(DEGRADED, damaged_features=names), (LOSS,))
    assert text == f" The fallback answers, expected to win {points} points back."


def test_a_model_that_goes_on_says_both_sides_of_the_price() -> None:
    """What damage costs, and what the model leads by in health."""
    minor = replace(LOSS, corruption=0.05)
    assert fallback_outlook(POLICY, WARNING, (minor,)) == (
        " The model goes on answering, as nothing at hand is expected to do better: "
        "damage costs it 5.0 points, and in health it leads the best usable fallback by 6.0 points."
    )
    unknown = fallback_outlook(POLICY, WARNING, (replace(LOSS, corruption=None),))
    assert unknown == " The model goes on answering, as nothing at hand is expected to do better."


def test_an_advantage_within_its_error_is_told_with_it() -> None:
    """Nine and a half points are expected to be won, and ten may be chance."""
    policy = replace(POLICY, fallback_prices=(FallbackPrice((), 0.77, 0.05),))
    assert fallback_outlook(policy, WARNING, (LOSS,)) == (
        " The model goes on answering, as what a bypass may win is within its error of 10.0 points: damage costs it "
        "15.5 points, and in health it leads the best usable fallback by 6.0 points."
    )
    waiting = replace(policy, fallback_prices=(FallbackPrice((), 0.77, 0.01),))
    assert fallback_outlook(waiting, WARNING, (LOSS,)) == (
        " The model goes on answering until 3 runs in a row expect a bypass to win beyond its error: damage costs it "
        "15.5 points, and in health it leads the best usable fallback by 6.0 points."
    )


def test_without_a_price_nothing_is_said() -> None:
    """Where every CRITICAL bypasses, and where another signal is critical too."""
    assert fallback_outlook(replace(POLICY, bypass=Bypass.ALWAYS), DEGRADED, (LOSS,)) == ""
    errors = {**DEGRADED.streaks, Signal.MODEL_ERROR_RATE.value: Streak(3, 3)}
    assert fallback_outlook(POLICY, replace(DEGRADED, streaks=errors), (LOSS,)) == ""


def test_the_end_of_a_bypass_gives_its_cause() -> None:
    """Nothing severe for so many runs, or no advantage for so many."""
    assert fallback_end(POLICY, replace(DEGRADED, relapses=1), ()) == (
        "The model answers again after 6 consecutive runs without a severe reading."
    )
    severe = fallback_end(POLICY, DEGRADED, (LOSS,))
    assert severe.startswith(
        "The model answers again after 3 consecutive runs in which the fallback was not expected to do better. "
        "What still deviates: Estimated accuracy"
    )


def test_the_end_of_a_bypass_by_labels_has_its_own_words() -> None:
    """What labelled runs showed, or that an operator released it."""
    memory = Memory(State.DEGRADED, labels=LabelStreak("DEGRADED"))
    assert fallback_end(Policy(), memory, ()) == (
        "The model answers again after 3 consecutive labelled runs in which it was not severely worse, or the fallback "
        "no better."
    )
    memory = Memory(State.DEGRADED, labels=LabelStreak("DEGRADED", is_released=True))
    assert "an operator released" in fallback_end(Policy(), memory, ())
