"""The healthy rows of the sample by label and score, for the metrics of scores that labels judge later."""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.score_table import ScoreOrigin, ScoreTable
from stillsafe.core.evidence.shared_numbers import shared_quantiles
from stillsafe.core.score import Score, as_text
from stillsafe.init.scorer import needs_scores
from stillsafe.model.confidence import ConfidenceMethod
from stillsafe.model.label_scores import LabelJudge, RowAnswer
from stillsafe.model.metrics import Numbers
from stillsafe.model.model import Model

RANGES, POSITIVE_RANGES = 16, 8
"""Ranges of scores with equally many rows, and with equally many rows of the positive class."""
EDGE_DIGITS, SUM_DIGITS = 6, 9


@dataclass(frozen=True, slots=True)
class HealthyAnswers:
    """The sample's rows with a label, with the model's answers as the log would have them.

    Attributes:
        answers: (n,) the answers.
        labels: (n,) the labels as text.
        empty_table: the strata without rows, the same for all metrics of a study.
    """

    answers: Sequence[RowAnswer]
    labels: Sequence[str]
    empty_table: ScoreTable

    def table(self, definition: MetricDefinition, errors: Numbers) -> ScoreTable | None:
        """The table of a metric; None where it needs no scores, or where some are not known.

        Args:
            definition: the metric.
            errors: (n,) share of each row in its error.
        """
        table, is_loss = self.empty_table, definition.metric is Metric.LOG_LOSS
        if not needs_scores(definition) or (is_loss and table.origin is ScoreOrigin.RANK):
            return None
        judge = LabelJudge(table, definition.threshold)
        cells: Counter[tuple[str, str, int]] = Counter()
        sums = np.zeros((2, table.stratum_count))
        for label, answer, error in zip(self.labels, self.answers, errors.tolist(), strict=True):
            row = judge.row_score(label, answer)
            if row is None:
                return None
            stratum = judge.range_of(row.score) + (row.group * table.range_count if judge.needs_features else 0)
            cells[label, row.answer, stratum] += 1
            sums[:, stratum] += error, error * error
        error_sums, square_sums = (tuple(part) for part in np.round(sums, SUM_DIGITS).tolist())
        return replace(
            table,
            cells=tuple((*cell, count) for cell, count in sorted(cells.items())),
            error_sums=error_sums if is_loss else (),
            error_square_sums=square_sums if is_loss else (),
        )


def healthy_answers(
    model: Model,
    scores: Sequence[Score],
    labels: Sequence[object],
    definitions: Sequence[MetricDefinition],
    probabilities: Numbers | None,
    min_count: int = 1,
) -> HealthyAnswers | None:
    """The answers of the labelled rows; None where no metric needs scores, or where no later row has them.

    Args:
        model: the model.
        scores: (n,) its scores on the rows, or the answers and confidences of the log.
        labels: (n,) of the rows.
        definitions: the metrics, with their positive class.
        probabilities: (n, classes) of the rows, or None.
        min_count: rows that an edge and a range of scores stand for.
    """
    origin = _origin(model)
    if origin is ScoreOrigin.MODEL and not model.features.scorable_from_log:
        return None
    if origin is None or not any(map(needs_scores, definitions)):
        return None
    classes = tuple(map(as_text, model.classes))
    positive = next((as_text(each.positive) for each in definitions if each.positive is not None), classes[-1])
    answers = [RowAnswer(score.text or "", score.confidence) for score in scores]
    if origin is ScoreOrigin.MODEL:
        if probabilities is None:
            return None
        rows = [dict(zip(classes, row, strict=True)) for row in probabilities.tolist()]
        answers = [answer._replace(probabilities=row) for answer, row in zip(answers, rows, strict=True)]
    texts = [as_text(label) for label in labels]  # type: ignore[arg-type] # a class of the model
    empty_table = ScoreTable(origin, positive, classes, ())
    positive_scores = [LabelJudge(empty_table).score(answer) for answer in answers]
    numbers = np.array([np.nan if each is None else each for each in positive_scores])
    if not np.isfinite(numbers).all():
        return None
    edges = _edges(numbers, np.array(texts) == positive, definitions, min_count)
    return HealthyAnswers(answers, texts, replace(empty_table, edges=edges))


def _origin(model: Model) -> ScoreOrigin | None:
    is_binary = len(model.classes) == 2
    if model.has_probabilities:
        return (ScoreOrigin.PROBABILITY if model.scale.of_answer else None) if is_binary else ScoreOrigin.MODEL
    is_rank = is_binary and model.scale.method is ConfidenceMethod.MARGIN_RANK
    return ScoreOrigin.RANK if is_rank else None


def _edges(
    scores: Numbers, positive: Numbers, definitions: Sequence[MetricDefinition], min_count: int
) -> tuple[float, ...]:
    """Quantiles of all scores and of those of the positive class, and the owner's thresholds."""
    parts = [_quantiles(scores, RANGES, min_count)]
    if positive.any():
        parts.append(_quantiles(scores[positive.astype(bool)], POSITIVE_RANGES, min_count))
    thresholds = {each.threshold for each in definitions if each.threshold is not None}
    edges = sorted({*np.round(np.concatenate(parts), EDGE_DIGITS).tolist()} | thresholds)
    return _wide_edges(edges, scores, thresholds, min_count)


def _quantiles(scores: Numbers, ranges: int, min_count: int) -> Numbers:
    """The edges between ranges with equally many scores, each the number of enough rows."""
    if min_count <= 1:
        return np.quantile(scores, np.linspace(0, 1, ranges + 1)[1:-1])
    return shared_quantiles(np.sort(scores), ranges + 1, min_count)[1:-1]


def _wide_edges(edges: Sequence[float], scores: Numbers, thresholds: Set[float], min_count: int) -> tuple[float, ...]:
    """The edges between which enough scores lie. The owner's thresholds stay whatever lies between them."""
    ascending, result = np.sort(scores), list[float]()
    for edge in edges:
        low = np.searchsorted(ascending, result[-1]) if result else 0
        if edge in thresholds or np.searchsorted(ascending, edge) - low >= min_count:
            result.append(edge)
    while result and result[-1] not in thresholds and len(scores) - np.searchsorted(ascending, result[-1]) < min_count:
        result.pop()
    return tuple(result)
