"""Scores of a backtest by a metric that is no mean over rows: they are computed over all rows of some runs at once.

A run of a rare class has too few positive rows for a score of its own. Its score is then over the latest runs up to it
that have enough of them together.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.fallback import Answer
from stillsafe.core.score import Score
from stillsafe.model.metrics import Outcome, labels_of, performance

POSITIVE_ROWS = 20
"""Rows of the rarest class, or of the positive one, behind the score of a run."""
MOST_RUNS = 50
"""Runs behind the score of a run."""
MODEL_SCORE, FALLBACK_SCORE, SERVED_SCORE = "model_score", "fallback_score", "served_score"

Rows = NDArray[np.intp]


def is_row_mean(metric: Metric) -> bool:
    """Whether the metric is the mean of a score that each row has by itself, without probabilities or costs."""
    return metric in (Metric.ACCURACY, Metric.MEAN_ABSOLUTE_ERROR)


class RunScores:
    """The answers of model and fallback to the rows of a history, and their scores."""

    def __init__(
        self,
        definition: MetricDefinition,
        classes: tuple[Answer, ...],
        scores: Sequence[Score],
        labels: Sequence[Answer | None],
    ) -> None:
        self._definition, self._classes = definition, classes
        self._scores, self._labels = scores, labels
        self._fallback_answers: list[Answer | None] = [None] * len(labels)
        self._is_answered = np.zeros(len(labels), np.bool_)
        self._by_fallback = np.zeros(len(labels), np.bool_)
        self._runs: list[slice] = []

    def add(self, rows: slice, answers: Sequence[Answer | None], *, by_fallback: bool) -> tuple[float | None, ...]:
        """Add the next run's rows, with the fallback's answers to them; return the scores of model and fallback."""
        self._runs.append(rows)
        self._fallback_answers[rows] = answers
        self._is_answered[rows] = True
        self._by_fallback[rows] = by_fallback
        gathered_rows = self._gathered_rows()
        return self._score(gathered_rows, MODEL_SCORE), self._score(gathered_rows, FALLBACK_SCORE)

    def total(self, run_numbers: Sequence[int], name: str) -> float | None:
        """One score over all rows of some runs, counted from 1; None without labelled rows of each class."""
        runs = [self._runs[number - 1] for number in run_numbers]
        return self._score(np.concatenate([np.arange(rows.start, rows.stop) for rows in runs]) if runs else _NONE, name)

    def _gathered_rows(self) -> Rows:
        """The rows of the latest runs that have enough positive rows together; of the last run alone otherwise."""
        last = self._runs[-1]
        if not self._classes or self._definition.metric in (Metric.LOG_LOSS, Metric.EXPECTED_COST):
            return np.arange(last.start, last.stop)
        for rows in reversed(self._runs[-MOST_RUNS:]):
            labels = self._labels[rows.start : last.stop]
            positive = self._definition.positive
            classes = self._classes if positive is None else [positive]
            if min(labels.count(name) for name in classes) >= POSITIVE_ROWS:
                return np.arange(rows.start, last.stop)
        return np.arange(self._runs[-MOST_RUNS:][0].start, last.stop)

    def _score(self, rows: Rows, name: str) -> float | None:
        usable = [i for i in rows.tolist() if self._labels[i] is not None and self._is_answered[i]]
        # Where the model fails on a row the service answers with the fallback, so the model gets the fallback's answer.
        is_fallback = {
            i: name == FALLBACK_SCORE
            or (name == SERVED_SCORE and self._by_fallback[i])
            or self._scores[i].error is not None
            for i in usable
        }
        answered_rows = [i for i in usable if not is_fallback[i] or self._fallback_answers[i] is not None]
        definition = self._definition
        if usable and not answered_rows and definition.metric is Metric.EXPECTED_COST:
            return definition.no_answer_cost
        if not answered_rows or not self._is_defined([self._labels[i] for i in answered_rows]):
            return None
        labels = labels_of([label for i in answered_rows if (label := self._labels[i]) is not None], self._classes)
        answers = [self._fallback_answers[i] if is_fallback[i] else self._scores[i].prediction for i in answered_rows]
        rows_scores = (
            [self._row_scores(i, is_fallback=is_fallback[i]) for i in answered_rows] if self._classes else None
        )
        outcome = Outcome(np.array(answers, dtype=object), None if rows_scores is None else np.array(rows_scores))
        score = performance(definition, outcome, labels)
        if definition.metric is not Metric.EXPECTED_COST:
            return score
        silent_count, fallback_count = len(usable) - len(answered_rows), sum(is_fallback[i] for i in answered_rows)
        costs = score * len(answered_rows) + fallback_count * definition.fallback_cost
        return float(costs + silent_count * definition.no_answer_cost) / len(usable)

    def _is_defined(self, labels: Sequence[Answer | None]) -> bool:
        """Whether the metric is defined on rows with these labels: one that is about a class needs rows of it."""
        positive = self._definition.positive
        if not self._definition.metric.has_positive_class or positive is None:
            return True
        count = labels.count(positive)
        return count > 0 and (count < len(labels) or self._definition.metric is not Metric.AUC)

    def _row_scores(self, row: int, *, is_fallback: bool) -> list[float]:
        """The probability of each class; of an answer without probabilities, by its confidence."""
        score = self._scores[row]
        answer = self._fallback_answers[row] if is_fallback else score.prediction
        if not is_fallback and score.probabilities is not None:
            return list(score.probabilities.values())
        confidence = 1.0 if is_fallback or score.confidence is None else score.confidence
        # Half of the range above and half below 1 / 2, so that the order of two classes is that of the margin.
        top, count = (1 + confidence) / 2, len(self._classes)
        return [top if name == answer else (1 - top) / max(count - 1, 1) for name in self._classes]


_NONE: Rows = np.empty(0, np.intp)
ScoreOfRuns = Callable[[Sequence[int], str], float | None]
