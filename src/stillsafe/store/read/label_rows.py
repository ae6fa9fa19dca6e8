"""The rows whose labels a run reads: the labels that no earlier run has read, whenever their rows were answered.

A run stores by their ids which labels it read, as it does for predictions (`row_selection`): a replay reads the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, not_, null, select

from stillsafe.store import database
from stillsafe.store.read.row_selection import (
    NO_RANGES,
    RECENT_IDS,
    OpenRange,
    RowMarks,
    evidence_rows,
    invisible_ids,
    own_rows,
    within,
)
from stillsafe.store.row_ranges import RowRanges, merge
from stillsafe.store.tables import labels, prediction_logs

BATCH_ROWS = 5_000


class LabelRow(NamedTuple):
    """A label with the row that it belongs to.

    Attributes:
        id: of the label.
        label, prediction: as text; no prediction where the fallback abstained.
        fallback_used: whether the fallback answered.
        timestamp: of the row, aware UTC.
        input_summary: the row's features, where the fallback answered, or where all rows are scored again.
        confidence: of the model, or None.
    """

    id: int
    label: str
    prediction: str | None
    fallback_used: bool
    timestamp: datetime
    input_summary: object
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class LabelSelection:
    """The labels for one run.

    Attributes:
        old: what the last run left.
        newest: highest visible id of the table.
        read: ids of the labels that the run reads, those of other services and versions among them.
        gaps: ids that the run might have read and that no visible label has.
    """

    old: RowMarks = field(default_factory=RowMarks)
    newest: int = 0
    read: RowRanges = NO_RANGES
    gaps: RowRanges = NO_RANGES


def select_labels(connection: Connection, old: RowMarks) -> LabelSelection:
    """The labels that no earlier run has read."""
    newest = int(connection.execute(select(func.coalesce(func.max(labels.c.id), 0))).scalar_one())
    if not newest:
        return LabelSelection(old, newest)
    candidates = old.candidates(newest)
    # The gaps of a long history belong to transactions that have ended long ago, so a first run leaves them alone.
    recent = RowRanges(((max(1, newest - RECENT_IDS), newest),))
    gaps = invisible_ids(connection, labels, candidates if old.settled_to else recent)
    visible = [part for first, last in candidates.ranges for part in gaps.complement(first, last).ranges]
    return LabelSelection(old, newest, merge(visible), gaps)


def next_label_marks(selection: LabelSelection, waiting: RowRanges, at: datetime, gap_start: datetime) -> RowMarks:
    """What a run leaves to the next one.

    Args:
        selection: of the run.
        waiting: ids of the labels that were too few to be evidence.
        at: the run's time.
        gap_start: ids that no label had since before this time belong to no transaction any more.
    """
    since = {part: each.since for each in selection.old.open for part in ((each.first, each.last),)}
    gaps = [OpenRange(*part, since.get(part, at)) for part in selection.gaps.ranges]
    still_open = [each for each in gaps if each.since >= gap_start] + [OpenRange(*part, at) for part in waiting.ranges]
    ranges = tuple(sorted(still_open, key=lambda each: each.first))
    return RowMarks(selection.newest, ranges, selection.read.ranges, at)


def label_rows(
    connection: Connection, selection: LabelSelection, model_version: str, end: datetime, *, with_features: bool = False
) -> Iterator[list[LabelRow]]:
    """The rows of these labels in batches, each row with the last label read of those it got, once in its life.

    Args:
        connection: of the service.
        selection: the labels.
        model_version: whose rows count.
        end: rows from it on do not count.
        with_features: whether the features of rows that the model answered are read too.
    """
    if not selection.read:
        return
    log, label = prediction_logs, labels
    newer, earlier = labels.alias("newer"), labels.alias("earlier")
    is_replaced = and_(newer.c.prediction_id == label.c.prediction_id, newer.c.id > label.c.id)
    is_settled = and_(earlier.c.id <= selection.old.settled_to, not_(within(earlier, selection.old.open_ids())))
    columns = label.c.id, label.c.label, log.c.prediction, log.c.fallback_used, log.c.timestamp
    features = log.c.input_summary if with_features else case((log.c.fallback_used, log.c.input_summary), else_=null())
    query = select(*columns, features, log.c.confidence_score)
    query = query.join_from(label, log, label.c.prediction_id == log.c.prediction_id).where(
        within(label, selection.read),
        *own_rows(connection, log, model_version, by_id=True),
        *evidence_rows(log),
        log.c.model_error.is_(None),
        log.c.timestamp < end,
        ~exists().where(is_replaced, within(newer, selection.read)),
        ~exists().where(earlier.c.prediction_id == label.c.prediction_id, is_settled),
    )
    result = connection.execute(query.execution_options(yield_per=BATCH_ROWS))
    for rows in result.partitions():
        yield [LabelRow(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class LogGroups:
    """Groups of predictions, by which labels and predictions are counted.

    Attributes:
        positive: the class that scores are of, as text.
        edges: inner edges of the ranges of scores, ascending; empty where predictions are grouped by their answer.
        is_rank: whether the confidence is a rank, and not the probability of the answer.
        classes: all classes as text, where predictions are grouped by their answer.
    """

    positive: str
    edges: tuple[float, ...] = ()
    is_rank: bool = False
    classes: tuple[str, ...] = ()

    def group(self) -> ColumnElement[Any]:
        """The group of a row of the log in a query: the range of its score, or its answer as text."""
        log = prediction_logs
        if self.classes:
            return log.c.prediction
        own = (1 + log.c.confidence_score) / 2 if self.is_rank else log.c.confidence_score
        score = case((log.c.prediction == self.positive, own), else_=1 - own)
        return case(*((score < edge, number) for number, edge in enumerate(self.edges)), else_=len(self.edges))


def group_counts(
    connection: Connection,
    model_version: str,
    span: tuple[datetime, datetime],
    newest: int,
    gaps: RowRanges,
    groups: LogGroups,
) -> dict[int, int]:
    """Predictions of the model in a time by group, of the same rows as `prediction_count`."""
    log, group = prediction_logs, groups.group()
    conditions = _in_span(connection, model_version, span, newest, gaps)
    by_model = log.c.fallback_used.is_(False), log.c.prediction.isnot(None), log.c.confidence_score.isnot(None)
    rows = connection.execute(select(group, func.count()).where(*conditions, *by_model).group_by(group)).all()
    if not groups.classes:
        return {int(number): int(count) for number, count in rows}
    return {groups.classes.index(text): int(count) for text, count in rows if text in groups.classes}


def labels_of_rows(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Row id -> label in force, for the predictions with these ids that have a label."""
    if not ids:
        return {}
    log, label, newer = prediction_logs, labels, labels.alias("newer")
    query = select(log.c.id, label.c.label).join_from(log, label, label.c.prediction_id == log.c.prediction_id)
    is_replaced = exists().where(newer.c.prediction_id == label.c.prediction_id, newer.c.id > label.c.id)
    is_own = log.c.service_id == database.service_id(connection)
    rows = connection.execute(query.where(log.c.id.between(min(ids), max(ids)), is_own, ~is_replaced))
    row_ids = frozenset(ids)
    return {row_id: text for row_id, text in rows if row_id in row_ids}


def labelled_features(
    connection: Connection, model_version: str, span: tuple[datetime, datetime], most: int
) -> list[tuple[str, object]]:
    """Label in force and features of the newest labelled rows in `[start, end)` that the model answered."""
    log, label, newer = prediction_logs, labels, labels.alias("newer")
    is_replaced = exists().where(newer.c.prediction_id == label.c.prediction_id, newer.c.id > label.c.id)
    query = select(label.c.label, log.c.input_summary).join_from(
        log, label, label.c.prediction_id == log.c.prediction_id
    )
    query = query.where(
        *own_rows(connection, log, model_version),
        *evidence_rows(log),
        log.c.timestamp >= span[0],
        log.c.timestamp < span[1],
        log.c.fallback_used.is_(False),
        log.c.prediction.isnot(None),
        ~is_replaced,
    )
    rows = connection.execute(query.order_by(log.c.timestamp.desc(), log.c.id.desc()).limit(most))
    return [(text, features) for text, features in rows]


def prediction_count(
    connection: Connection, model_version: str, span: tuple[datetime, datetime], newest: int, gaps: RowRanges
) -> int:
    """Predictions of a version in a time, both ends included, up to a row id and without the ids that no row had."""
    conditions = _in_span(connection, model_version, span, newest, gaps)
    return int(connection.execute(select(func.count()).where(*conditions)).scalar_one())


def _in_span(
    connection: Connection, model_version: str, span: tuple[datetime, datetime], newest: int, gaps: RowRanges
) -> list[ColumnElement[bool]]:
    log = prediction_logs
    conditions: list[ColumnElement[bool]] = [*own_rows(connection, log, model_version), *evidence_rows(log)]
    conditions += [log.c.timestamp >= span[0], log.c.timestamp <= span[1], func.coalesce(log.c.id, 0) <= newest]
    if gaps:
        conditions.append(not_(within(log, gaps, by_id=False)))
    return conditions
