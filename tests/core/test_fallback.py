"""The conservative answer."""

import math
from collections.abc import Collection
from typing import Any

import pytest

from stillsafe.core.fallback import Answer, Fallback, FallbackAnswer, Rule
from stillsafe.core.schema import Row

ROW: Row = {"temp": 30.0, "wind": 5.0}


def rule(text: str, reads: Collection[str], matches: bool, answer: Answer | None) -> Rule:
    """A rule that always says the same."""
    return Rule(text, frozenset(reads), lambda _: matches, lambda _: answer)


HOT = rule("temp > 25", {"temp"}, True, "late")
WINDY = rule("wind > 50", {"wind"}, False, "late")
ANY = rule("true", (), True, "on time")


def test_without_rules_the_default_answers() -> None:
    """There is always an answer."""
    assert Fallback("on time").answer(ROW) == FallbackAnswer("on time", "the default")


def test_the_first_rule_that_matches_answers() -> None:
    """Order decides, and the answer names its rule by number and text."""
    assert Fallback("?", (WINDY, HOT, ANY)).answer(ROW) == FallbackAnswer("late", "rule 2: temp > 25")


def test_a_rule_that_reads_a_damaged_feature_is_skipped() -> None:
    """The fallback leans only on inputs that can still be trusted."""
    assert Fallback("?", (HOT, ANY)).answer(ROW, ("temp",)) == FallbackAnswer("on time", "rule 2: true")


@pytest.mark.parametrize("answer", [None, math.nan, math.inf])
def test_a_rule_without_an_answer_is_skipped(answer: Answer | None) -> None:
    """An answer that cannot be computed, or is no number, is never given."""
    assert Fallback(0.5, (rule("x", (), True, answer),)).answer(ROW) == FallbackAnswer(0.5, "the default")


@pytest.mark.parametrize(
    ("answer", "capped_answer", "why"),
    [
        (0.95, 0.8, "the default, lowered to the cap"),
        (0.05, 0.1, "the default, raised to the cap"),
        (0.5, 0.5, "the default"),
        (3, 0.8, "the default, lowered to the cap"),
        (True, True, "the default"),
        ("high", "high", "the default"),
    ],
)
def test_a_number_is_capped_and_says_so(answer: Answer, capped_answer: Answer, why: str) -> None:
    """Caps hold for numbers, of rules and default alike; a class or a truth value has none."""
    assert Fallback(answer, minimum=0.1, maximum=0.8).answer(ROW) == FallbackAnswer(capped_answer, why)
    by_rule = Fallback("?", (rule("x", (), True, answer),), 0.1, 0.8).answer(ROW)
    assert by_rule == FallbackAnswer(capped_answer, why.replace("the default", "rule 1: x"))


def _raise(_row: object) -> Any:
    raise OverflowError("too large")


@pytest.mark.parametrize(
    "broken_rule",
    [Rule("x", frozenset(), _raise, lambda _: "x"), Rule("x", frozenset(), lambda _: True, _raise)],
    ids=["condition", "answer"],
)
def test_a_rule_that_raises_is_skipped_by_itself(broken_rule: Rule) -> None:
    """The rules after it still apply, and the answer carries the error with the rule that raised it."""
    answer = Fallback("?", (broken_rule, HOT)).answer(ROW)
    assert (answer.answer, answer.why) == ("late", "rule 2: temp > 25")
    (error,) = answer.errors
    assert isinstance(error, OverflowError)
    assert error.__notes__ == ["Fallback rule 1: x"]
    assert Fallback("?", (broken_rule,)).answer(ROW).why == "the default"
