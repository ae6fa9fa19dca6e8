"""Log loss and areas under curves with three classes and more, as scikit-learn defines them: one versus rest, macro.

The log has the probability of the answer alone, so the model scores the newest labelled rows of each period again. The
95% intervals: of a log loss and of an area under the ROC curve from the rows' shares (E. DeLong, D. DeLong and D.
Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic curves", Biometrics
44, 1988), whose mean over the classes is the macro average; of areas under the curve of precision and recall the
binomial variance of each class (K. Boyd, K. Eng and C. Page, "Area under the precision-recall curve", ECML PKDD 2013).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sqlalchemy import Connection

from stillsafe.core.evidence.metric import Metric
from stillsafe.core.score import as_text
from stillsafe.model.label_performance import Figures
from stillsafe.model.label_scores import RowScore, score_errors
from stillsafe.model.metrics import SMALLEST_PROBABILITY, Numbers
from stillsafe.model.model import Model
from stillsafe.model.performance_report import Period
from stillsafe.model.probability_performance import Estimate, Z, mean_estimate
from stillsafe.store.read.label_rows import labelled_features

MOST_ROWS_OF_PERIOD, MOST_ROWS = 2_000, 20_000
"""Rows that are scored again, of one period and of a report."""


def with_areas(connection: Connection, periods: Sequence[Period], model: Model) -> list[Period]:
    """The periods with log loss and areas of the model's answers, where several classes have probabilities.

    Periods of other versions, and services whose log lacks features, stay as they are.
    """
    can_score = not model.is_external and model.has_probabilities and model.features.scorable_from_log
    is_known = can_score and len(model.classes) > 2
    rest, results = MOST_ROWS if is_known else 0, []
    for period in periods:
        figures = period.performance.model
        if figures is None or period.model_version != model.version or rest <= 0:
            results.append(period)
            continue
        span = period.start, period.end
        rows = labelled_features(connection, model.version, span, min(rest, MOST_ROWS_OF_PERIOD))
        rest -= len(rows)
        metrics = area_metrics(*_probabilities(model, rows))
        performance = replace(period.performance, model=_with(figures, metrics))
        if performance.fallback is None and performance.overall is not None:
            performance = replace(performance, overall=_with(performance.overall, metrics))
        results.append(replace(period, performance=performance))
    return results


def area_metrics(labels: Sequence[int], probabilities: Numbers) -> dict[str, Estimate]:
    """Log loss, and where every class has a label and a row without it the areas; empty without rows.

    Args:
        labels: (n,) positions of the labels among the classes.
        probabilities: (n, classes), whose rows add up to 1.
    """
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    if not len(labels):
        return {}
    truths = np.eye(probabilities.shape[1])[list(labels)]
    chances = np.clip((truths * probabilities).sum(axis=1), SMALLEST_PROBABILITY, 1.0)
    names = list(range(probabilities.shape[1]))
    inner = np.clip(probabilities, SMALLEST_PROBABILITY, 1.0)
    loss = float(log_loss(labels, inner / inner.sum(axis=1, keepdims=True), labels=names))
    metrics = {"log_loss": mean_estimate(-np.log(chances), loss)}
    counts = truths.sum(axis=0)
    if counts.min() == 0:
        return metrics
    area = float(roc_auc_score(labels, probabilities, multi_class="ovr", average="macro", labels=names))
    values = np.mean([_ranking_shares(truths[:, each], probabilities[:, each]) for each in names], axis=0)
    metrics["roc_auc"] = _within(area, float(values.std(ddof=1)) / math.sqrt(len(values)))
    parts = np.array([average_precision_score(truths[:, each], probabilities[:, each]) for each in names])
    variance = float((parts * (1 - parts) / counts).sum()) / len(parts) ** 2
    precision = float(average_precision_score(truths, probabilities, average="macro"))
    return metrics | {"pr_auc": _within(precision, math.sqrt(variance))}


def _ranking_shares(truths: Numbers, scores: Numbers) -> Numbers:
    """(n,) share of each row in the area of one class."""
    pairs = zip(scores.tolist(), truths.tolist(), strict=True)
    return 1 - score_errors(Metric.AUC, [RowScore(score, 0.0, "", 0, bool(truth)) for score, truth in pairs])


def _within(area: float, error: float) -> Estimate:
    return Estimate(area, max(0.0, area - Z * error), min(1.0, area + Z * error))


def _with(figures: Figures, metrics: dict[str, Estimate]) -> Figures:
    return replace(figures, metrics={**figures.metrics, **metrics})


def _probabilities(model: Model, rows: Sequence[tuple[str, object]]) -> tuple[list[int], Numbers]:
    """Of the rows that the model takes the positions of the labels among its classes, and its probabilities."""
    names = [as_text(each) for each in model.classes]
    pairs = [(label, model.features.validate(values)) for label, values in rows if isinstance(values, dict)]
    clean = [(label, values) for label, values in pairs if isinstance(values, dict) and label in names]
    scores = model.score([values for _, values in clean]) if clean else []
    scored_pairs = [
        (label, each.probabilities) for (label, _), each in zip(clean, scores, strict=True) if each.probabilities
    ]
    numbers = [[probabilities[name] for name in names] for _, probabilities in scored_pairs]
    return [names.index(label) for label, _ in scored_pairs], np.array(numbers).reshape(len(numbers), len(names))
