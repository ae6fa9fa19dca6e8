"""Learnt conditions mean the same in CEL as on arrays, and are short with round numbers."""

import numpy as np
import pytest

from stillsafe.core.fallback import Fallback
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.init.rule_learner import CandidateRule, Comparison, RuleLearner, Targets
from stillsafe.rules import compile_fallback
from stillsafe.settings_sections import FallbackRule, FallbackSettings
from tests.init.test_rule_search import COST, COUNT, ROWS, SCHEMA

NUMERIC, INTEGER, BOOLEAN, CATEGORY, *_ = FeatureType


def compiled(candidates: list[CandidateRule], schema: Schema, default: float) -> Fallback:
    rules = tuple(FallbackRule(when=candidate.text, answer=candidate.answer) for candidate in candidates)
    return compile_fallback(FallbackSettings(default=default, rules=rules), schema)


@pytest.mark.parametrize(
    ("comparison", "text", "opposite"),
    [
        (Comparison("a b", NUMERIC, ">", 3.0), "a_b > 3.0", "a_b <= 3.0"),
        (Comparison("x", NUMERIC, "<=", -1e-05), "x <= -1e-05", "x > -1e-05"),
        (Comparison("x", INTEGER, ">", 1e6), "x > 1000000", "x <= 1000000"),
        (Comparison("x", BOOLEAN, "==", True), "x", "!x"),
        (Comparison("in", CATEGORY, "==", 'a"ü\\'), r'in_ == "a\"ü\\"', r'in_ != "a\"ü\\"'),
    ],
    ids=str,
)
def test_a_comparison_is_a_condition_of_the_service(comparison: Comparison, text: str, opposite: str) -> None:
    """Each kind passes the type check of fallback rules, and so does its opposite."""
    assert (comparison.text, comparison.opposite.text) == (text, opposite)
    assert comparison.opposite.opposite == comparison
    schema = Schema((FeatureSpec(comparison.feature, comparison.type),))
    rules = compiled([CandidateRule((comparison,), 1.0), CandidateRule((comparison.opposite,), 2.0)], schema, 0.0)
    assert [rule.reads for rule in rules.rules] == [{comparison.feature}] * 2
    assert rules.answer({comparison.feature: None}).answer == 0


def test_learnt_conditions_answer_as_the_fallback_does() -> None:
    """The learner's arrays and the service's rules give the same answers, with and without missing values."""
    random = np.random.default_rng(8)
    rows: list[Row] = [{name: None if random.random() < 0.1 else v for name, v in row.items()} for row in ROWS]
    sample = RuleLearner(SCHEMA, rows, Targets(np.array(COST, dtype=float), ()), 110.0, 0)
    candidates = sample.learn(np.arange(COUNT), (), 5)
    assert len(candidates) > 2
    fallback = compiled(candidates, SCHEMA, 110.0)
    assert [rule.reads for rule in fallback.rules] == [candidate.reads for candidate in candidates]
    for damaged_features in ((), ("delay",), ("visits",)):
        expected = [fallback.answer(row, damaged_features).answer for row in rows]
        assert sample.predictions(candidates, damaged_features).tolist() == expected


def sample_of(
    values: list[float], truth: list[float]
) -> tuple[RuleLearner, "np.ndarray[tuple[int], np.dtype[np.intp]]"]:
    schema = Schema((FeatureSpec("x", NUMERIC, required=False), FeatureSpec("y", INTEGER)))
    rows: list[Row] = [{"x": value, "y": number % 2} for number, value in enumerate(values)]
    return RuleLearner(schema, rows, Targets(np.array(truth), ("a", "b")), 0.0, 0), np.arange(len(values))


def test_a_bound_is_as_round_as_it_may_be() -> None:
    """Between the values of two classes, the bound is the number with the fewest digits."""
    values = [*np.linspace(0, 29.37, 200).tolist(), *np.linspace(30.4419, 60, 200).tolist()]
    sample, all_rows = sample_of(values, [0.0] * 200 + [1.0] * 200)
    assert [candidate.text for candidate in sample.learn(all_rows, (), 5)] == ["x > 30.0", "x <= 30.0"]


def test_a_condition_covers_many_rows() -> None:
    """A condition that would cover fewer than thirty rows, or less than a fiftieth of them, is not learnt."""
    for few, many in ((29, 400), (35, 2_000)):
        sample, all_rows = sample_of([float(n) for n in range(many)], [float(n < few) for n in range(many)])
        assert all(
            sample.first_match([candidate]).tolist().count(0) > few for candidate in sample.learn(all_rows, (), 5)
        )


def test_excluded_features_are_not_read() -> None:
    """Neither learnt nor relaxed conditions read an excluded feature."""
    values = np.random.default_rng(1).normal(0, 1, 400).tolist()
    truth = [float(value > 0.5 and number % 2) for number, value in enumerate(values)]
    sample, all_rows = sample_of(values, truth)
    candidates = sample.learn(all_rows, (), 5)
    assert {name for candidate in candidates for name in candidate.reads} == {"x", "y"}
    assert sample.learn(all_rows, ("x", "y"), 5) == []
    both = [CandidateRule((Comparison("x", NUMERIC, ">", 0.5), Comparison("y", INTEGER, ">", 0)), 1.0)]
    assert [candidate.text for candidate in sample.relax(both, all_rows, ("y",), 4)] == ["x > 0.5"]
    assert [candidate.text for candidate in sample.relax(both, all_rows, ("x",), 4)] == ["y > 0"]
    assert sample.relax(both, all_rows, ("x", "y"), 4) == []
