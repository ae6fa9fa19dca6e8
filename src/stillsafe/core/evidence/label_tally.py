"""The answers to rows by the labels that have come: counts and sums, never rows."""

from dataclasses import dataclass
from datetime import datetime

GroupCoverage = tuple[int, int, int]
"""A group of rows, the predictions of the time in it (0 where none is known of any), and those with a new label."""
DIGITS = 9
"""Decimals of sums of errors, so that they are the same on every machine."""


@dataclass(frozen=True, slots=True)
class AnswerTally:
    """Answers to labelled rows.

    Attributes:
        count: the rows.
        outcomes: of a classifier (label, answer, rows), each as text, sorted; empty of a regressor.
        error_sum, error_square_sum: of a regressor, and of a classifier whose metric is one of probabilities, sums of
            the rows' shares in the error, and of their squares.
        least_class_count: of an area under the curve, the rows of the class of two that has fewer; else None.
    """

    count: int = 0
    outcomes: tuple[tuple[str, str, int], ...] = ()
    error_sum: float = 0.0
    error_square_sum: float = 0.0
    least_class_count: int | None = None


@dataclass(frozen=True, slots=True)
class LabelTally:
    """The rows whose labels a run has read for the first time. Each row counts in one run only.

    Attributes:
        start, end: times of the oldest and of the newest of the rows, aware UTC; None where all are too old.
        prediction_count: predictions of this time, labelled or not.
        rows_from: rows before it are no evidence, aware UTC: they are older than a degradation, or than a release.
        old_count: labelled rows before that, or older than the policy's limit.
        unknown_count: rows without an answer of the model: the fallback answered, and they could not be scored.
        scored_count: rows that the fallback answered and that the model scored afterwards.
        model: the model's answers, its shadow scores among them.
        paired_model, fallback: the model's and the fallback's answers to the rows that have both.
        group_coverage: of a metric of scores, per group of the healthy `ScoreTable` the group, the predictions of the
            time in it and those of `model`; without predictions where the log does not have their scores.
        rescored_count: rows that the model scored again, since the log has no score of its class.
    """

    start: datetime | None
    end: datetime | None
    prediction_count: int
    rows_from: datetime | None = None
    old_count: int = 0
    unknown_count: int = 0
    scored_count: int = 0
    model: AnswerTally = AnswerTally()
    paired_model: AnswerTally = AnswerTally()
    fallback: AnswerTally = AnswerTally()
    group_coverage: tuple[GroupCoverage, ...] = ()
    rescored_count: int = 0

    @property
    def coverage(self) -> float:
        """Share of the predictions of the time whose labels were read, in [0, 1]."""
        labels = self.model.count + self.unknown_count
        return min(1.0, labels / self.prediction_count) if self.prediction_count else 0.0


@dataclass(frozen=True, slots=True)
class Truth:
    """Which rows a reading by labels is about.

    Attributes:
        start, end: their times, aware UTC.
        coverage: share of the predictions of this time that have a label, in [0, 1].
        advantage: what the fallback won per row over the model by the labels, in the unit of the reading; below zero
            where the model did better; None where too few labelled rows have the answers of both.
    """

    start: datetime
    end: datetime
    coverage: float
    advantage: float | None = None
