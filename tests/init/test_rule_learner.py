"""Learnt conditions mean the same in CEL as on arrays, and are short with round numbers."""

import numpy as np
import pytest

from stillsafe.core.fallback import Fallback
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.init.rule_learner import CandidateRule, Comparison, RuleLearner, Targets
from stillsafe.rules import compile_fallback
from stillsafe.settings_fallback import FallbackRule, FallbackSettings
from tests.init.test_rule_search import COST, ROWS, SCHEMA

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
    for missing_share in (0.005, 0.1):
        rows: list[Row] = [
            {name: None if random.random() < missing_share else v for name, v in r.items()} for r in ROWS
        ]
        learner = RuleLearner(SCHEMA, rows, Targets(np.array(COST, dtype=float), ()), 0)
        candidates = learner.learn()
        assert len(candidates) > 4
        assert any("in missing" in candidate.text for candidate in candidates) is (missing_share > 0.05)
        fallback = compiled(candidates, SCHEMA, -1.0)
        assert [rule.reads for rule in fallback.rules] == [candidate.reads for candidate in candidates]
        answers = learner.columns.answers(candidates)
        expected = [fallback.answer(row).answer for row in rows]
        assert np.where(np.isnan(answers), -1.0, answers).tolist() == expected


def test_the_conditions_of_a_list_exclude_one_another() -> None:
    """Whatever is missing, at most one rule holds for a row, so that each rule can be read by itself."""
    random = np.random.default_rng(9)
    rows: list[Row] = [{name: None if random.random() < 0.1 else v for name, v in row.items()} for row in ROWS]
    learner = RuleLearner(SCHEMA, rows, Targets(np.array(COST, dtype=float), ()), 0)
    matches = np.array([learner.columns.matches(candidate.when) for candidate in learner.learn()])
    assert matches.sum(axis=0).max() == 1
    assert matches.any(axis=0).mean() > 0.95


def test_a_comparison_with_missing_values_is_a_condition_of_the_service() -> None:
    """It holds where the value is missing as well, and its opposite holds for no such row."""
    comparison = Comparison("in", NUMERIC, ">", 3.0, or_missing=True)
    assert comparison.text == '(in_ > 3.0 || "in" in missing)'
    schema = Schema((FeatureSpec("in", NUMERIC, required=False),))
    fallback = compiled([CandidateRule((comparison,), 1.0), CandidateRule((comparison.opposite,), 2.0)], schema, 0.0)
    assert [fallback.answer({"in": value}).answer for value in (4.0, 2.0, None)] == [1.0, 2.0, 1.0]
    assert comparison.implies(Comparison("in", NUMERIC, ">", 1.0, or_missing=True))
    assert not comparison.implies(Comparison("in", NUMERIC, ">", 1.0))


def learner_of(values: list[float], truth: list[float]) -> RuleLearner:
    schema = Schema((FeatureSpec("x", NUMERIC, required=False), FeatureSpec("y", INTEGER)))
    rows: list[Row] = [{"x": value, "y": number % 2} for number, value in enumerate(values)]
    return RuleLearner(schema, rows, Targets(np.array(truth), ("a", "b")), 0)


def test_a_bound_is_as_round_as_it_may_be() -> None:
    """Between the values of two classes, the bound is the number with the fewest digits."""
    values = [*np.linspace(0, 29.37, 200).tolist(), *np.linspace(30.4419, 60, 200).tolist()]
    learner = learner_of(values, [0.0] * 200 + [1.0] * 200)
    assert {candidate.text for candidate in learner.learn()} == {"x > 30.0", "x <= 30.0"}


def test_a_rule_answers_many_rows() -> None:
    """A leaf with fewer than fifty rows is not learnt, so that no rule describes single rows."""
    learner = learner_of([float(n) for n in range(2_000)], [float(n < 40 or n % 300 < 100) for n in range(2_000)])
    candidates = learner.learn()
    assert candidates
    assert all(learner.columns.matches(candidate.when).sum() >= 45 for candidate in candidates)


def test_excluded_features_are_not_read() -> None:
    """No condition reads an excluded feature; without any feature there is no list."""
    values = np.random.default_rng(1).normal(0, 1, 800).tolist()
    learner = learner_of(values, [float(value > 0.5 and number % 2) for number, value in enumerate(values)])
    assert {name for candidate in learner.learn() for name in candidate.reads} == {"x", "y"}
    assert {name for candidate in learner.learn(["x"]) for name in candidate.reads} <= {"y"}
    assert learner.learn(["x", "y"]) == []


def test_costs_decide_the_answer() -> None:
    """Where an error on the rare class costs more, a leaf answers it although it is less frequent there."""
    values = [float(n % 100) for n in range(2_000)]
    truth = [float(value >= 80 and n % 3 == 0) for n, value in enumerate(values)]
    targets = learner_of(values, truth)
    assert {candidate.answer for candidate in targets.learn()} <= {0.0}
    costs = np.array([[0.0, 1.0], [10.0, 0.0]])
    schema = Schema((FeatureSpec("x", NUMERIC),))
    learner = RuleLearner(schema, [{"x": value} for value in values], Targets(np.array(truth), ("a", "b"), costs), 0)
    answers = learner.columns.answers(learner.learn())
    assert answers[np.array(values) >= 85].min() == 1.0
    assert answers[np.array(values) < 75].max() == 0.0


RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param(NUMERIC, RANDOM.normal(0, 1, 600).tolist(), id="numeric"),
        pytest.param(BOOLEAN, (RANDOM.random(600) < 0.5).tolist(), id="boolean"),
        pytest.param(CATEGORY, RANDOM.choice(["a", "b"], 600).tolist(), id="category"),
        pytest.param(NUMERIC, [1.0] * 600, id="one number"),
        pytest.param(INTEGER, [7] * 600, id="one integer"),
        pytest.param(BOOLEAN, [True] * 600, id="one boolean"),
        pytest.param(CATEGORY, ["a"] * 600, id="one category"),
        pytest.param(CATEGORY, [f"code {n}" for n in range(600)], id="rare categories"),
    ],
)
def test_a_missing_value_can_decide(kind: FeatureType, values: list[Value]) -> None:
    """Where only its presence tells the classes apart, the list compares with that, for each kind of feature."""
    schema = Schema((FeatureSpec("x", kind, required=False),))
    rows: list[Row] = [{"x": None if n % 3 == 0 else value} for n, value in enumerate(values)]
    targets = Targets(np.array([float(row["x"] is None) for row in rows]), ("a", "b"))
    learner = RuleLearner(schema, rows, targets, 0)
    candidates = learner.learn()
    assert {candidate.text for candidate in candidates} == {'"x" in missing', '!("x" in missing)'}
    assert learner.columns.answers(candidates).tolist() == targets.values.tolist()
    fallback = compiled(candidates, schema, -1.0)
    assert [fallback.answer(row).answer for row in rows] == targets.values.tolist()
