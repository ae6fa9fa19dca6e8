"""Conditions learnt by column say in CEL what they say in arrays, in few words and with round numbers."""

import numpy as np
import pytest

from stillsafe.core.fallback import Fallback
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.init.rule_learner import Comparison, Draft, Sample, Truth
from stillsafe.rules import compile_fallback
from stillsafe.settings import FallbackRule, FallbackSettings
from tests.init.test_rule_search import COST, COUNT, ROWS, SCHEMA

NUMERIC, INTEGER, BOOLEAN, CATEGORY = FeatureType


def compiled(drafts: list[Draft], schema: Schema, default: float) -> Fallback:
    rules = tuple(FallbackRule(when=draft.text, answer=draft.answer) for draft in drafts)
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
    """Each kind is written as the type check wants it, and its opposite too."""
    assert (comparison.text, comparison.opposite.text) == (text, opposite)
    assert comparison.opposite.opposite == comparison
    schema = Schema((FeatureSpec(comparison.feature, comparison.type),))
    rules = compiled([Draft((comparison,), 1.0), Draft((comparison.opposite,), 2.0)], schema, 0.0)
    assert [rule.reads for rule in rules.rules] == [{comparison.feature}] * 2
    assert rules.answer({comparison.feature: None}).answer == 0


def test_learnt_conditions_answer_as_the_fallback_does() -> None:
    """What is learnt by column and what the service evaluates row by row are the same, missing values or not."""
    random = np.random.default_rng(8)
    rows: list[Row] = [{name: None if random.random() < 0.1 else v for name, v in row.items()} for row in ROWS]
    sample = Sample(SCHEMA, rows, Truth(np.array(COST, dtype=float), ()), 110.0, 0)
    drafts = sample.learnt(np.arange(COUNT), (), 5)
    assert len(drafts) > 2
    fallback = compiled(drafts, SCHEMA, 110.0)
    assert [rule.reads for rule in fallback.rules] == [draft.reads for draft in drafts]
    for damaged in ((), ("delay",), ("visits",)):
        assert sample.answers(drafts, damaged).tolist() == [fallback.answer(row, damaged).answer for row in rows]


def sample_of(values: list[float], truth: list[float]) -> tuple[Sample, "np.ndarray[tuple[int], np.dtype[np.intp]]"]:
    schema = Schema((FeatureSpec("x", NUMERIC, required=False), FeatureSpec("y", INTEGER)))
    rows: list[Row] = [{"x": value, "y": number % 2} for number, value in enumerate(values)]
    return Sample(schema, rows, Truth(np.array(truth), ("a", "b")), 0.0, 0), np.arange(len(values))


def test_a_bound_is_as_round_as_it_may_be() -> None:
    """Between the last value of the one and the first of the other the shortest number is taken."""
    values = [*np.linspace(0, 29.37, 200).tolist(), *np.linspace(30.4419, 60, 200).tolist()]
    sample, everyone = sample_of(values, [0.0] * 200 + [1.0] * 200)
    assert [draft.text for draft in sample.learnt(everyone, (), 5)] == ["x > 30.0", "x <= 30.0"]


def test_a_few_rows_teach_nothing() -> None:
    """A condition that covers fewer than thirty rows, or a fiftieth of them, is none."""
    for few, many in ((29, 400), (35, 2_000)):
        sample, everyone = sample_of([float(n) for n in range(many)], [float(n < few) for n in range(many)])
        assert all(sample.first([draft]).tolist().count(0) > few for draft in sample.learnt(everyone, (), 5))


def test_what_it_must_do_without_is_not_read() -> None:
    """Neither learnt nor relaxed conditions read a feature that they are to do without."""
    values = np.random.default_rng(1).normal(0, 1, 400).tolist()
    truth = [float(value > 0.5 and number % 2) for number, value in enumerate(values)]
    sample, everyone = sample_of(values, truth)
    drafts = sample.learnt(everyone, (), 5)
    assert {name for draft in drafts for name in draft.reads} == {"x", "y"}
    assert sample.learnt(everyone, ("x", "y"), 5) == []
    both = [Draft((Comparison("x", NUMERIC, ">", 0.5), Comparison("y", INTEGER, ">", 0)), 1.0)]
    assert [draft.text for draft in sample.relaxed(both, everyone, ("y",), 4)] == ["x > 0.5"]
    assert [draft.text for draft in sample.relaxed(both, everyone, ("x",), 4)] == ["y > 0"]
    assert sample.relaxed(both, everyone, ("x", "y"), 4) == []
