"""Counts the rows whose labels have come since the last labelled run."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import fsum

import numpy as np
from sqlalchemy import Connection

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.label_tally import DIGITS, AnswerTally, GroupCoverage, LabelTally
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.realised_loss import is_enough, judged_impacts
from stillsafe.core.evidence.score_table import ScoreOrigin
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Schema
from stillsafe.model.label_scores import (
    LabelJudge,
    RowAnswer,
    RowScore,
    label_judge,
    probability_metric,
    score_sums,
)
from stillsafe.monitoring.columns import SHADOW_DIGITS, ShadowScorer
from stillsafe.store.read.label_rows import (
    LabelRow,
    LabelSelection,
    LogGroups,
    group_counts,
    label_rows,
    prediction_count,
)
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
    policy: Policy,
) -> tuple[LabelTally | None, RowRanges]:
    """The tally of a run's labels, None where none has come, and the ids of those with an answer of the model.

    Args:
        connection: reads one snapshot.
        source: the labels.
        baseline: of the run; its study names the metric of a regressor.
        schema: of the features in the log.
        score: scores the rows that the fallback answered, or None where the log lacks features.
        policy: with fewer labels than it needs the rows wait for the next run.
    """
    oldest, follows_labels = source.oldest, source.rows_from is not None
    start_of_rows = oldest if source.rows_from is None else max(oldest, source.rows_from)
    impacts = () if baseline is None else judged_impacts(baseline)
    judge = label_judge(impacts)
    rescores = judge is not None and judge.needs_features
    rules = _TallyRules(_number_error(impacts), judge, probability_metric(impacts))
    counter = _Counter(start_of_rows, rules, follows_labels)
    log_part = source.selection, source.model_version, source.end
    for rows in label_rows(connection, *log_part, with_features=rescores):
        scored_rows = [row for row in rows if (row.fallback_used or rescores) and row.timestamp >= counter.start]
        counter.add(rows, dict(_shadow_answers(scored_rows, schema, score)))
    start, end = counter.oldest_at, counter.newest_at
    if start is None and not counter.old_count:
        return None, RowRanges()
    tallies = [each.tally() for each in (counter.model, counter.paired_model, counter.fallback)]
    if not impacts:
        # Nothing judges them, and the pairs of a regressor are rows instead of counts.
        tallies = [AnswerTally(tallies[0].count), AnswerTally(), AnswerTally()]
    elif follows_labels and not is_enough(policy, tallies[0], policy.min_labels):
        # They are read again by the next run, and the price of a bypass would count them each time.
        tallies[1:] = [AnswerTally(), AnswerTally()]
    span = None if start is None or end is None else (start, end)
    model, paired_model, fallback = tallies
    tally = LabelTally(
        start,
        end,
        0 if span is None else prediction_count(connection, source.model_version, span, source.newest, source.gaps),
        source.rows_from,
        counter.old_count,
        counter.unknown_count,
        counter.scored_count,
        model,
        paired_model,
        fallback,
        () if span is None or judge is None else _coverage(connection, source, span, judge, counter),
        counter.rescored_count,
    )
    return tally, ranges_of(np.array(counter.ids, dtype=np.int64), NO_IDS)


def is_labelled(policy: Policy, tally: LabelTally | None) -> bool:
    """Whether a run has enough new labels to be evidence; otherwise they wait for the next run."""
    return tally is not None and is_enough(policy, tally.model, policy.min_labels)


def _coverage(
    connection: Connection,
    source: LabelSource,
    span: tuple[datetime, datetime],
    judge: LabelJudge,
    counter: "_Counter",
) -> tuple[GroupCoverage, ...]:
    """Predictions and labels by group; no predictions where shadow scores are judged, which the log does not have."""
    table, labels = judge.table, counter.model.groups
    counts: dict[int, int] = {}
    if not counter.follows_labels:
        is_by_answer, is_rank = judge.needs_features, table.origin is ScoreOrigin.RANK
        edges, classes = (() if is_by_answer else table.edges), (table.classes if is_by_answer else ())
        groups = LogGroups(table.positive, edges, is_rank, classes)
        counts = group_counts(connection, source.model_version, span, source.newest, source.gaps, groups)
    return tuple((group, counts.get(group, 0), labels[group]) for group in sorted({*counts, *labels}))


@dataclass(frozen=True, slots=True)
class _TallyRules:
    """How labelled answers are counted.

    Attributes:
        error: of a regressor.
        judge: of metrics that need scores, or None.
        metric: the metric of probabilities whose sums are counted, or None.
    """

    error: NumberError | None
    judge: LabelJudge | None
    metric: Metric | None


@dataclass(slots=True)
class _Answers:
    """Answers to labelled rows, counted."""

    rules: _TallyRules
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: list[float] = field(default_factory=list)
    scores: list[RowScore] = field(default_factory=list)
    groups: Counter[int] = field(default_factory=Counter)

    def add(self, label: str, answer: RowAnswer) -> bool:
        """Count one row; whether it could be."""
        if self.rules.error is not None:
            error = self.rules.error(_number(label), _number(answer.text))
            if error is not None and np.isfinite(error):
                self.errors.append(error)
            return True
        if self.rules.judge is None:
            self.outcomes[label, answer.text] += 1
            return True
        row = self.rules.judge.row_score(label, answer)
        if row is None:
            return False
        self.outcomes[label, row.answer] += 1
        self.groups[row.group] += 1
        if self.rules.metric is not None:
            self.scores.append(row)
        return True

    def tally(self) -> AnswerTally:
        """The counts and sums, which do not depend on the order of the rows."""
        if self.rules.error is not None:
            squares = fsum(error * error for error in self.errors)
            return AnswerTally(len(self.errors), (), round(fsum(self.errors), DIGITS), round(squares, DIGITS))
        outcomes = tuple((*cell, count) for cell, count in sorted(self.outcomes.items()))
        sums = () if self.rules.metric is None else score_sums(self.rules.metric, self.scores)
        return AnswerTally(self.outcomes.total(), outcomes, *sums)


@dataclass(slots=True)
class _Counter:
    """The rows of a run's labels, counted."""

    start: datetime
    rules: _TallyRules
    follows_labels: bool
    ids: list[int] = field(default_factory=list)
    oldest_at: datetime | None = None
    newest_at: datetime | None = None
    old_count: int = 0
    unknown_count: int = 0
    scored_count: int = 0
    rescored_count: int = 0
    model: _Answers = field(init=False)
    paired_model: _Answers = field(init=False)
    fallback: _Answers = field(init=False)

    def __post_init__(self) -> None:
        """Each kind of answer starts without a row."""
        self.model, self.paired_model, self.fallback = (_Answers(self.rules) for _ in range(3))

    def add(self, rows: Sequence[LabelRow], shadow_answers: dict[int, RowAnswer]) -> None:
        """Count a batch.

        While labels themselves keep the model bypassed, shadow scores are the evidence about it. In a degradation by
        anything else they are those of damaged inputs: a harm that the state has answered already.

        Args:
            rows: the rows.
            shadow_answers: label id -> what the model answers, of the rows that it scored outside of requests.
        """
        for row in rows:
            if row.timestamp < self.start:
                self.old_count += 1
                continue
            self.oldest_at = min(self.oldest_at or row.timestamp, row.timestamp)
            self.newest_at = max(self.newest_at or row.timestamp, row.timestamp)
            answer = self._model_answer(row, shadow_answers.get(row.id))
            if answer is None:
                self.unknown_count += 1
                continue
            if self.follows_labels or not row.fallback_used:
                if not self.model.add(row.label, answer):
                    self.unknown_count += 1
                    continue
                self.ids.append(row.id)
            self.scored_count += row.fallback_used
            self.rescored_count += not row.fallback_used and answer.probabilities is not None
            if row.fallback_used and row.prediction is not None and self.paired_model.add(row.label, answer):
                self.fallback.add(row.label, RowAnswer(row.prediction, is_hard=True))

    @staticmethod
    def _model_answer(row: LabelRow, shadow_answer: RowAnswer | None) -> RowAnswer | None:
        """The model's answer: as logged, with the probabilities that it gave since where it scored the row again."""
        if row.fallback_used:
            return shadow_answer
        if row.prediction is None:
            return None
        return RowAnswer(row.prediction, row.confidence, None if shadow_answer is None else shadow_answer.probabilities)


def _shadow_answers(
    rows: Sequence[LabelRow], schema: Schema, score: ShadowScorer | None
) -> Iterator[tuple[int, RowAnswer]]:
    """What the model answers to these rows outside of requests, by label id."""
    if score is None:
        return
    inputs = [(row.id, _clean_row(row, schema)) for row in rows]
    clean = [(label_id, values) for label_id, values in inputs if isinstance(values, dict)]
    if clean:
        for (label_id, _), answer in zip(clean, score([values for _, values in clean]), strict=True):
            if answer.text is not None:
                confidence = None if answer.confidence is None else round(answer.confidence, SHADOW_DIGITS)
                yield label_id, RowAnswer(answer.text, confidence, answer.probabilities)


def _clean_row(row: LabelRow, schema: Schema) -> object:
    return schema.validate(row.input_summary) if isinstance(row.input_summary, dict) else None


def _number_error(impacts: Sequence[PerformanceImpact]) -> NumberError | None:
    """The error of a regressor's answer by the metric that is judged; None of a classifier."""
    impact = next(iter(impacts), None)
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
