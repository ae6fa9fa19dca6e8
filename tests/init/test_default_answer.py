"""What the default answer and the rules before it are worth beside the model."""

from dataclasses import replace

import pytest

from stillsafe.init.default_answer import Default, doubts, priced, proposed, with_rules
from stillsafe.init.rule_search import NO_PROPOSAL, Price, Prices, Proposal, Proposed
from stillsafe.model.model import ModelKind

DEFAULT = Default("no", "The commonest class of the sample's labels.", None)
CLASSIFIER, REGRESSOR = ModelKind.CLASSIFIER, ModelKind.REGRESSOR


def test_the_default_has_a_price_where_labels_tell() -> None:
    """Its comment says what it and the model are worth; without labels it says nothing that nobody knows."""
    assert priced(DEFAULT, CLASSIFIER, (0.9, 0.6)).about.endswith("Its accuracy there: 0.6, the model's: 0.9.")
    assert "mean absolute error there: 65, the model's: 43.3" in priced(DEFAULT, REGRESSOR, (43.277, 65.04)).about
    assert priced(DEFAULT, CLASSIFIER, (None, None)) == DEFAULT


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
def test_a_model_no_better_than_its_fallback_is_doubted(
    kind: ModelKind, model: float | None, fallback: float | None, doubtful: bool
) -> None:
    """A greater accuracy is better, a greater error is worse, equal is not better, and no labels are no doubt."""
    assert bool(list(doubts(DEFAULT, kind, (model, fallback)))) is doubtful


PRICES = Prices("accuracy", 500, 0.6, 0.8, (Price(("a b",), 0.7), Price(("a b", "c"), 0.6)), 0.85)
RULES = Proposal((Proposed("c > 3.0", "yes", "Answers 10% of the held-out rows, 90% of them rightly."),), PRICES)


def test_the_fallback_is_worth_what_its_rules_are() -> None:
    """With rules the score that is told is theirs, and the default's comment says so; without, the default's own."""
    assert with_rules((0.9, 0.6), RULES) == (0.9, 0.8)
    assert with_rules((0.9, 0.6), Proposal((), PRICES)) == (0.9, 0.6)
    assert with_rules((None, None), NO_PROPOSAL) == (None, None)
    assert priced(DEFAULT, CLASSIFIER, (0.9, 0.6), RULES).about.endswith("model's: 0.9. With the rules below: 0.8.")
    assert priced(DEFAULT, CLASSIFIER, (0.9, 0.6), Proposal((), PRICES)) == priced(DEFAULT, CLASSIFIER, (0.9, 0.6))


def test_proposed_rules_are_told_with_their_price() -> None:
    """They are in force at once, so a person is asked to look, and told what they are worth where."""
    (told,) = proposed(RULES)
    assert told.startswith("The fallback got 1 rule, learnt from a part of the sample: review")
    assert "On 500 other rows: accuracy of the rules 0.8, of the default alone 0.6, of the model 0.85, " in told
    assert told.endswith("with a_b damaged 0.7, of the rules with a_b and c damaged 0.6.")
    assert list(proposed(NO_PROPOSAL)) == []
    assert list(proposed(Proposal((), PRICES))) == []


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
def test_a_model_no_better_than_a_few_rules_is_doubted(
    kind: ModelKind, model: float | None, rules: float, doubtful: bool
) -> None:
    """Both on the same held-out rows; a model that was not scored there is no doubt."""
    proposal = replace(RULES, prices=replace(PRICES, model=model, rules=rules))
    better = (0.9, 0.6) if kind is CLASSIFIER else (0.6, 0.9)
    told = list(doubts(DEFAULT, kind, better, proposal))
    assert any("no better than the rules" in each for each in told) is doubtful
    assert list(doubts(DEFAULT, kind, better, replace(proposal, rules=()))) == []
