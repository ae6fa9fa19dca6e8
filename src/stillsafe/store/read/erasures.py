"""Queries for erasures: their tombstones, the rows that they remove, and those that must not come back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, select, true, type_coerce

from stillsafe.store import database
from stillsafe.store.codec import dumps, record_from_row, storable
from stillsafe.store.erasure_marks import MarkKind, RowMatcher, RowTraces, Subject, value_text
from stillsafe.store.read.incidents import ExplanationRecord, has_table
from stillsafe.store.read.request_id import is_id_of_row
from stillsafe.store.records import PredictionRecord
from stillsafe.store.tables import (
    current_window_metrics,
    erasure_marks,
    erasures,
    labels,
    llm_explanations,
    prediction_logs,
    prunes,
    request_duplicates,
    request_ids,
)

PAGE_ROWS, PAGE_WINDOWS, MOST_PARAMETERS = 2_000, 100, 5_000
LATE_ARRIVAL = timedelta(days=1)
"""Clocks of hosts differ by less: a row is compared with the erasures from so long before its time on."""


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """The tombstone of an erasure.

    Attributes:
        id: number.
        at: when it began, aware UTC.
        by, reason: who, and why.
        salt: of the hashes of its marks, hexadecimal.
        prediction_count, label_count: rows of the log that went, and labels with their history.
        archived_count, spooled_count: rows of archives and of this host's spool that went.
        text_count: explanations whose text went.
        marked_at: when its rows were all found; None where it was interrupted before.
        completed_at: when all was done; None where it was interrupted.
    """

    id: int
    at: datetime
    by: str
    reason: str
    salt: str
    prediction_count: int
    label_count: int
    archived_count: int
    spooled_count: int
    text_count: int
    marked_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of the log that an erasure may concern."""

    id: int
    model_version: str
    traces: RowTraces


def all_erasures(connection: Connection) -> list[ErasureRecord]:
    """The tombstones, oldest first."""
    is_own = erasures.c.service_id == database.service_id(connection)
    rows = connection.execute(select(erasures).where(is_own).order_by(erasures.c.id))
    return [record_from_row(ErasureRecord, row) for row in rows]


def matcher_of(connection: Connection, erasure: ErasureRecord) -> RowMatcher:
    """The matcher of a stored erasure."""
    mark = erasure_marks
    query = select(mark.c.kind, mark.c.feature, mark.c.hash).where(mark.c.erasure_id == erasure.id)
    return RowMatcher(erasure.salt, erasure.at, [tuple(row) for row in connection.execute(query)])


def erased_records(connection: Connection, records: Sequence[PredictionRecord]) -> set[str]:
    """The identifiers of those predictions that an erasure is of: a row of a spool may arrive after it."""
    if not records:
        return set()
    oldest = min(record.timestamp for record in records) - LATE_ARRIVAL
    is_later = erasures.c.service_id == database.service_id(connection), erasures.c.at >= oldest
    erased_ids: set[str] = set()
    for row in connection.execute(select(erasures).where(*is_later)).all():
        matcher = matcher_of(connection, record_from_row(ErasureRecord, row))
        erased_ids |= {record.prediction_id for record in records if matcher.matches(traces_of(record))}
    return erased_ids


def traces_of(record: PredictionRecord) -> RowTraces:
    """The traces of a record."""
    text = None if record.request_id is None else storable(record.request_id.text)
    return RowTraces(record.prediction_id, text, record.timestamp, record.input_summary)


def unfinished_matches(connection: Connection, erasure: ErasureRecord) -> Iterator[LogRow]:
    """The rows of the log that the marks of an erasure match, by a search of the whole log."""
    matcher = matcher_of(connection, erasure)
    yield from (row for row in _pages(connection, _row_query(connection)) if matcher.matches(row.traces))


def subject_rows(connection: Connection, subjects: Sequence[Subject], at: datetime) -> Iterator[LogRow]:
    """The rows of the log that have any of the subjects; some perhaps twice."""
    log, query = prediction_logs, _row_query(connection)
    service = database.service_id(connection)
    values: dict[MarkKind, list[str]] = {kind: [] for kind in MarkKind}
    for subject in subjects:
        if subject.kind is not MarkKind.FEATURE:
            values[subject.kind].append(str(subject.value))
    for part in _parts(values[MarkKind.PREDICTION]):
        yield from _pages(connection, query.where(log.c.prediction_id.in_(part)))
    for part in _parts(values[MarkKind.REQUEST]):
        for table in (request_ids, request_duplicates):
            owners = select(table.c.prediction_id).where(table.c.service_id == service, table.c.id.in_(part))
            yield from _pages(connection, query.where(log.c.prediction_id.in_(owners)))
    for subject in subjects:
        if subject.kind is MarkKind.FEATURE:
            rows = _pages(connection, query.where(_may_have(connection, subject), log.c.timestamp <= at))
            text = value_text(subject.value)
            yield from (row for row in rows if value_text(row.traces.features.get(str(subject.feature))) == text)


def _may_have(connection: Connection, subject: Subject) -> ColumnElement[bool]:
    """Whether the stored text of a row may have a feature's value: numbers have several forms, so they all may."""
    start = f"{dumps(subject.feature)}:"
    if not start.isascii():  # rows written by hand may have escaped it
        return true()
    # What the value begins with is enough: the rows that are found are compared exactly.
    is_plain = isinstance(subject.value, str) and subject.value.isascii() and subject.value.isprintable()
    return _position(connection, start + dumps(subject.value)[:-1] if is_plain else start) > 0


def _position(connection: Connection, part: str) -> ColumnElement[int]:
    summary, part = prediction_logs.c.input_summary, part.replace('": ', '":')
    if connection.dialect.name == "sqlite":
        return func.instr(func.replace(type_coerce(summary, Text), '": ', '":'), part)
    return func.strpos(func.replace(cast(summary, Text), '": ', '":'), part)


def shared_count(connection: Connection, subject: Subject, shows: Callable[[Any], bool], limit: int) -> int:
    """Rows of the log whose value of a feature is shown alike; at most `limit` are counted.

    Args:
        connection: to the store.
        subject: the feature, and the text that its value begins with; a value that is no text searches all rows.
        shows: whether a value of the feature is one of those.
        limit: of the count.
    """
    log, count, last = prediction_logs, 0, 0
    is_own = log.c.service_id == database.service_id(connection)
    query = select(log.c.id, log.c.input_summary).where(is_own, _may_have(connection, subject))
    while rows := connection.execute(query.where(log.c.id > last).order_by(log.c.id).limit(PAGE_ROWS)).all():
        last = rows[-1].id
        count += sum(shows(row.input_summary.get(subject.feature)) for row in rows)
        if count >= limit:
            return limit
    return count


def rows_by_id(connection: Connection, row_ids: Sequence[int]) -> list[LogRow]:
    """Rows of the log by their row ids."""
    return [
        _log_row(row) for row in connection.execute(_row_query(connection).where(prediction_logs.c.id.in_(row_ids)))
    ]


def label_count(connection: Connection, row_ids: Sequence[int]) -> int:
    """Labels of predictions, corrected ones included."""
    log = prediction_logs
    predictions = select(log.c.prediction_id).where(log.c.id.in_(row_ids), log.c.prediction_id.isnot(None))
    query = select(func.count()).select_from(labels).where(labels.c.prediction_id.in_(predictions))
    return int(connection.execute(query).scalar_one())


def marked_row_ids(connection: Connection, erasure_id: int) -> list[int]:
    """The row ids of an erasure's rows that the log still has."""
    mark, log = erasure_marks, prediction_logs
    query = select(mark.c.row_id).join(log, log.c.id == mark.c.row_id).where(mark.c.erasure_id == erasure_id)
    return sorted(connection.execute(query).scalars())


def erased_rows(connection: Connection) -> list[tuple[int, str, datetime]]:
    """Row id, model version and hour of every row that an erasure removed from the log."""
    mark = erasure_marks
    query = select(mark.c.row_id, mark.c.model_version, mark.c.hour).where(mark.c.row_id.isnot(None))
    is_own = mark.c.service_id == database.service_id(connection)
    return [(row.row_id, row.model_version, row.hour) for row in connection.execute(query.where(is_own))]


def archive_folders(connection: Connection) -> list[str]:
    """The folders that prunes archived rows in, as they were given."""
    is_own = prunes.c.service_id == database.service_id(connection), prunes.c.archive.isnot(None)
    return sorted(set(connection.execute(select(prunes.c.archive).where(*is_own)).scalars()))


def all_explanations(connection: Connection) -> list[tuple[int, ExplanationRecord]]:
    """Every explanation with its row id; none where the table is missing."""
    table = llm_explanations
    if not has_table(connection, table):
        return []
    rows = connection.execute(select(table).where(table.c.service_id == database.service_id(connection)))
    return [(row.id, record_from_row(ExplanationRecord, row)) for row in rows]


def windows_between(connection: Connection, start: datetime, end: datetime) -> Iterator[tuple[int, Any]]:
    """The stored windows of runs that overlap a time, each with the run's id."""
    run = current_window_metrics
    in_time = run.c.window_end > start, run.c.window_start < end, run.c.window.isnot(None)
    query = select(run.c.id, run.c.window).where(run.c.service_id == database.service_id(connection), *in_time)
    last = 0
    while rows := connection.execute(query.where(run.c.id > last).order_by(run.c.id).limit(PAGE_WINDOWS)).all():
        last = rows[-1].id
        yield from ((row.id, row.window) for row in rows)


def _row_query(connection: Connection) -> Select[Any]:
    log = prediction_logs
    request_id = func.coalesce(request_ids.c.id, request_duplicates.c.id).label("request_id")
    columns = log.c.id, log.c.prediction_id, log.c.timestamp, log.c.model_version, log.c.input_summary
    query = select(*columns, request_id).outerjoin(request_ids, is_id_of_row())
    query = query.outerjoin(request_duplicates, request_duplicates.c.prediction_id == log.c.prediction_id)
    return query.where(log.c.service_id == database.service_id(connection))


def _pages(connection: Connection, query: Select[Any]) -> Iterator[LogRow]:
    row_id, last = prediction_logs.c.id, 0
    while rows := connection.execute(query.where(row_id > last).order_by(row_id).limit(PAGE_ROWS)).all():
        last = rows[-1].id
        yield from map(_log_row, rows)


def _log_row(row: Any) -> LogRow:
    traces = RowTraces(row.prediction_id, row.request_id, row.timestamp, row.input_summary)
    return LogRow(row.id, row.model_version, traces)


def _parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), MOST_PARAMETERS):
        yield values[start : start + MOST_PARAMETERS]
