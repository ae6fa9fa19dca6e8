"""Realised performance: how good answers were, by the labels that have come.

scikit-learn computes the metrics. Intervals hold 95%: of a share that of E. B. Wilson ("Probable inference, the law of
succession, and statistical inference", Journal of the American Statistical Association 22, 1927), of a mean the normal
approximation. Labels that are missing may be missing for a reason, so the coverage of each answer stands beside them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.fallback import Answer
from stillsafe.core.score import as_text
from stillsafe.label_summary import share_interval
from stillsafe.model.probability_performance import CalibrationBin, Estimate, Z, mean_estimate, probability_metrics
from stillsafe.store.read.labels import OutcomeGroup


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Precision, recall and F1 of one class, and the labels that are it.

    Attributes:
        intervals: each of the three -> the ends of its interval, where rows give one.
    """

    precision: float
    recall: float
    f1: float
    label_count: int
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """Realised performance of some answers.

    Attributes:
        label_count: labelled answers.
        metrics: metric -> figure: of a classifier `accuracy`, `balanced_accuracy` and, with costs, `expected_cost`;
            with two classes and probabilities also `log_loss`, `brier_score`, `roc_auc` and `pr_auc`; of a regressor
            `mean_absolute_error`, `root_mean_squared_error`, `bias` and `mape`.
        classes: of a classifier, class -> its figures.
        calibration: answers by their probability, of the positive class of two, or of the answer; without
            probabilities empty.
    """

    label_count: int
    metrics: Mapping[str, Estimate]
    classes: Mapping[str, ClassFigures]
    calibration: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True, slots=True)
class RealisedPerformance:
    """Performance of the answers of a time, by their labels.

    Attributes:
        prediction_count: answers that are evidence.
        label_count: those with a label.
        abstention_count: labelled requests that the fallback did not answer; no metric counts them.
        coverage: share of the answers that have a label, or None without answers.
        coverage_of_answers: the same of each answer of a classifier, since some answers get their label more often.
        delay_seconds: mean time from request to label, or None without labels.
        overall, model, fallback: the figures of all answers, of the model's and of the fallback's; None without labels.
    """

    prediction_count: int
    label_count: int
    abstention_count: int
    coverage: float | None
    coverage_of_answers: Mapping[str, float]
    delay_seconds: float | None
    overall: Figures | None
    model: Figures | None
    fallback: Figures | None


def realised_performance(
    groups: Sequence[OutcomeGroup],
    classes: Sequence[Answer],
    definitions: Sequence[MetricDefinition] = (),
    positive: str | None = None,
) -> RealisedPerformance:
    """The realised performance of the predictions of a time.

    Args:
        groups: the predictions, counted.
        classes: the model's classes; empty for a regressor.
        definitions: the owner's metrics, of which the expected cost is computed.
        positive: the class of two whose probabilities are measured; None: the rarer of the labels.
    """
    if len(classes) == 2:
        positive = positive or positive_class(groups, classes)
    with_label = [group for group in groups if group.label is not None]
    answers = [group for group in with_label if group.prediction is not None]
    total, label_count = _count(groups), _count(with_label)
    costs = next((each for each in definitions if each.metric is Metric.EXPECTED_COST), None)

    def figures(rows: Sequence[OutcomeGroup]) -> Figures | None:
        if not rows:
            return None
        return _class_figures(rows, classes, costs, positive) if classes else _number_figures(rows)

    return RealisedPerformance(
        prediction_count=total,
        label_count=label_count,
        abstention_count=label_count - _count(answers),
        coverage=label_count / total if total else None,
        coverage_of_answers=_coverage_of_answers(groups) if classes else {},
        delay_seconds=_mean_delay(with_label),
        overall=figures(answers),
        model=figures([group for group in answers if not group.fallback_used]),
        fallback=figures([group for group in answers if group.fallback_used]),
    )


def positive_class(groups: Sequence[OutcomeGroup], classes: Sequence[Answer]) -> str:
    """The rarer label of two classes; the second one where they are equally rare."""
    counts = {as_text(each): 0 for each in classes}
    for group in groups:
        if group.label in counts:
            counts[group.label] += group.count
    first, second = counts
    return first if counts[first] < counts[second] else second


def _count(groups: Sequence[OutcomeGroup]) -> int:
    return sum(group.count for group in groups)


def _mean_delay(groups: Sequence[OutcomeGroup]) -> float | None:
    count = _count(groups)
    return sum(group.count * (group.delay_seconds or 0.0) for group in groups) / count if count else None


def _coverage_of_answers(groups: Sequence[OutcomeGroup]) -> dict[str, float]:
    names = sorted({group.prediction for group in groups if group.prediction is not None})
    rows = {name: [group for group in groups if group.prediction == name] for name in names}
    return {name: _count([g for g in rows[name] if g.label is not None]) / _count(rows[name]) for name in names}


def _class_figures(
    rows: Sequence[OutcomeGroup], classes: Sequence[Answer], costs: MetricDefinition | None, positive: str | None
) -> Figures:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support, recall_score

    labels, answers = [str(row.label) for row in rows], [str(row.prediction) for row in rows]
    weights, count = [row.count for row in rows], _count(rows)
    names = [*dict.fromkeys([*map(as_text, classes), *labels, *answers])]
    present = sorted(set(labels))
    accuracy = float(accuracy_score(labels, answers, sample_weight=weights))
    recall = recall_score(labels, answers, labels=present, average="macro", sample_weight=weights, zero_division=0)
    metrics = {
        "accuracy": _share_estimate(accuracy, count),
        "balanced_accuracy": _balanced_estimate(float(recall), labels, answers, weights),
    }
    if costs is not None:
        matrix = {(label, answer): cost for label, answer, cost in costs.costs}
        row_costs = [
            matrix.get((label, answer), 0.0) + (costs.fallback_cost if row.fallback_used else 0.0)
            for label, answer, row in zip(labels, answers, rows, strict=True)
        ]
        metrics["expected_cost"] = mean_estimate(np.repeat(row_costs, weights))
    columns = precision_recall_fscore_support(labels, answers, labels=names, sample_weight=weights, zero_division=0)
    by_class = {
        name: ClassFigures(
            float(precision),
            float(recall),
            float(f1),
            round(float(support)),
            _class_intervals(name, labels, answers, weights),
        )
        for name, precision, recall, f1, support in zip(names, *columns, strict=True)
    }
    further_metrics, calibration = probability_metrics(rows, positive)
    return Figures(count, metrics | further_metrics, by_class, calibration)


def _balanced_estimate(value: float, labels: Sequence[str], answers: Sequence[str], weights: Sequence[int]) -> Estimate:
    """The mean of the classes' recalls; each is a share of its own labels, so their variances add up."""
    sizes, hits = Counter[str](), Counter[str]()
    for label, answer, weight in zip(labels, answers, weights, strict=True):
        sizes[label] += weight
        hits[label] += weight * (label == answer)
    variance = sum(hits[name] * (size - hits[name]) / size**3 for name, size in sizes.items()) / len(sizes) ** 2
    reach = Z * math.sqrt(variance)
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


def _class_intervals(
    name: str, labels: Sequence[str], answers: Sequence[str], weights: Sequence[int]
) -> dict[str, tuple[float, float]]:
    """Wilson's intervals of precision, recall and F1.

    F1 is 2j / (1 + j), where j is the share of hits among all rows whose label or answer is the class. It grows with j,
    so the ends of the interval of j give those of F1.
    """
    rows = list(zip(labels, answers, weights, strict=True))
    hits = sum(weight for label, answer, weight in rows if label == answer == name)
    wholes = {
        "precision": sum(weight for _, answer, weight in rows if answer == name),
        "recall": sum(weight for label, _, weight in rows if label == name),
        "f1": sum(weight for label, answer, weight in rows if name in (label, answer)),
    }
    shares = {key: _share_estimate(hits / whole, whole) for key, whole in wholes.items() if whole}
    ends = {key: (each.low or 0.0, 0.0 if each.high is None else each.high) for key, each in shares.items()}
    return {key: (2 * a / (1 + a), 2 * b / (1 + b)) if key == "f1" else (a, b) for key, (a, b) in ends.items()}


def _number_figures(rows: Sequence[OutcomeGroup]) -> Figures:
    from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, mean_squared_error

    weights = [row.count for row in rows]
    labels = np.repeat([float(row.label or "nan") for row in rows], weights)
    answers = np.repeat([float(row.prediction or "nan") for row in rows], weights)
    distances = answers - labels
    metrics = {
        "mean_absolute_error": mean_estimate(np.abs(distances), mean_absolute_error(labels, answers)),
        "root_mean_squared_error": _root(mean_estimate(distances**2, mean_squared_error(labels, answers))),
        "bias": mean_estimate(distances),
    }
    is_counted = labels != 0
    if is_counted.any():
        error = mean_absolute_percentage_error(labels[is_counted], answers[is_counted])
        shares = np.abs(distances[is_counted] / labels[is_counted])
        metrics["mape"] = mean_estimate(shares, float(error))
    return Figures(len(labels), metrics, {})


def _root(square: Estimate) -> Estimate:
    ends = [None if end is None else math.sqrt(max(0.0, end)) for end in (square.low, square.high)]
    return Estimate(math.sqrt(square.value), *ends)


def _share_estimate(share: float, count: int) -> Estimate:
    """A share with its Wilson interval."""
    return Estimate(share, *share_interval(share, count))
