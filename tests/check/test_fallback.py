"""The findings of `stillsafe check` about who answers while the model is damaged."""

from pathlib import Path
from typing import Any

import pytest

from stillsafe.check.fallback import fallback_findings, least_loss
from stillsafe.check.findings import Verdict
from stillsafe.settings import Settings, parse

RULES = [{"when": "true", "answer": 1}]
LISTS = [
    {"reads": ["income", "age", "city"], "score": 0.8, "rules": RULES},
    {"reads": ["age", "city"], "score": 0.77, "rules": RULES},
    {"reads": ["visits"], "score": 0.72, "rules": RULES},
]
PRICES: dict[str, Any] = {
    "default": 0,
    "bypass": "when_it_pays",
    "model_score": 0.83,
    "default_score": 0.6,
    "lists": LISTS,
}


def settings(fallback: dict[str, Any], **sections: Any) -> Settings:
    model = {"file": "m.skops", "sha256": "0" * 64, "version": "1"}
    features = [{"name": name, "type": "numeric"} for name in ("income", "age", "city", "visits")]
    document = {"service": {"name": "s"}, "model": model, "fallback": fallback, "features": features, **sections}
    return parse(document, folder=Path("/"))


def messages(fallback: dict[str, Any], **sections: Any) -> list[tuple[Verdict, str]]:
    return [(each.verdict, each.message) for each in fallback_findings(settings(fallback, **sections))]


def test_the_takeover_is_told_for_one_feature_and_for_three() -> None:
    """For the first features of the best list, with the loss from which the rules are expected to do better."""
    ((verdict, message),) = messages(PRICES)
    assert verdict is Verdict.OK
    assert "Without `income` the best rules get 77 of 100 right and the model 83" in message
    assert "Without `income`, `age` and `city` the best rules get 72 of 100 right and the model 83" in message
    assert "estimated to cost 11.0 points. A shift of the traffic never bypasses" in message


def test_a_bypass_without_a_price_is_told() -> None:
    """`always` bypasses at each CRITICAL; the owner's own rules and an safe_class last answer have no price."""
    ((_, always),) = messages({"default": 0})
    assert always.startswith("each CRITICAL bypasses")
    own_rules = messages(PRICES | {"rules": RULES})
    assert [verdict for verdict, _ in own_rules] == [Verdict.OK, Verdict.WARNING]
    assert own_rules[1][1].startswith("Your own rules answer before the rule lists and have no price")
    safe_class = messages(PRICES | {"safe_class": 1})
    assert safe_class[1][1].startswith("The last answer has no score")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "null, for a person or another system to take over; each CRITICAL bypasses"),
        (
            {"abstention_cost": 0.1, "bypass": "when_it_pays"},
            "The last answer gets 90 of 100 right and the model 83: it takes over once damage is estimated to cost 3.8",
        ),
    ],
)
def test_abstention_is_told(more: dict[str, Any], words: str) -> None:
    """That the prediction is null, and from which loss on the owner's cost is worth it."""
    ((_, message),) = messages({"default": 0, "answer": "abstain", "model_score": 0.83} | more)
    assert words in message


def test_the_least_loss_is_the_severe_limit() -> None:
    """Of the accuracy, of a regressor's error, or the one that the owner wrote."""
    assert least_loss(settings(PRICES).policy) == pytest.approx(0.0375)
    assert least_loss(settings({"default": 0.0, "model_score": -1.0}).policy) == pytest.approx(0.15)
    owners = settings(PRICES, harm={"metric": "recall", "positive": 1, "moderate": 0.05, "severe": 0.1})
    assert least_loss(owners.policy) == pytest.approx(0.1)
