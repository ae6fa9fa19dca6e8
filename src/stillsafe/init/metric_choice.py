"""The metric of a new service: the choice of the owner, or a proposal from the balance of the classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.fallback import Answer
from stillsafe.core.score import Score, as_text
from stillsafe.errors import ConfigurationError
from stillsafe.model.metrics import Labels, Outcome, performance
from stillsafe.model.model import Model, ModelKind
from stillsafe.settings_harm import Harm, metric_definition

RARE_SHARE = 0.1
"""A class that at most one row in ten belongs to is rare: accuracy hardly sees what happens to it."""
FEWEST_POSITIVES = 20
"""With fewer rows of the rare class in the sample, no metric of it can be measured."""
LEAST_RECALL = 0.1
"""A model that finds less of the positive class at its threshold is watched by its ranking alone."""


@dataclass(frozen=True, slots=True)
class MetricChoice:
    """The metrics of a service.

    Attributes:
        definitions: the owner's metric and further ones; empty for the default.
        section: the keys of `[harm]`.
        reason: why, one sentence; empty where none is needed.
        warnings: what accuracy cannot see, or what the sample cannot show, one sentence each.
    """

    definitions: tuple[MetricDefinition, ...] = ()
    section: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    warnings: tuple[str, ...] = ()


def choose_metric(
    model: Model, scores: Sequence[Score], labels: Sequence[Answer | None] | None, section: Mapping[str, Any]
) -> MetricChoice:
    """The metrics that the owner's section names, or a proposal.

    Args:
        model: the model.
        scores: its scores on the sample.
        labels: of the sample, or None.
        section: the keys of `[harm]` that the owner gives.

    Raises:
        ConfigurationError: the section does not fit the model.
    """
    balance = class_shares(model, scores, labels)
    if "metric" in section:
        return _owners_choice(model, dict(section), balance)
    if model.kind is ModelKind.REGRESSOR or not balance:
        return MetricChoice()
    rarest = min(balance, key=lambda name: balance[name])
    if balance[rarest] > RARE_SHARE:
        return MetricChoice()
    return _rare_class(model, scores, labels, rarest, balance[rarest])


def default_warning(choice: MetricChoice, default: Answer, safe_class: Answer | None = None) -> Iterator[str]:
    """A sentence if the fallback never answers the class that counts."""
    positive = choice.section.get("positive")
    last_answer = default if safe_class is None else safe_class
    if positive is not None and last_answer != positive:
        yield (
            f"Where no fallback rule applies, the fallback answers {as_text(last_answer)} and lets every "
            f"{as_text(positive)} pass. If that is not the safe side, name another with `safe_class` in [fallback]."
        )


def class_shares(model: Model, scores: Sequence[Score], labels: Sequence[Answer | None] | None) -> dict[Answer, float]:
    """The share of each class in the labels or, without labels, in the model's probabilities; empty if unknown."""
    if labels is not None:
        known_labels = [label for label in labels if label is not None]
        return {name: known_labels.count(name) / max(len(known_labels), 1) for name in model.classes}
    rows = [list(score.probabilities.values()) for score in scores if score.probabilities is not None]
    return dict(zip(model.classes, np.mean(rows, axis=0).tolist(), strict=True)) if rows else {}


def _owners_choice(model: Model, section: dict[str, Any], balance: Mapping[Answer, float]) -> MetricChoice:
    metrics = [Metric(name) for name in (section["metric"], *section.get("also", ()))]
    is_regressor = model.kind is ModelKind.REGRESSOR
    if wrong := [metric for metric in metrics if metric.is_regression is not is_regressor]:
        raise ConfigurationError(
            f"The metric {wrong[0].value} does not measure a {model.kind.value}.", "Name another with --metric."
        )
    needs_positive = section.get("threshold") is not None or any(metric.has_positive_class for metric in metrics)
    if needs_positive:
        section["positive"] = _positive_class(model, section.get("positive"), balance)
    names = {as_text(name) for name in model.classes}
    costs = section.get("costs", {})
    if unknown := [name for name in (*costs, *(key for row in costs.values() for key in row)) if name not in names]:
        raise ConfigurationError(
            f"{unknown[0]!r} is no class of the model: {', '.join(sorted(names))}.", "Correct `costs` in [harm]."
        )
    Harm.model_validate(section)
    return MetricChoice(tuple(metric_definition(metric, section) for metric in dict.fromkeys(metrics)), section)


def _positive_class(model: Model, name: Answer | None, balance: Mapping[Answer, float]) -> Answer:
    """The class that the owner names, which may be written as text; by default the rarer one of two.

    Raises:
        ConfigurationError: it is no class, or there are several and the owner names none.
    """
    if name is not None:
        for each in model.classes:
            if each == name or as_text(each) == str(name):
                return each
        raise ConfigurationError(
            f"{name!r} is no class of the model: {', '.join(map(as_text, model.classes))}.", "Correct --positive."
        )
    if len(model.classes) != 2:
        raise ConfigurationError("The model has several classes.", "Name the class that counts with --positive.")
    return min(balance, key=lambda each: balance[each]) if balance else model.classes[1]


def _rare_class(
    model: Model, scores: Sequence[Score], labels: Sequence[Answer | None] | None, rarest: Answer, share: float
) -> MetricChoice:
    count = round(share * sum(label is not None for label in labels)) if labels is not None else None
    blindness = (
        f"Only {share:.1%} of the sample is {as_text(rarest)}: a model that misses all of it is still "
        f"{1 - share:.1%} accurate, so accuracy cannot see such a failure"
    )
    if len(model.classes) != 2:
        return MetricChoice(warnings=(f"{blindness}. `--metric balanced_accuracy` weighs the classes alike.",))
    if count is not None and count < FEWEST_POSITIVES:
        advice = f"and {count} such rows are too few to measure another metric. Give a larger sample."
        return MetricChoice(warnings=(f"{blindness}, {advice}",))
    recall = _healthy_recall(model, scores, labels, rarest)
    is_ranked = model.has_probabilities or hasattr(model.estimator, "decision_function")
    names = ["auc"] if is_ranked else []
    names += ["recall"] if recall >= LEAST_RECALL or not names else []
    section: dict[str, Any] = {"metric": names[0], "also": names[1:], "positive": rarest}
    titles = " and ".join(Metric(name).phrase for name in names)
    reason = f"{blindness}. The loss is therefore estimated in {titles} of {as_text(rarest)} (`[harm]`)."
    definitions = tuple(metric_definition(Metric(name), section) for name in names)
    return MetricChoice(definitions, section, reason, tuple(_threshold_warnings(rarest, recall)))


def _threshold_warnings(rarest: Answer, recall: float) -> Iterator[str]:
    if recall < LEAST_RECALL:
        yield (
            f"At its threshold the model finds {recall:.0%} of {as_text(rarest)}, so recall says little and is not "
            "estimated. If your system takes a row for positive from a lower probability on, write it as `threshold` "
            "in [harm]."
        )


def _healthy_recall(
    model: Model, scores: Sequence[Score], labels: Sequence[Answer | None] | None, positive: Answer
) -> float:
    """Recall at the model's threshold; without labels, of its own probabilities."""
    usable = [i for i, score in enumerate(scores) if score.error is None and (labels is None or labels[i] is not None)]
    if labels is None:
        shares = np.array([list((scores[i].probabilities or {}).values()) for i in usable])
    else:
        shares = np.array([[float(name == labels[i]) for name in model.classes] for i in usable])
    predictions = np.array([scores[i].prediction for i in usable], dtype=object)
    definition = MetricDefinition(Metric.RECALL, positive)
    return performance(definition, Outcome(predictions), Labels(model.classes, shares, np.empty(0)))
