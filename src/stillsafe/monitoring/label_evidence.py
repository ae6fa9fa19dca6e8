"""Counts the rows whose labels have come since the last labelled run."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import fsum

import numpy as np
from sqlalchemy import Connection

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.label_tally import DIGITS, AnswerTally, LabelTally
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.realised_loss import judged_impact
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Schema
from stillsafe.monitoring.columns import ShadowScorer
from stillsafe.store.read.label_rows import LabelRow, LabelSelection, label_rows, prediction_count
from stillsafe.store.row_ranges import NO_IDS, RowRanges, ranges_of

NumberError = Callable[[float, float], float | None]
"""Error of an answer by its label; None where the metric does not count the row."""


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Where the labels of a run and their rows come from.

    Attributes:
        selection: the labels.
        model_version: whose rows count.
        end: the run's time; rows from it on do not count.
        oldest: older rows are no evidence.
        rows_from: nor are rows before it, where labels have made the state DEGRADED or an operator has released it.
        newest, gaps: the predictions that the run saw, by their row ids.
    """

    selection: LabelSelection
    model_version: str
    end: datetime
    oldest: datetime
    rows_from: datetime | None
    newest: int
    gaps: RowRanges


def read_labels(
    connection: Connection,
    source: LabelSource,
    baseline: Baseline | None,
    schema: Schema,
    score: ShadowScorer | None,
    min_labels: int,
) -> tuple[LabelTally | None, RowRanges]:
    """The tally of a run's labels, None where none has come, and the ids of those with an answer of the model.

    Args:
        connection: reads one snapshot.
        source: the labels.
        baseline: of the run; its study names the metric of a regressor.
        schema: of the features in the log.
        score: scores the rows that the fallback answered, or None where the log lacks features.
        min_labels: with fewer labels the rows wait for the next run.
    """
    oldest, follows_labels = source.oldest, source.rows_from is not None
    start_of_rows = oldest if source.rows_from is None else max(oldest, source.rows_from)
    counter = _Counter(start_of_rows, _number_error(baseline), follows_labels)
    for rows in label_rows(connection, source.selection, source.model_version, source.end):
        counter.add(rows, dict(_shadow_answers(rows, counter.start, schema, score)))
    start, end = counter.oldest_at, counter.newest_at
    if start is None and not counter.old_count:
        return None, RowRanges()
    tallies = [each.tally() for each in (counter.model, counter.paired_model, counter.fallback)]
    if baseline is None or judged_impact(baseline) is None:
        # Nothing judges them, and the pairs of a regressor are rows instead of counts.
        tallies = [AnswerTally(tallies[0].count), AnswerTally(), AnswerTally()]
    elif follows_labels and tallies[0].count < min_labels:
        # They are read again by the next run, and the price of a bypass would count them each time.
        tallies[1:] = [AnswerTally(), AnswerTally()]
    span = None if start is None or end is None else (start, end)
    tally = LabelTally(
        start,
        end,
        0 if span is None else prediction_count(connection, source.model_version, span, source.newest, source.gaps),
        source.rows_from,
        counter.old_count,
        counter.unknown_count,
        counter.scored_count,
        *tallies,
    )
    return tally, ranges_of(np.array(counter.ids, dtype=np.int64), NO_IDS)


def is_labelled(policy: Policy, tally: LabelTally | None) -> bool:
    """Whether a run has enough new labels to be evidence; otherwise they wait for the next run."""
    return tally is not None and tally.model.count >= policy.min_labels


@dataclass(slots=True)
class _Answers:
    """Answers to labelled rows, counted."""

    error: NumberError | None
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: list[float] = field(default_factory=list)

    def add(self, label: str, answer: str) -> None:
        """Count one row."""
        if self.error is None:
            self.outcomes[label, answer] += 1
            return
        error = self.error(_number(label), _number(answer))
        if error is not None and np.isfinite(error):
            self.errors.append(error)

    def tally(self) -> AnswerTally:
        """The counts and sums, which do not depend on the order of the rows."""
        if self.error is None:
            outcomes = tuple((*cell, count) for cell, count in sorted(self.outcomes.items()))
            return AnswerTally(self.outcomes.total(), outcomes)
        squares = fsum(error * error for error in self.errors)
        return AnswerTally(len(self.errors), (), round(fsum(self.errors), DIGITS), round(squares, DIGITS))


@dataclass(slots=True)
class _Counter:
    """The rows of a run's labels, counted."""

    start: datetime
    error: NumberError | None
    follows_labels: bool
    ids: list[int] = field(default_factory=list)
    oldest_at: datetime | None = None
    newest_at: datetime | None = None
    old_count: int = 0
    unknown_count: int = 0
    scored_count: int = 0
    model: _Answers = field(init=False)
    paired_model: _Answers = field(init=False)
    fallback: _Answers = field(init=False)

    def __post_init__(self) -> None:
        """Each kind of answer starts without a row."""
        self.model, self.paired_model, self.fallback = (_Answers(self.error) for _ in range(3))

    def add(self, rows: Sequence[LabelRow], shadow_answers: dict[int, str]) -> None:
        """Count a batch.

        While labels themselves keep the model bypassed, shadow scores are the evidence about it. In a degradation by
        anything else they are those of damaged inputs: a harm that the state has answered already.

        Args:
            rows: the rows.
            shadow_answers: label id -> what the model would have answered, of rows that the fallback answered.
        """
        for row in rows:
            if row.timestamp < self.start:
                self.old_count += 1
                continue
            self.oldest_at = min(self.oldest_at or row.timestamp, row.timestamp)
            self.newest_at = max(self.newest_at or row.timestamp, row.timestamp)
            answer = shadow_answers.get(row.id) if row.fallback_used else row.prediction
            if answer is None:
                self.unknown_count += 1
                continue
            self.scored_count += row.fallback_used
            if self.follows_labels or not row.fallback_used:
                self.ids.append(row.id)
                self.model.add(row.label, answer)
            if row.fallback_used and row.prediction is not None:
                self.paired_model.add(row.label, answer)
                self.fallback.add(row.label, row.prediction)


def _shadow_answers(
    rows: Sequence[LabelRow], start: datetime, schema: Schema, score: ShadowScorer | None
) -> Iterator[tuple[int, str]]:
    """What the model would have answered to the rows that the fallback answered, by label id."""
    if score is None:
        return
    inputs = [(row.id, _clean_row(row, schema)) for row in rows if row.fallback_used and row.timestamp >= start]
    clean = [(label_id, values) for label_id, values in inputs if isinstance(values, dict)]
    if clean:
        for (label_id, _), answer in zip(clean, score([values for _, values in clean]), strict=True):
            if answer.text is not None:
                yield label_id, answer.text


def _clean_row(row: LabelRow, schema: Schema) -> object:
    return schema.validate(row.input_summary) if isinstance(row.input_summary, dict) else None


def _number_error(baseline: Baseline | None) -> NumberError | None:
    """The error of a regressor's answer by the metric that is judged; None of a classifier."""
    impact = None if baseline is None else judged_impact(baseline)
    if impact is None or not impact.metric.is_regression:
        return None
    match impact.metric:
        case Metric.MEAN_SQUARED_ERROR:
            return lambda label, answer: (answer - label) ** 2
        case Metric.MAPE:
            return lambda label, answer: abs(answer - label) / abs(label) if label else None
        case _:
            return lambda label, answer: abs(answer - label)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
