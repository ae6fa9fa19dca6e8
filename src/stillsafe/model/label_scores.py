"""Answers with their labels by metrics that depend on scores: area under the curve, log loss, metrics at a threshold.

The log has the confidence of the answer. With two classes that is the probability of either, or the rank of the
distance from their boundary. With more the model scores the row again. Counts and rounded sums go to `core`: of an area
the sums of the rows' pseudo-values (E. DeLong, D. DeLong and D. Clarke-Pearson, "Comparing the areas under two or more
correlated receiver operating characteristic curves", Biometrics 44, 1988), of a log loss those of the rows' losses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import NamedTuple

import numpy as np

from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.label_tally import DIGITS
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.score_table import ScoreOrigin, ScoreTable
from stillsafe.core.fallback import Answer
from stillsafe.model.metrics import SMALLEST_PROBABILITY, Labels, Numbers, Outcome, row_errors

SCORE_DIGITS = 9
"""Decimals of probabilities that the model computes again: machines may differ in the last bit."""


class RowAnswer(NamedTuple):
    """An answer to a row.

    Attributes:
        text: the answer.
        confidence: of the model, or None.
        probabilities: class as text -> probability, where the model has scored the row again.
        is_hard: whether it has no score, as the fallback's: its class is certain.
    """

    text: str
    confidence: float | None = None
    probabilities: Mapping[str, float] | None = None
    is_hard: bool = False


class RowScore(NamedTuple):
    """What metrics of scores need of an answer: score and label probability are in [0, 1].

    Attributes:
        score: of the positive class.
        label_probability: the probability that the answer gave to the label.
        answer: by the owner's threshold, where there is one.
        group: of the healthy `ScoreTable`.
        is_positive: whether the label is the positive class.
    """

    score: float
    label_probability: float
    answer: str
    group: int
    is_positive: bool


@dataclass(frozen=True, slots=True)
class LabelJudge:
    """Turns labelled answers into the numbers that metrics of scores need.

    Attributes:
        table: the healthy rows by score; its cells are not needed.
        threshold: the smallest score of a positive answer; None: as the model answers.
    """

    table: ScoreTable
    threshold: float | None = None

    @property
    def needs_features(self) -> bool:
        """Whether the model has to score every row again."""
        return self.table.origin is ScoreOrigin.MODEL

    def row_score(self, label: str, answer: RowAnswer) -> RowScore | None:
        """The numbers of an answer; None where its score is not known."""
        table = self.table
        if answer.is_hard:
            score = float(answer.text == table.positive)
            is_positive = label == table.positive
            return RowScore(
                score, float(answer.text == label), answer.text, self.group(answer.text, score), is_positive
            )
        score_or_none = self.score(answer)
        if score_or_none is None or answer.text not in table.classes:
            return None
        score, probabilities = score_or_none, answer.probabilities
        is_positive = label == table.positive
        label_probability = score if is_positive else 1 - score
        if self.needs_features and probabilities is not None:
            label_probability = round(probabilities.get(label, 0.0), SCORE_DIGITS)
        return RowScore(
            score, label_probability, self._judged_answer(answer, score), self.group(answer.text, score), is_positive
        )

    def score(self, answer: RowAnswer) -> float | None:
        """The score of the positive class; None where it is not known."""
        if answer.probabilities is not None and self.table.origin is not ScoreOrigin.RANK:
            score = answer.probabilities.get(self.table.positive)
            return None if score is None else round(score, SCORE_DIGITS)
        if answer.confidence is None or self.needs_features:
            return None
        own = (1 + answer.confidence) / 2 if self.table.origin is ScoreOrigin.RANK else answer.confidence
        return own if answer.text == self.table.positive else 1 - own

    def range_of(self, score: float) -> int:
        """The range of a score."""
        return int(np.searchsorted(self.table.edges, score, side="right"))

    def group(self, answer: str, score: float) -> int:
        """The group of an answer, by which a run counts labels."""
        if not self.needs_features:
            return self.range_of(score)
        return self.table.classes.index(answer) if answer in self.table.classes else 0

    def _judged_answer(self, answer: RowAnswer, score: float) -> str:
        if self.threshold is None:
            return answer.text
        positive = self.table.positive
        if score >= self.threshold:
            return positive
        others = [name for name in self.table.classes if name != positive]
        probabilities = answer.probabilities
        if len(others) == 1 or probabilities is None:
            return others[0] if answer.text == positive else answer.text
        return max(others, key=lambda name: probabilities.get(name, 0.0))


def label_judge(impacts: Sequence[PerformanceImpact]) -> LabelJudge | None:
    """The judge of the metrics that labels judge; None where answers alone are enough."""
    tables = [each.score_table for each in impacts if each.needs_scores and each.score_table is not None]
    thresholds = [each.definition.threshold for each in impacts if each.definition and each.score_table]
    threshold = next((each for each in thresholds if each is not None), None)
    return LabelJudge(tables[0], threshold) if tables else None


def probability_metric(impacts: Sequence[PerformanceImpact]) -> Metric | None:
    """The metric of probabilities among those that labels judge, or None."""
    return next((each.metric for each in impacts if each.metric.uses_probabilities), None)


def score_errors(metric: Metric, rows: Sequence[RowScore]) -> Numbers:
    """(n,) share of each row in the error of a metric of probabilities, whose mean is the error."""
    if metric is Metric.LOG_LOSS:
        probabilities = np.array([row.label_probability for row in rows])
        return np.asarray(-np.log(np.clip(probabilities, SMALLEST_PROBABILITY, 1.0)))
    positives, scores = np.array([float(row.is_positive) for row in rows]), np.array([row.score for row in rows])
    classes: tuple[Answer, ...] = (0, 1)
    labels = Labels(classes, np.column_stack([1 - positives, positives]), np.empty(0))
    outcome = Outcome(scores, np.column_stack([1 - scores, scores]))
    return row_errors(MetricDefinition(metric, positive=1), outcome, labels)


def score_sums(metric: Metric, rows: Sequence[RowScore]) -> tuple[float, float, int | None]:
    """The sum of the rows' errors and of their squares, rounded, and of an area the rows of the rarer of two classes.

    The order of the rows makes no difference.
    """
    if not rows:
        return 0.0, 0.0, 0 if metric is Metric.AUC else None
    errors = score_errors(metric, sorted(rows)).tolist()
    positives = sum(row.is_positive for row in rows)
    least = min(positives, len(rows) - positives) if metric is Metric.AUC else None
    return round(fsum(errors), DIGITS), round(fsum(error * error for error in errors), DIGITS), least
