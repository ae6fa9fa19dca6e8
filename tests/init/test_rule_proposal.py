"""What a proposal holds for the settings: its prices, and the rules that answer while every feature is intact."""

from stillsafe.core.policy import FallbackPrice
from stillsafe.init.rule_proposal import NO_PROPOSAL, Proposal, ProposedList, ProposedModel, ProposedRule

LIST = ProposedList((ProposedRule("age > 30.0", 1, "all rows"),), ("age",), (), 0.8)
OTHER = ProposedList((ProposedRule("visits > 3", 1, "all rows"),), ("visits",), ("age",), 0.7)


def test_the_prices_are_those_of_lists_models_and_default() -> None:
    """In this order; what has no score has no price."""
    models = (ProposedModel(("visits",), ("age",), 0.75), ProposedModel(("city",), ("age", "visits"), None))
    proposal = Proposal((LIST, OTHER), None, 0.9, 0.6, models=models)
    assert proposal.prices == (
        FallbackPrice(("age",), 0.8),
        FallbackPrice(("visits",), 0.7),
        FallbackPrice(("visits",), 0.75),
        FallbackPrice((), 0.6),
    )
    assert NO_PROPOSAL.prices == ()


def test_the_first_list_answers_while_all_is_intact() -> None:
    """Its rules are what `init --json` shows as the fallback's rules."""
    assert Proposal((LIST, OTHER)).rules == LIST.rules
    assert NO_PROPOSAL.rules == ()
