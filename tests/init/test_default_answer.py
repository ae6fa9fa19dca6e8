"""The scores of the default answer and of the rules, compared with the model."""

from dataclasses import replace

import pytest

from stillsafe.init.default_answer import (
    DefaultAnswer,
    comparison_warnings,
    describe_scores,
    rule_warnings,
    scores_with_rules,
)
from stillsafe.init.rule_proposal import NO_PROPOSAL, DamageScore, Proposal, ProposedList, ProposedRule, RuleEvaluation
from stillsafe.model.model import ModelKind

DEFAULT = DefaultAnswer("no", "The most frequent class of the sample's labels.", None)
CLASSIFIER, REGRESSOR = ModelKind.CLASSIFIER, ModelKind.REGRESSOR


def test_the_default_has_a_score_if_there_are_labels() -> None:
    """Its comment has the scores of default and model; without labels it has none."""
    assert describe_scores(DEFAULT, CLASSIFIER, (0.9, 0.6)).about.endswith("Its accuracy there: 0.6, the model's: 0.9.")
    assert (
        "mean absolute error there: 65, the model's: 43.3" in describe_scores(DEFAULT, REGRESSOR, (43.277, 65.04)).about
    )
    assert describe_scores(DEFAULT, CLASSIFIER, (None, None)) == DEFAULT


@pytest.mark.parametrize(
    ("kind", "model", "fallback", "doubtful"),
    [
        (CLASSIFIER, 0.9, 0.6, False),
        (CLASSIFIER, 0.6, 0.6, True),
        (CLASSIFIER, 0.1, 0.6, True),
        (REGRESSOR, 43.0, 65.0, False),
        (REGRESSOR, 65.0, 65.0, True),
        (REGRESSOR, 90.0, 65.0, True),
        (CLASSIFIER, None, None, False),
    ],
)
def test_a_model_no_better_than_its_fallback_gives_a_warning(
    kind: ModelKind, model: float | None, fallback: float | None, doubtful: bool
) -> None:
    """A larger accuracy is better, a larger error is worse, equal is not better, and no labels give no warning."""
    assert bool(list(comparison_warnings(DEFAULT, kind, (model, fallback)))) is doubtful


EVALUATION = RuleEvaluation(
    "accuracy", 500, 0.6, 0.8, (DamageScore(("a b",), 0.7), DamageScore(("a b", "c"), 0.6)), 0.85
)
LIST = ProposedList((ProposedRule("c > 3.0", "yes", "10% of rows, 90% right"),), ("c",), (), 0.8)
RULES = Proposal((LIST,), EVALUATION, 0.85, 0.6)


def test_the_score_of_the_fallback_is_that_of_its_rules() -> None:
    """With rules, score and comment include them; without, the score is that of the default."""
    assert scores_with_rules((0.9, 0.6), RULES) == (0.9, 0.8)
    assert scores_with_rules((0.9, 0.6), Proposal((), EVALUATION)) == (0.9, 0.6)
    assert scores_with_rules((None, None), NO_PROPOSAL) == (None, None)
    by_the_model = replace(RULES, evaluation=replace(EVALUATION, labelled=False))
    assert scores_with_rules((None, None), by_the_model) == (None, None)
    assert describe_scores(DEFAULT, CLASSIFIER, (0.9, 0.6), RULES).about.endswith(
        "model's: 0.9. With the rules below: 0.8."
    )
    assert describe_scores(DEFAULT, CLASSIFIER, (0.9, 0.6), Proposal((), EVALUATION)) == describe_scores(
        DEFAULT, CLASSIFIER, (0.9, 0.6)
    )


def test_proposed_rules_are_reported_with_their_scores() -> None:
    """They are in force at once, so a warning requests a review and has their scores."""
    warning, *takeovers = rule_warnings(RULES)
    assert warning.startswith(
        "The fallback has 1 short rule list, learnt from part of the sample: review fallback_rules."
    )
    assert "On 500 held-out rows: accuracy of the rules 0.8, of the default alone 0.6, of the model 0.85, " in warning
    assert warning.endswith("with a_b damaged 0.7, of the rules with a_b and c damaged 0.6.")
    assert takeovers == [
        "Without `a b` the best rules get 80 of 100 right and the model 85: they take over once damage to it is "
        "estimated to cost 5.0 points.",
        "Without `a b` and `c` no rules help, and the last answer gets 60 of 100 right and the model 85: it takes "
        "over once damage to them is estimated to cost 25.0 points.",
    ]
    assert list(rule_warnings(replace(RULES, model_score=None))) == [warning]
    assert list(rule_warnings(NO_PROPOSAL)) == []
    assert list(rule_warnings(Proposal((), EVALUATION))) == []


@pytest.mark.parametrize(
    ("kind", "model", "rules", "doubtful"),
    [
        (CLASSIFIER, 0.85, 0.8, False),
        (CLASSIFIER, 0.8, 0.8, True),
        (REGRESSOR, 10.0, 20.0, False),
        (REGRESSOR, 20.0, 10.0, True),
        (CLASSIFIER, None, 0.8, False),
    ],
)
def test_a_model_no_better_than_a_few_rules_gives_a_warning(
    kind: ModelKind, model: float | None, rules: float, doubtful: bool
) -> None:
    """Both are scored on the same held-out rows; without a score of the model there is no warning."""
    proposal = replace(RULES, evaluation=replace(EVALUATION, model=model, rules=rules))
    better = (0.9, 0.6) if kind is CLASSIFIER else (0.6, 0.9)
    warnings = list(comparison_warnings(DEFAULT, kind, better, proposal))
    assert any("no better than the rules" in warning for warning in warnings) is doubtful
    assert list(comparison_warnings(DEFAULT, kind, better, replace(proposal, lists=()))) == []
