"""Evidence in words: every number of a sentence, and one meaning for each word."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stillsafe.core.evidence.impact_part import ImpactKind, ImpactPart
from stillsafe.core.evidence.sentences import number_text, run_counts, sentence, summary
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal, Unit
from stillsafe.core.state import Memory, State, Streak

POLICY = Policy()
AT = datetime(2026, 3, 2, 10, 20, 0, 5, tzinfo=UTC)


def rate(signal: Signal, feature: str | None = None, value: float = 0.4, level: Level = Level.SEVERE) -> Reading:
    """A deviating rate."""
    return Reading(signal, feature, Evidence.BAD, level, value, 0.01, 0.05, 0.25, 200)


LIMITS = "limit 6.0%, severe limit 26.0%"
TEMP = rate(Signal.MISSING_RATE, "temp")
WIND = rate(Signal.OUT_OF_RANGE_RATE, "wind", 0.1, Level.MODERATE)
LOSS = Reading(Signal.ESTIMATED_ACCURACY_LOSS, None, Evidence.BAD, Level.SEVERE, 0.803, 0.0, 0.02, 0.0375, 300)
GROWTH = Reading(Signal.ESTIMATED_ERROR_GROWTH, None, Evidence.BAD, Level.SEVERE, 0.2, 0.0, 0.08, 0.15, 300)


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (TEMP, f"temp is missing in 40.0% of 200 predictions (baseline 1.0%, {LIMITS})."),
        (
            WIND,
            f"wind is outside its healthy range in 10.0% of 200 values (expected 1.0%, {LIMITS}).",
        ),
        (
            rate(Signal.UNSEEN_CATEGORY_RATE, "carrier"),
            f"carrier has a category unseen in the baseline in 40.0% of 200 values (expected 1.0%, {LIMITS}).",
        ),
        (
            replace(rate(Signal.BROKEN_RELATION_RATE, "temp"), instead_of=("dewp", "wind")),
            f"temp does not fit the other features in 40.0% of 200 predictions (expected 1.0%, {LIMITS}). "
            "Either temp or dewp and wind are damaged: the data does not show which.",
        ),
        (
            replace(rate(Signal.BROKEN_RELATION_RATE, "dewp"), instead_of=("temp",)),
            f"dewp does not fit the other features in 40.0% of 200 predictions (expected 1.0%, {LIMITS}). "
            "Either dewp or temp is damaged: the data does not show which.",
        ),
        (
            rate(Signal.REPEATED_VALUE_RATE, "temp"),
            f"temp repeats one number in 40.0% of 200 values (expected 1.0%, {LIMITS}).",
        ),
        (
            Reading(Signal.DISTRIBUTION_CHANGE, "temp", Evidence.BAD, Level.MODERATE, 0.5, 0.02, 0.3, None, 200),
            "The distribution of temp shifted: total variation distance 0.50 from the baseline over 200 predictions "
            "(by chance 0.02, limit 0.32).",
        ),
        (
            Reading(Signal.CONFIDENCE_CHANGE, None, Evidence.BAD, Level.MODERATE, 0.9, 0.07, 0.2, None, 300),
            "The confidence distribution shifted: total variation distance 0.90 from the baseline over 300 predictions "
            "(by chance 0.07, limit 0.27).",
        ),
        (
            Reading(Signal.PREDICTION_CHANGE, None, Evidence.BAD, Level.MODERATE, 0.41, 0.07, 0.2, None, 300),
            "The prediction distribution shifted: total variation distance 0.41 from the baseline over 300 predictions "
            "(by chance 0.07, limit 0.27).",
        ),
        (
            rate(Signal.LOW_CONFIDENCE_RATE),
            f"Low confidence in 40.0% of 200 predictions (baseline 1.0%, {LIMITS}).",
        ),
        (
            rate(Signal.REFUSAL_RATE),
            f"The schema refused 40.0% of 200 requests (baseline 1.0%, {LIMITS}).",
        ),
        (
            rate(Signal.MODEL_ERROR_RATE),
            f"The model failed on 40.0% of 200 predictions (baseline 1.0%, {LIMITS}).",
        ),
        (
            Reading(Signal.AVG_CONFIDENCE, None, Evidence.BAD, Level.MODERATE, 0.62, 0.7, 0.05, 0.12, 200),
            "Mean confidence 0.620 over 200 predictions (baseline 0.700, limit 0.650, severe limit 0.580).",
        ),
        (
            Reading(Signal.SILENCE_SECONDS, None, Evidence.BAD, Level.MODERATE, 5000.0, 0.0, 2700.0, None, 0),
            "No request for 5000 s (limit 2700 s).",
        ),
        (
            Reading(Signal.MISSING_RATE, "temp", Evidence.INSUFFICIENT, Level.NONE, None, None, None, None, 12),
            "Not enough data to judge missing_rate:temp (12 predictions).",
        ),
    ],
)
def test_a_reading_has_its_sentence(reading: Reading, words: str) -> None:
    """What, how much, of how many, what is healthy, and the limit."""
    assert sentence(reading) == words


@pytest.mark.parametrize(
    ("reading", "healthy_error", "words"),
    [
        (
            LOSS,
            0.1,
            "Estimated accuracy 10% (healthy 90%), 80.3 points lost over 300 predictions "
            "(limit 2.0 points, severe limit 3.8 points).",
        ),
        (
            LOSS,
            0.3,
            "Estimated accuracy 0% (healthy 70%), 80.3 points lost over 300 predictions "
            "(limit 2.0 points, severe limit 3.8 points).",
        ),
        (
            LOSS,
            None,
            "Estimated accuracy: 80.3 points lost over 300 predictions (limit 2.0 points, severe limit 3.8 points).",
        ),
        (
            GROWTH,
            30.0,
            "Estimated mean absolute error 36 (healthy 30), 20% higher over 300 predictions "
            "(limit 8%, severe limit 15%).",
        ),
        (GROWTH, None, "Estimated mean absolute error: 20% higher over 300 predictions (limit 8%, severe limit 15%)."),
        (TEMP, 0.1, sentence(TEMP)),
    ],
)
def test_an_estimate_is_given_beside_the_healthy_performance(
    reading: Reading, healthy_error: float | None, words: str
) -> None:
    """The performance itself where the baseline has it, and never below zero; what was lost in any case."""
    assert sentence(reading, healthy_error) == words


@pytest.mark.parametrize("signal", Signal)
def test_no_signal_is_left_without_words(signal: Signal) -> None:
    """Also where there is no evidence, and at every level."""
    for evidence, level in (
        (Evidence.BAD, Level.SEVERE),
        (Evidence.OK, Level.NONE),
        (Evidence.INSUFFICIENT, Level.NONE),
    ):
        assert sentence(replace(rate(signal), evidence=evidence, level=level)).endswith(".")


def test_a_name_with_braces_is_told_as_it_is() -> None:
    """A feature's name is data, never a template."""
    assert sentence(rate(Signal.MISSING_RATE, "{share}{x}")).startswith("{share}{x} is missing in 40.0% of 200")


def test_the_worst_three_are_told_and_the_rest_named() -> None:
    """Severe ones come first, then the furthest from healthy. A hundred signals make no wall of text."""
    small = [rate(Signal.MISSING_RATE, f"x{k}", 0.1 + k / 1000, Level.MODERATE) for k in range(10)]
    result = summary((*small, TEMP))
    assert [result.index(name) for name in ("temp", "x9", "x8")] == sorted(
        result.index(name) for name in ("temp", "x9", "x8")
    )
    names = ", ".join(f"missing_rate:x{k}" for k in (7, 6, 5, 4, 3, 2, 1, 0))
    assert result.endswith(f"8 more signals deviate: {names}.")
    assert summary((*small[:3], TEMP)).endswith("1 more signal deviates: missing_rate:x0.")
    many = summary(tuple(rate(Signal.MISSING_RATE, f"x{k:03}") for k in range(100)))
    assert many.endswith("missing_rate:x014 and 85 others.")


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("level", [Level.MODERATE, Level.SEVERE, Level.NONE])
def test_a_limit_is_the_same_number_at_every_level(signal: Signal, level: Level) -> None:
    """The word limit means the number beyond which the value deviates, whatever the level of the reading."""
    evidence = Evidence.OK if level is Level.NONE else Evidence.BAD
    words = sentence(replace(rate(signal), level=level, evidence=evidence))
    assert words == sentence(rate(signal))
    assert words.count("limit") == 2


def test_a_limit_lies_on_the_side_of_the_value() -> None:
    """Where both sides deviate, the limit is that of the side on which the value lies."""
    low = Reading(Signal.AVG_CONFIDENCE, None, Evidence.BAD, Level.MODERATE, 0.62, 0.7, 0.05, 0.12, 200)
    assert "limit 0.650, severe limit 0.580" in sentence(low)
    assert "limit 0.750, severe limit 0.820" in sentence(replace(low, value=0.79))


def test_an_estimate_is_told_in_its_parts() -> None:
    """Each part has its loss, its cause and the rows that it touches, the largest first; nothing is left out."""
    parts = (
        ImpactPart(ImpactKind.SHIFT, None, None, 0.145),
        ImpactPart(ImpactKind.DAMAGE, "income", 0.84, 0.658),
        ImpactPart(ImpactKind.MOVEMENT, None, 0.1, 0.0),
    )
    words = sentence(replace(LOSS, parts=parts, standard_error=0.012), 0.1)
    assert words == (
        "Estimated accuracy 10% (healthy 90%), 80.3 points lost over 300 predictions (limit 2.0 points, "
        "severe limit 3.8 points, standard error 1.2 points). It consists of 65.8 points by damage to income on 84% of "
        "the rows, 14.5 points by a shift of the traffic."
    )


def test_a_gain_is_no_part_of_a_loss() -> None:
    """A shift that makes the model better offsets no damage, so it is not told as a part of the loss."""
    parts = (
        ImpactPart(ImpactKind.DAMAGE, "income", 0.5, 0.08),
        ImpactPart(ImpactKind.SHIFT, "age", None, -0.03),
        ImpactPart(ImpactKind.SHIFT, "income", None, 0.01),
    )
    words = sentence(replace(LOSS, value=0.08, corruption=0.08, parts=parts))
    assert words.endswith("It consists of 8.0 points by damage to income on 50% of the rows.")
    many = tuple(ImpactPart(ImpactKind.SHIFT, f"x{k}", None, 0.01 * k) for k in range(1, 6))
    words = sentence(replace(LOSS, value=0.15, corruption=0.0, parts=many))
    assert words.endswith("3.0 points by a shift of x3, 3.0 points by 2 smaller parts.")


@pytest.mark.parametrize(
    ("state", "streaks", "words"),
    [
        (State.NORMAL, {"a": Streak(1, 0)}, "Deviating run 1 of 2: WARNING after 1 more in a row."),
        (
            State.NORMAL,
            {"a": Streak(1, 0), "b": Streak(1, 1)},
            "Deviating run 1 of 2: WARNING after 1 more in a row. Severe run 1 of 3 (b): CRITICAL after 2 more.",
        ),
        (
            State.WARNING,
            {"a": Streak(7, 2)},
            "Deviating run 7 in a row: the state stays WARNING. Severe run 2 of 3 (a): CRITICAL after 1 more.",
        ),
        (State.DEGRADED, {"a": Streak(4, 4)}, "Deviating run 4 in a row: the state stays DEGRADED."),
    ],
)
def test_a_deviating_run_says_which_of_how_many_it_is(state: State, streaks: dict[str, Streak], words: str) -> None:
    """A bad run that changes nothing says how far it has come, by which signal, and what follows."""
    assert run_counts(POLICY, Memory(state, AT, streaks)) == words


def test_every_unit_has_a_text() -> None:
    """No number is shown without its unit."""
    texts = {unit: number_text(unit, 0.25) for unit in Unit}
    assert texts[Unit.SHARE] == "25.0%"
    assert texts[Unit.POINTS] == "25.0 points"
    assert (texts[Unit.DISTANCE], texts[Unit.SCORE], texts[Unit.SECONDS]) == ("0.25", "0.250", "0.25 s")


def test_a_loss_in_the_owners_metric_names_the_metric() -> None:
    """A score falls and an error grows, each from its healthy value, in the metric's own unit."""
    loss = Reading(Signal.ESTIMATED_METRIC_LOSS, None, Evidence.BAD, Level.SEVERE, 0.2, 0.0, 0.025, 0.05, 300)
    recall = replace(loss, metric="recall", healthy_performance=0.5)
    assert sentence(recall, 0.9).startswith("Estimated recall 0.3 (healthy 0.5), 0.2 lost over 300 predictions (")
    cost = replace(loss, metric="expected_cost", healthy_performance=1.5)
    assert sentence(cost).startswith("Estimated expected cost 1.7 (healthy 1.5), 0.2 lost over 300 predictions (")
