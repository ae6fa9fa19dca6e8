"""From which estimated loss on the fallback takes over from the model, in words."""

from collections.abc import Sequence

from stillsafe.core.evidence.advantage import best_price
from stillsafe.core.policy import EVIDENCE, FallbackPrice

RULES, MODELS = "rules", "rules or models"
"""What answers before the default."""
ACCURACY, ERROR = "accuracy", "mean absolute error"
"""Titles of the metrics of a classifier and of a regressor where the owner names no other."""


def takeover_sentence(
    prices: Sequence[FallbackPrice],
    model_score: float,
    damaged_features: Sequence[str],
    least_loss: float,
    metric: str = ACCURACY,
    sources: str = RULES,
) -> str:
    """Which fallback answers for damage to some features, and from which estimated loss on; empty without a price.

    Args:
        prices: of the fallback.
        model_score: the model's score on the same rows.
        damaged_features: the features that the answering rules must not read; none for damage in general.
        least_loss: the estimated loss that is severe; a smaller one never bypasses.
        metric: title of the scores.
        sources: what answers before the default.
    """
    price = best_price(prices, damaged_features)
    if price is None:
        return ""
    error = EVIDENCE.advantage_deviations * (price.error or 0.0)
    lead = max(model_score - price.score + error, least_loss)
    scores, loss = _scores(price.score, model_score, lead, metric, is_plural=bool(price.reads))
    takes = "they take" if price.reads else "it takes"
    pronoun = "it" if len(damaged_features) == 1 else "them"
    damage = f"damage to {pronoun}" if damaged_features else "damage"
    return f"{_subject(price, damaged_features, sources)} {scores}: {takes} over once {damage} is estimated to {loss}."


def _subject(price: FallbackPrice, damaged_features: Sequence[str], sources: str) -> str:
    names = [f"`{name}`" for name in damaged_features]
    features = " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
    if price.reads:
        return f"Without {features} the best {sources}" if features else f"The best {sources}"
    return f"Without {features} no {sources} help, and the last answer" if features else "The last answer"


def _scores(score: float, model_score: float, lead: float, metric: str, *, is_plural: bool) -> tuple[str, str]:
    """The scores of fallback and model as a predicate, and the loss at which they are equal."""
    if metric == ACCURACY:
        verb, model_share = "get" if is_plural else "gets", f"{100 * model_score:.0f}"
        return f"{verb} {100 * score:.0f} of 100 right and the model {model_share}", f"cost {100 * lead:.1f} points"
    if metric == ERROR:
        verb, factor = "make" if is_plural else "makes", score / model_score
        return f"{verb} {factor:.3g} times the model's error", f"add {lead / -model_score:.0%} to the model's error"
    verb = "reach" if is_plural else "reaches"
    return f"{verb} {score:.3g} and the model {model_score:.3g} ({metric})", f"cost {lead:.3g}"
