"""Which rows a run reads: those that no earlier run evaluated, wherever their times and ids lie."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, FromClause, Table, and_, false, func, not_, or_, select

from stillsafe.store import database
from stillsafe.store.row_ranges import NO_IDS, Ids, Range, RowRanges, merge, ranges_of

NO_RANGES = RowRanges()
RECENT_IDS = 1000
"""Ids before the newest one whose transactions may still be open, at least; a busy server commits many a second."""
_GROUP_SIZE = 250


@dataclass(frozen=True, slots=True)
class OpenRange:
    """Ids that a later run may still evaluate.

    Attributes:
        first, last: the ids, inclusive.
        since: end of the window that left them out first, aware UTC.
    """

    first: int
    last: int
    since: datetime


@dataclass(frozen=True, slots=True)
class RowMarks:
    """How far the rows of one table and version are evaluated once a run has ended; stored with the run.

    A row is settled if its id is at most `settled_to`, its time is before `settled_before`, and it is not open.

    Attributes:
        settled_to: highest id that the run saw.
        open: ids up to `settled_to` that are not settled: carried rows, and ids that no visible row had, because their
            transaction may commit later.
        read: ids of the fresh rows that the run read.
        settled_before: end of the run's window, aware UTC: rows with a later time wait for their run. None before the
            first run.
    """

    settled_to: int = 0
    open: tuple[OpenRange, ...] = ()
    read: tuple[Range, ...] = ()
    settled_before: datetime | None = None

    def open_ids(self) -> RowRanges:
        """The ids of `open`."""
        return merge((each.first, each.last) for each in self.open)

    def gaps(self) -> RowRanges:
        """The open ids that no visible row had."""
        read = RowRanges(self.read)
        return merge((each.first, each.last) for each in self.open if each.first not in read)

    def carried_ids(self) -> RowRanges:
        """The open ids of rows that the run read without a conclusion."""
        read = RowRanges(self.read)
        return merge((each.first, each.last) for each in self.open if each.first in read)

    def candidates(self, newest: int) -> RowRanges:
        """The ids up to `newest` that the next run may read, besides rows that the last one left for their time."""
        return self.open_ids() | RowRanges(((self.settled_to + 1, newest),) if newest > self.settled_to else ())


@dataclass(frozen=True, slots=True)
class RunSpan:
    """The times of a run.

    Attributes:
        carry_start: rows before it are too old to be evaluated.
        end: end of the window; rows from it on wait for the next run.
        conclusive_end: end of the last conclusive run's window, or None: fresh rows before it came late.
        most_rows: rows that one run reads at most; the newest are read.
    """

    carry_start: datetime
    end: datetime
    conclusive_end: datetime | None
    most_rows: int


@dataclass(frozen=True, slots=True)
class RowSelection:
    """The fresh rows of one table for one run.

    Attributes:
        newest: highest visible id of the table.
        read: ids of the fresh rows.
        oldest_at: time of the oldest fresh row, or None without one.
        oldest_unjudged_at: time of the oldest row that no run has evaluated, synthetic ones included, or None.
        row_count: fresh rows.
        late_count: fresh rows that no earlier run saw, though a conclusive one had covered their time.
        expired_count: rows that grew too old, or were too many, before any run evaluated them.
        gaps: ids that the run might have read and that no visible row has.
    """

    newest: int
    read: RowRanges = NO_RANGES
    oldest_at: datetime | None = None
    oldest_unjudged_at: datetime | None = None
    row_count: int = 0
    late_count: int = 0
    expired_count: int = 0
    gaps: RowRanges = NO_RANGES


def select_rows(
    connection: Connection, table: Table, model_version: str, marks: RowMarks, span: RunSpan
) -> RowSelection:
    """Select the fresh rows of a table: visible, in the span, and evaluated by no earlier run.

    Args:
        connection: reads one snapshot.
        table: `prediction_logs` or `refusals`.
        model_version: the version whose rows count.
        marks: what the last run left.
        span: the times of this run.
    """
    newest = int(connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one())
    if not newest:
        return RowSelection(newest)
    by_id = marks.settled_to > 0  # a first run has every id to search, and only its times narrow the search
    own = own_rows(connection, table, model_version, by_id=by_id)
    if by_id:
        own.append(_candidates(connection, table, model_version, marks, newest))
    time = opaque(table.c.timestamp) if by_id else table.c.timestamp
    in_span = [*own, *evidence_rows(table), time >= span.carry_start, time < span.end]
    late = and_(time < (span.conclusive_end or span.carry_start), not_(within(table, marks.carried_ids())))
    query = select(func.count(), func.min(table.c.id), func.max(table.c.id), func.min(time), func.count().filter(late))
    row_count, lowest, highest, oldest_at, late_count = connection.execute(query.where(*in_span)).one()
    surplus_count = max(0, row_count - span.most_rows)
    if surplus_count:
        in_span.append(table.c.id >= _first_of_newest(connection, table, in_span, span.most_rows))
        row_count, lowest, highest, oldest_at, late_count = connection.execute(query.where(*in_span)).one()
    read = _ranges(connection, table, model_version, in_span, (lowest, highest), span, row_count)
    old_count, oldest_unjudged_at = _unread_rows(connection, table, own, time, span, by_id=by_id)
    # The gaps of a long history belong to transactions that have ended long ago, so a first run leaves them alone.
    recent = max(1, min(lowest or newest, newest - RECENT_IDS))
    return RowSelection(
        newest,
        read,
        oldest_at,
        oldest_unjudged_at,
        row_count,
        late_count,
        # A first run has not watched the rows before its span, so it does not count them as missed.
        old_count + (surplus_count if by_id else 0),
        _gaps(connection, table, marks.candidates(newest) if by_id else RowRanges(((recent, newest),)), read),
    )


def next_marks(marks: RowMarks, selection: RowSelection, span: RunSpan, *, is_conclusive: bool) -> RowMarks:
    """What the run leaves to the next one: a run that concludes nothing settles none of the rows that it read."""
    gaps = [OpenRange(first, last, _since(marks, first, last) or span.end) for first, last in selection.gaps.ranges]
    carried_ranges = (
        [] if is_conclusive else [OpenRange(first, last, span.end) for first, last in selection.read.ranges]
    )
    still_open = [*(each for each in gaps if each.since >= span.carry_start), *carried_ranges]
    return RowMarks(
        selection.newest,
        tuple(sorted(still_open, key=lambda each: each.first)),
        selection.read.ranges,
        span.end,
    )


def own_rows(
    connection: Connection, table: Table, model_version: str, *, by_id: bool = False
) -> list[ColumnElement[bool]]:
    """Conditions for the rows of the connection's service and a version.

    Args:
        connection: of the service.
        table: `prediction_logs` or `refusals`.
        model_version: the version.
        by_id: whether the database has to find the rows by their ids and not by the index of versions and times.
    """
    service, version = table.c.service_id, table.c.model_version
    if by_id:
        service, version = opaque(service), opaque(version)
    return [service == database.service_id(connection), version == model_version]


def evidence_rows(table: Table) -> list[ColumnElement[bool]]:
    """Conditions for the rows that are evidence: synthetic requests are not."""
    return [table.c.synthetic.is_(False)] if "synthetic" in table.c else []


def within(table: FromClause, ids: RowRanges, *, by_id: bool = True) -> ColumnElement[bool]:
    """Whether a row's id belongs to a set."""
    column = table.c.id if by_id else opaque(table.c.id)
    single_ids = [first for first, last in ids.ranges if first == last]
    wide = [each for each in ids.ranges if each[0] < each[1]]
    # SQLite accepts no deep expression. A long OR is one, so it is divided into groups.
    groups = [wide[start : start + _GROUP_SIZE] for start in range(0, len(wide), _GROUP_SIZE)]
    return or_(
        false(),
        *([column.in_(single_ids)] if single_ids else []),
        *(
            and_(column.between(group[0][0], group[-1][1]), or_(*(column.between(*extent) for extent in group)))
            for group in groups
        ),
    )


def opaque(column: Any) -> Any:
    """The column as an expression that no index serves, so that the database searches by another condition."""
    return func.coalesce(column, column)


def _since(marks: RowMarks, first: int, last: int) -> datetime | None:
    return min((each.since for each in marks.open if each.first <= last and first <= each.last), default=None)


def _first_of_newest(connection: Connection, table: Table, conditions: list[Any], most_rows: int) -> int:
    """The lowest id of the newest `most_rows` rows; 0 where there are no more."""
    query = select(table.c.id).where(*conditions).order_by(opaque(table.c.id).desc()).offset(most_rows - 1).limit(1)
    return int(connection.execute(query).scalar() or 0)


def _candidates(
    connection: Connection, table: Table, model_version: str, marks: RowMarks, newest: int
) -> ColumnElement[bool]:
    """Whether the run may read a row: it is open or new, or the last run left it for its time."""
    candidates = marks.candidates(newest)
    if marks.settled_before is None:
        return within(table, candidates)
    is_left = and_(*own_rows(connection, table, model_version), table.c.timestamp >= marks.settled_before)
    # An alternative that no row meets would keep the database from searching by the time.
    return or_(within(table, candidates), is_left) if candidates else is_left


def _unread_rows(
    connection: Connection, table: Table, own: list[Any], time: Any, span: RunSpan, *, by_id: bool
) -> tuple[int, datetime | None]:
    """How many rows are too old to be read, and the time of the oldest row in the span, synthetic ones included."""
    is_old, is_in_span = time < span.carry_start, time >= span.carry_start
    if not by_id:  # the older rows of a long history are not searched
        oldest_at: datetime | None = connection.execute(
            select(func.min(time)).where(*own, is_in_span, time < span.end)
        ).scalar()
        return 0, oldest_at
    query = select(func.count().filter(is_old, *evidence_rows(table)), func.min(time).filter(is_in_span))
    old_count, oldest_at = connection.execute(query.where(*own, time < span.end)).one()
    return old_count, oldest_at


def _ranges(
    connection: Connection,
    table: Table,
    model_version: str,
    in_span: list[Any],
    extent: Range,
    span: RunSpan,
    row_count: int,
) -> RowRanges:
    """The ids of the rows in the extent that meet the conditions.

    A range may cover rows that this run leaves out anyway: those of others, synthetic ones, and later ones.
    """
    if not row_count:
        return RowRanges()
    if row_count == extent[1] - extent[0] + 1:
        return RowRanges((extent,))
    between = table.c.id.between(*extent)
    own = own_rows(connection, table, model_version, by_id=True)
    is_own = and_(*own, *evidence_rows(table), opaque(table.c.timestamp) < span.end)
    counts = select(func.count(), func.count().filter(is_own), func.count().filter(and_(*in_span))).where(between)
    visible_count, own_count, row_count = connection.execute(counts).one()
    if visible_count == extent[1] - extent[0] + 1 and own_count == row_count:
        return RowRanges((extent,))
    row_ids = _ids(connection, table, [*in_span, between])
    return ranges_of(row_ids, _ids(connection, table, [between, not_(is_own)]))


def _gaps(connection: Connection, table: Table, candidates: RowRanges, read: RowRanges) -> RowRanges:
    """Those of the candidates that no visible row has; the ids that are read all have one."""
    if len(read.ranges) == 1:
        candidates = merge(each for first, last in candidates.ranges for each in read.complement(first, last).ranges)
    return invisible_ids(connection, table, candidates)


def invisible_ids(connection: Connection, table: Table, candidates: RowRanges) -> RowRanges:
    """Those of the candidates that no visible row has: their transactions may commit later."""
    if not candidates:
        return RowRanges()
    is_candidate = within(table, candidates)
    visible_count = connection.execute(select(func.count()).select_from(table).where(is_candidate)).scalar_one()
    if visible_count == sum(last - first + 1 for first, last in candidates.ranges):
        return RowRanges()
    visible = ranges_of(_ids(connection, table, [is_candidate]), NO_IDS)
    return merge(each for first, last in candidates.ranges for each in visible.complement(first, last).ranges)


def _ids(connection: Connection, table: Table, conditions: list[Any]) -> Ids:
    return np.array(connection.execute(select(table.c.id).where(*conditions)).scalars().all(), dtype=np.int64)
