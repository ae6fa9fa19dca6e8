"""The true answers of the sample, set beside the model's: a conservative default, and what both are worth."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stillsafe.core.fallback import Answer
from stillsafe.errors import ConfigurationError
from stillsafe.init.rule_search import NO_PROPOSAL, Prices, Proposal
from stillsafe.model.model import ModelKind, Score, as_text
from stillsafe.rules import variable

SIGNIFICANT_DIGITS = 9
MOST_CLASSES_TOLD = 10


@dataclass(frozen=True, slots=True)
class Default:
    """The conservative default.

    Attributes:
        answer: one of the model's classes, or a number.
        about: where it comes from, a sentence.
        span: the least and the greatest healthy answer of a regressor, None of a classifier.
    """

    answer: Answer
    about: str
    span: tuple[float, float] | None


def truths(labels: "pd.Series[Any] | None", kind: ModelKind, classes: Sequence[Answer]) -> list[Answer | None] | None:
    """The labels in the model's own words, None for one that is no class of it; or None without labels.

    Raises:
        ConfigurationError: they cannot be this model's answers.
    """
    if labels is None:
        return None
    if kind is ModelKind.REGRESSOR:
        return list(_numbers(labels))
    found = [class_of(value, classes) for value in labels.tolist()]
    if all(value is None for value in found):
        known = ", ".join(repr(c) for c in classes[:MOST_CLASSES_TOLD])
        told = f"None of the values of {str(labels.name)!r} is a class of the model, whose classes are {known}."
        raise ConfigurationError(told, "Name the column with the true answers with --label.")
    return found


def _numbers(labels: "pd.Series[Any]") -> list[float]:
    try:
        numbers = [float(value) for value in labels.tolist()]
    except (TypeError, ValueError):
        numbers = [math.nan]
    if not all(math.isfinite(number) for number in numbers):
        told = f"The column {str(labels.name)!r} holds more than finite numbers, and the model answers numbers."
        raise ConfigurationError(told, "Name the column with the true answers with --label.")
    return numbers


def class_of(value: Any, classes: Sequence[Answer]) -> Answer | None:
    """The model's own class for a label: a CSV file says True for true, and 1.0 for 1 where another is missing."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    written = str(plain)
    return next((c for c in classes if c == plain or written in (as_text(c), str(c))), None)


def default(
    kind: ModelKind, classes: Sequence[Answer], truth: Sequence[Answer | None] | None, scores: Sequence[Score]
) -> Default:
    """The commonest class or the median; of the labels, or else of the model's answers."""
    whose = "the model's own answers on the sample" if truth is None else "the sample's labels"
    given = [score.prediction for score in scores] if truth is None else truth
    answers = [answer for answer in given if answer is not None]
    if kind is ModelKind.REGRESSOR:
        numbers = [float(answer) for answer in answers]
        median = float(f"{np.median(numbers):.{SIGNIFICANT_DIGITS}g}")
        return Default(median, f"The median of {whose}.", (min(numbers), max(numbers)))
    counts = {as_text(c): 0 for c in classes}
    for answer in answers:
        counts[as_text(answer)] += 1
    return Default(max(classes, key=lambda c: counts[as_text(c)]), f"The commonest class of {whose}.", None)


def worth(
    kind: ModelKind, truth: Sequence[Answer | None] | None, scores: Sequence[Score], fallback: Answer
) -> tuple[float | None, float | None]:
    """The model's score on the labelled sample, and the fallback's: accuracy, or mean absolute error."""
    if truth is None:
        return None, None
    pairs = [(s.prediction, t) for s, t in zip(scores, truth, strict=True) if s.prediction is not None]
    if kind is ModelKind.CLASSIFIER:
        return float(np.mean([p == t for p, t in pairs])), float(np.mean([fallback == t for _, t in pairs]))
    told = np.array(pairs, dtype=float)
    return float(np.abs(told[:, 0] - told[:, 1]).mean()), float(np.abs(float(fallback) - told[:, 1]).mean())


Worth = tuple[float | None, float | None]


def with_rules(worth: Worth, proposal: Proposal) -> Worth:
    """The same with the fallback's rules, where there are any: its score is then that on the held-out rows."""
    if proposal.prices is None or not proposal.rules:
        return worth
    return worth[0], proposal.prices.rules


def priced(default: Default, kind: ModelKind, worth: Worth, proposal: Proposal = NO_PROPOSAL) -> Default:
    """The default with what it costs beside the model, where that is known.

    Args:
        default: the default.
        kind: of the model.
        worth: of the model and of the default alone.
        proposal: the rules before the default.
    """
    model, fallback = worth
    if model is None or fallback is None:
        return default
    what = "accuracy" if kind is ModelKind.CLASSIFIER else "mean absolute error"
    about = f"{default.about} Its {what} there: {fallback:.3g}, the model's: {model:.3g}."
    if proposal.prices is not None and proposal.rules:
        about += f" With the rules below: {proposal.prices.rules:.3g}."
    return replace(default, about=about)


def prices_told(prices: Prices) -> Iterator[str]:
    """What is worth how much on the held-out rows, a phrase each."""
    yield f"{prices.metric} of the rules {prices.rules:.3g}"
    yield f"of the default alone {prices.default:.3g}"
    if prices.model is not None:
        yield f"of the model {prices.model:.3g}"
    for price in prices.damaged:
        yield f"of the rules with {' and '.join(map(variable, price.damaged))} damaged {price.score:.3g}"


def proposed(proposal: Proposal) -> Iterator[str]:
    """A sentence on the rules that were proposed, which are in force until a person changes them."""
    if proposal.prices is not None and proposal.rules:
        count = "1 rule" if len(proposal.rules) == 1 else f"{len(proposal.rules)} rules"
        yield (
            f"The fallback got {count}, learnt from a part of the sample: review them. "
            f"On {proposal.prices.row_count} other rows: {', '.join(prices_told(proposal.prices))}."
        )


def doubts(default: Default, kind: ModelKind, worth: Worth, proposal: Proposal = NO_PROPOSAL) -> Iterator[str]:
    """A sentence where the model is no better than its fallback, which a healthy one is.

    Args:
        default: the default.
        kind: of the model.
        worth: of the model and of the default alone.
        proposal: the rules before the default.
    """
    model, fallback = worth
    if model is None or fallback is None:
        return
    if _no_better(kind, model, fallback):
        yield (
            f"On the sample the model is no better than always answering {default.answer!r}: "
            "do model, sample and label belong together?"
        )
    elif proposal.rules and (prices := proposal.prices) and prices.model is not None:
        yield from _doubts_of_rules(kind, prices, prices.model)


def _doubts_of_rules(kind: ModelKind, prices: Prices, model: float) -> Iterator[str]:
    if _no_better(kind, model, prices.rules):
        yield (
            f"On the {prices.row_count} rows held out from the rules the model ({model:.3g}) is no better than the "
            f"rules ({prices.rules:.3g}), which are easier to trust."
        )


def _no_better(kind: ModelKind, model: float, fallback: float) -> bool:
    return model <= fallback if kind is ModelKind.CLASSIFIER else model >= fallback
