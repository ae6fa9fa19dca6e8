"""The part of `stillsafe check` about who answers while the model is damaged."""

from collections.abc import Iterator

from stillsafe.check.findings import Finding, ok, warning
from stillsafe.core.evidence.advantage import best_price
from stillsafe.core.evidence.price_sentences import ACCURACY, ERROR, MODELS, RULES, takeover_sentence
from stillsafe.core.policy import Bypass, Policy
from stillsafe.settings import Settings

MOST_FEATURES = 3
SUBJECT = "bypass"
SHIFT = "A shift of the traffic never bypasses, as rows that are hard for the model are hard for the fallback."


def fallback_findings(settings: Settings) -> Iterator[Finding]:
    """When the fallback takes over, and what about it has no price."""
    policy, fallback = settings.policy, settings.fallback
    if fallback.answer == "abstain":
        yield ok(SUBJECT, _abstention(settings))
    elif policy.bypass is Bypass.ALWAYS:
        yield ok(SUBJECT, 'each CRITICAL bypasses the model (`bypass = "always"` in [fallback])')
    elif policy.model_score is not None and policy.fallback_prices:
        sources = MODELS if fallback.models else RULES
        yield ok(SUBJECT, " ".join([*_takeovers(policy, policy.model_score, sources), SHIFT]))
    if policy.bypass is Bypass.WHEN_IT_PAYS and (fallback.rules or fallback.function):
        message = (
            "Your own rules answer before the rule lists and have no price, so the expected advantage is that of the "
            'lists. Set `bypass = "always"` in [fallback] if your own answers are safe ones.'
        )
        yield warning(SUBJECT, message)
    names = settings.schema_of_features.names
    if policy.bypass is Bypass.WHEN_IT_PAYS and best_price(policy.fallback_prices, names) is None:
        message = (
            "The last answer has no score, so its bypass has no price: where no list is left, each CRITICAL bypasses."
        )
        yield warning(SUBJECT, message)


def _abstention(settings: Settings) -> str:
    fallback = settings.fallback
    beginning = "while the model is bypassed, the prediction is null, for a person or another system to take over"
    if fallback.bypass == "always" or fallback.abstention_cost is None or fallback.model_score is None:
        return f"{beginning}; each CRITICAL bypasses"
    policy = settings.policy
    sentence = takeover_sentence(policy.fallback_prices, fallback.model_score, (), least_loss(policy), title(policy))
    return f"{beginning}. {sentence}"


def _takeovers(policy: Policy, model_score: float, sources: str) -> Iterator[str]:
    """The sentence about the feature that the best list uses most, and the one about its first three together."""
    prices, least = policy.fallback_prices, least_loss(policy)
    best = best_price(prices, ())
    names = () if best is None else best.reads[:MOST_FEATURES]
    for damaged_features in dict.fromkeys((names[:1], names)):
        if damaged_features or not names:
            yield takeover_sentence(prices, model_score, damaged_features, least, title(policy), sources)


def least_loss(policy: Policy) -> float:
    """The estimated loss that is severe: with a smaller one, the model answers in any case."""
    if policy.harm_severe is not None:
        return policy.harm_severe
    return policy.estimated_error_growth_severe if title(policy) == ERROR else policy.estimated_accuracy_loss_severe


def title(policy: Policy) -> str:
    """The title of the scores; a regressor's are minus its error, as a multiple of the model's."""
    if policy.metric is not None:
        return f"scores for {policy.metric.replace('_', ' ')}"
    return ERROR if policy.model_score is not None and policy.model_score < 0 else ACCURACY
