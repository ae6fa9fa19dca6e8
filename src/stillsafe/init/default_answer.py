"""The default answer of the fallback, and how model, default and rules score on the labelled sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stillsafe.core.evidence.price_sentences import ERROR, MODELS, RULES, takeover_sentence
from stillsafe.core.evidence.shared_numbers import number_range
from stillsafe.core.fallback import Answer
from stillsafe.core.policy import Policy
from stillsafe.core.score import Score, as_text
from stillsafe.errors import ConfigurationError
from stillsafe.init.rule_proposal import NO_PROPOSAL, Proposal, RuleEvaluation
from stillsafe.model.labels import parse_labels
from stillsafe.model.model import ModelKind
from stillsafe.rules import variable
from stillsafe.settings_sections import Privacy

SIGNIFICANT_DIGITS = 9
MOST_DAMAGE_SCORES, MOST_TAKEOVERS = 5, 2

SampleScores = tuple[float | None, float | None]
"""The model's score and the fallback's: accuracy, or mean absolute error; None without labels."""


@dataclass(frozen=True, slots=True)
class DefaultAnswer:
    """The default answer.

    Attributes:
        answer: one of the model's classes, or a number.
        about: its origin, one sentence.
        span: the range of a regressor's healthy labels or predictions, each end shared by enough of them; None of a
            classifier, or where there are too few.
    """

    answer: Answer
    about: str
    span: tuple[float, float] | None


def sample_labels(
    column: "pd.Series[Any] | None", kind: ModelKind, classes: Sequence[Answer]
) -> list[Answer | None] | None:
    """The labels as classes or numbers, None for a label that is not a class; or None without a label column.

    Raises:
        ConfigurationError: the column does not hold labels of this model.
    """
    if column is None:
        return None
    labels = parse_labels(column.tolist(), classes)
    if kind is ModelKind.REGRESSOR and None in labels:
        problem = (
            f"The column {str(column.name)!r} has values that are not finite numbers, and the model predicts numbers."
        )
        raise ConfigurationError(problem, "Name the label column with --label.")
    return labels


def choose_default(
    kind: ModelKind,
    classes: Sequence[Answer],
    labels: Sequence[Answer | None] | None,
    scores: Sequence[Score],
    min_count: int = Privacy().min_count,
) -> DefaultAnswer:
    """The most frequent class or the median; of the labels, or without labels of the model's predictions.

    Args:
        kind: kind of the model.
        classes: of a classifier.
        labels: of the sample, or None.
        scores: the model's scores on the sample.
        min_count: labels or predictions that an end of the range stands for.
    """
    origin = "the model's predictions on the sample" if labels is None else "the sample's labels"
    candidates = [score.prediction for score in scores] if labels is None else labels
    answers = [answer for answer in candidates if answer is not None]
    if kind is ModelKind.REGRESSOR:
        numbers = [float(answer) for answer in answers]
        median = float(f"{np.median(numbers):.{SIGNIFICANT_DIGITS}g}")
        ends = number_range(np.sort(numbers), min_count)
        span = None if ends is None else (ends.minimum, ends.maximum)
        return DefaultAnswer(median, f"The median of {origin}.", span)
    counts = {as_text(name): 0 for name in classes}
    for answer in answers:
        counts[as_text(answer)] += 1
    most_frequent = max(classes, key=lambda name: counts[as_text(name)])
    return DefaultAnswer(most_frequent, f"The most frequent class of {origin}.", None)


def score_on_sample(
    kind: ModelKind, labels: Sequence[Answer | None] | None, scores: Sequence[Score], default: Answer
) -> SampleScores:
    """The scores of the model and of the default answer on the labelled sample."""
    if labels is None:
        return None, None
    pairs = [(s.prediction, label) for s, label in zip(scores, labels, strict=True) if s.prediction is not None]
    if kind is ModelKind.CLASSIFIER:
        return (
            float(np.mean([prediction == label for prediction, label in pairs])),
            float(np.mean([default == label for _, label in pairs])),
        )
    numbers = np.array(pairs, dtype=float)
    return float(np.abs(numbers[:, 0] - numbers[:, 1]).mean()), float(np.abs(float(default) - numbers[:, 1]).mean())


def scores_with_rules(scores: SampleScores, proposal: Proposal) -> SampleScores:
    """The same scores; if there are rules, the fallback's score is that of the rules on the held-out rows.

    Rules that were measured by the model's own answers have no score: how often they are right is unknown.
    """
    if proposal.evaluation is None or not proposal.rules or not proposal.evaluation.labelled:
        return scores
    return scores[0], proposal.evaluation.rules


def describe_scores(
    default: DefaultAnswer, kind: ModelKind, scores: SampleScores, proposal: Proposal = NO_PROPOSAL
) -> DefaultAnswer:
    """The default answer with the scores added to its description, if they are known.

    Args:
        default: the default answer.
        kind: kind of the model.
        scores: of the model and of the default alone.
        proposal: the rules before the default.
    """
    model, fallback = scores
    if model is None or fallback is None:
        return default
    metric = "accuracy" if kind is ModelKind.CLASSIFIER else "mean absolute error"
    about = f"{default.about} Its {metric} there: {fallback:.3g}, the model's: {model:.3g}."
    if proposal.evaluation is not None and proposal.rules:
        about += f" With the rules below: {proposal.evaluation.rules:.3g}."
    return replace(default, about=about)


def evaluation_phrases(evaluation: RuleEvaluation) -> Iterator[str]:
    """The scores on the held-out rows, one phrase each."""
    yield f"{evaluation.metric} of the rules {evaluation.rules:.3g}"
    yield f"of the default alone {evaluation.default:.3g}"
    if evaluation.model is not None:
        yield f"of the model {evaluation.model:.3g}"
    for damage in evaluation.damage_scores[:MOST_DAMAGE_SCORES]:
        yield f"of the rules with {' and '.join(map(variable, damage.features))} damaged {damage.score:.3g}"


def rule_warnings(proposal: Proposal) -> Iterator[str]:
    """A sentence that requests a review of the proposed lists, and when they take over."""
    evaluation = proposal.evaluation
    if evaluation is None or not proposal.lists:
        return
    count = "1 short rule list" if len(proposal.lists) == 1 else f"{len(proposal.lists)} short rule lists"
    models = f" and {len(proposal.models)} second models" if proposal.models else ""
    basis = "held-out rows" if evaluation.labelled else "held-out rows, by the model's own answers"
    yield (
        f"The fallback has {count}{models}, learnt from part of the sample: review {proposal.lists_file}. On "
        f"{evaluation.row_count} {basis}: {', '.join(evaluation_phrases(evaluation))}."
    )
    if proposal.model_score is not None:
        for damage in evaluation.damage_scores[:MOST_TAKEOVERS]:
            yield takeover_sentence(
                proposal.prices,
                proposal.model_score,
                damage.features,
                least_loss(proposal),
                evaluation.metric,
                MODELS if proposal.models else RULES,
            )


def least_loss(proposal: Proposal) -> float:
    """The estimated loss that is severe by default, in the unit of the proposal's scores."""
    is_error = proposal.evaluation is not None and proposal.evaluation.metric == ERROR
    policy = Policy()
    return policy.estimated_error_growth_severe if is_error else policy.estimated_accuracy_loss_severe


def comparison_warnings(
    default: DefaultAnswer, kind: ModelKind, scores: SampleScores, proposal: Proposal = NO_PROPOSAL
) -> Iterator[str]:
    """A sentence if the model scores no better than its fallback.

    Args:
        default: the default answer.
        kind: kind of the model.
        scores: of the model and of the default alone.
        proposal: the rules before the default.
    """
    model, fallback = scores
    if model is None or fallback is None:
        return
    if _no_better(kind, model, fallback):
        yield (
            f"On the sample the model is no better than always predicting {default.answer!r}: check that model, sample "
            "and label column belong together."
        )
    elif proposal.rules and (evaluation := proposal.evaluation) and evaluation.model is not None:
        yield from _rule_comparison(kind, evaluation, evaluation.model)


def _rule_comparison(kind: ModelKind, evaluation: RuleEvaluation, model: float) -> Iterator[str]:
    if _no_better(kind, model, evaluation.rules):
        yield (
            f"On the {evaluation.row_count} held-out rows the model ({model:.3g}) is no better than the rules "
            f"({evaluation.rules:.3g}), which are simpler."
        )


def _no_better(kind: ModelKind, model: float, fallback: float) -> bool:
    return model <= fallback if kind is ModelKind.CLASSIFIER else model >= fallback
