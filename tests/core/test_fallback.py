"""The conservative answer."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from stillsafe.core.fallback import ABSTAIN, MODEL, Answer, Fallback, FallbackAnswer, Rule, Source
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


def source(name: str, score: float | None, *rules: Rule, kind: str = "rules") -> Source:
    """A source that reads what its rules read."""
    reads = frozenset[str]().union(*(each.reads for each in rules))
    return Source(name, reads, lambda _rows: rules, score, kind)


COLD = rule("temp <= 25", {"temp"}, False, "on time")
BREEZE = rule("wind > 1", {"wind"}, True, "early")
FULL, WIND, LAST = source("list 1", 0.8, COLD, HOT), source("list 2", 0.7, BREEZE), source("list 3", None, ANY)


def test_the_usable_source_with_the_best_score_answers() -> None:
    """Of the sources that read no damaged feature; one without a score comes last, and the owner's rules come first."""
    fallback = Fallback("?", (), sources=(LAST, WIND, FULL))
    assert [each.name for each in fallback.usable()] == ["list 1", "list 2", "list 3"]
    assert fallback.answer(ROW) == FallbackAnswer("late", "list 1, rule 2: temp > 25")
    assert fallback.answer(ROW, ("temp",)) == FallbackAnswer("early", "list 2, rule 1: wind > 1")
    assert fallback.answer(ROW, ("temp", "wind")).why == "list 3, rule 1: true"
    assert Fallback("?", (BREEZE,), sources=(FULL,)).answer(ROW).why == "rule 1: wind > 1"
    assert Fallback("?", (BREEZE,), sources=(FULL,)).answer(ROW, ("wind",)).why == "list 1, rule 2: temp > 25"


def test_a_row_that_a_list_cannot_answer_goes_to_the_next() -> None:
    """At last to the default."""
    silent = source("list 1", 0.9, COLD)
    assert Fallback("?", sources=(silent, WIND)).answer(ROW).answer == "early"
    assert Fallback("?", sources=(silent,)).answer(ROW).why == "the default"


def test_a_second_model_answers_a_batch_at_its_rank() -> None:
    """Its answers say that they are a model's; it gets all rows of a batch at once."""
    batches: list[int] = []

    def rules(rows: Sequence[object]) -> tuple[Rule, ...]:
        batches.append(len(rows))
        return (rule("without wind", (), True, "late"),)

    second = Source("model 1", frozenset(["temp"]), rules, 0.9, MODEL)
    fallback = Fallback("?", sources=(WIND, second))
    assert fallback.answers([ROW, ROW]) == [FallbackAnswer("late", "model 1: without wind", kind=MODEL)] * 2
    assert batches == [2]
    assert fallback.answer(ROW, ("temp",)).kind == "rules"


def test_abstention_gives_no_answer_but_the_owners_own() -> None:
    """Neither lists nor default answer; a rule that the owner wrote does."""
    fallback = Fallback("?", (HOT,), sources=(WIND,), abstains=True)
    assert fallback.answer(ROW).answer == "late"
    answer = fallback.answer(ROW, ("temp",))
    assert (answer.answer, answer.kind) == (None, ABSTAIN)
    assert fallback.usable() == []
