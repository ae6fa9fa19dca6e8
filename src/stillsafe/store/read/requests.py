"""Queries for the log: predictions, refusals, prunes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    exists,
    func,
    not_,
    or_,
    select,
    type_coerce,
)

from stillsafe.core.signals import Evidence
from stillsafe.core.state import State
from stillsafe.store import database
from stillsafe.store.read.row_selection import NO_RANGES, RowMarks, evidence_rows, opaque, own_rows, within
from stillsafe.store.row_ranges import RowRanges
from stillsafe.store.tables import current_window_metrics, metadata, prediction_logs, prunes, refusals

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH_ROWS = 2_000  # a batch of this size fits into a processor's cache


class RequestTable(StrEnum):
    """The names of the two tables that grow with every request; retention prunes no others."""

    PREDICTIONS = "prediction_logs"
    """Answered requests."""
    REFUSALS = "refusals"
    """Requests that broke the schema."""


@dataclass(frozen=True, slots=True)
class LogRows:
    """Rows of the prediction log, one sequence per column, in the order of their ids."""

    ids: Sequence[int]
    timestamps: Sequence[datetime]
    input_summaries: Sequence[str]
    predictions: Sequence[str | None]
    confidences: Sequence[float | None]
    fallback_used: Sequence[bool]
    model_errors: Sequence[str | None]

    def __len__(self) -> int:
        """Rows."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class WindowRows:
    """A batch of a window's rows, one sequence per column, as `LogRows`.

    Attributes:
        ids: empty where they were not requested.
        fresh: whether the row came after the last conclusive run.
        times: in microseconds since 1970, UTC; empty where they were not requested.
        sources: salted hashes of the clients, None where not known; empty where they were not requested.
    """

    ids: Sequence[int]
    fresh: Sequence[bool]
    input_summaries: Sequence[str]
    predictions: Sequence[str | None]
    confidences: Sequence[float | None]
    fallback_used: Sequence[bool]
    model_errors: Sequence[str | None]
    times: Sequence[int] = ()
    sources: Sequence[str | None] = ()


def micros_of(times: Sequence[datetime | str]) -> list[int]:
    """Times in microseconds since 1970, UTC: aware ones, or the naive UTC texts that SQLite stores."""
    if times and isinstance(times[0], str):
        micros: list[int] = np.array(times, dtype="datetime64[us]").astype(np.int64).tolist()
        return micros
    return [(time - EPOCH) // timedelta(microseconds=1) for time in times if isinstance(time, datetime)]


def window_rows(
    connection: Connection, start: datetime, end: datetime, model_version: str, up_to_row: int | None = None
) -> LogRows:
    """Rows of one version in `[start, end)` that are evidence, up to and including `up_to_row` if not None."""
    table = prediction_logs
    conditions = _in_time(connection, table, start, end, model_version)
    if up_to_row is not None:
        conditions.append(_up_to(table.c.id, up_to_row))
    return _log_rows(connection, _log_query(connection).where(*conditions, *evidence_rows(table)).order_by(table.c.id))


def fresh_batches(
    connection: Connection,
    ids: RowRanges,
    span: tuple[datetime, datetime],
    model_version: str,
    *,
    with_ids: bool,
    with_times: bool = False,
) -> Iterator[WindowRows]:
    """The fresh rows of a run, by their ids, in batches of at most `BATCH_ROWS`, in no order."""
    table, time = prediction_logs, opaque(prediction_logs.c.timestamp)
    own = own_rows(connection, table, model_version, by_id=True)
    for extent in ids.ranges:
        conditions = [table.c.id.between(*extent), *own, time >= span[0], time < span[1]]
        yield from _batches(connection, conditions, fresh=True, with_ids=with_ids, with_times=with_times)


def judged_batches(
    connection: Connection,
    marks: RowMarks,
    span: tuple[datetime, datetime],
    model_version: str,
    *,
    with_ids: bool,
    with_times: bool = False,
) -> Iterator[WindowRows]:
    """The rows in `[start, end)` that earlier runs have settled, in batches like `fresh_batches`."""
    conditions = _settled_rows(connection, prediction_logs, marks, span, model_version)
    yield from _batches(connection, conditions, fresh=False, with_ids=with_ids, with_times=with_times)


def window_batches(
    connection: Connection,
    start: datetime,
    end: datetime,
    fresh_since: datetime,
    model_version: str,
    up_to_row: int,
    *,
    with_ids: bool = True,
) -> Iterator[WindowRows]:
    """The rows of a run of rules 1: those in `[start, end)`, fresh from `fresh_since` on, in batches."""
    table = prediction_logs
    for since, until, fresh in ((start, min(fresh_since, end), False), (max(start, fresh_since), end, True)):
        conditions = [*_in_time(connection, table, since, until, model_version), _up_to(table.c.id, up_to_row)]
        yield from _batches(connection, conditions, fresh=fresh, with_ids=with_ids)


def _batches(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    *,
    fresh: bool,
    with_ids: bool,
    with_times: bool = False,
) -> Iterator[WindowRows]:
    table = prediction_logs
    query = select(
        _as_text(connection, table.c.input_summary),
        table.c.prediction,
        table.c.confidence_score,
        table.c.fallback_used,
        table.c.model_error,
        table.c.source,
        *([table.c.id] if with_ids else []),
        *([table.c.timestamp] if with_times else []),
    ).where(*conditions, *evidence_rows(table))
    # SQLite has no server-side cursors: it streams anyway, and faster without the option.
    stream = connection.dialect.supports_server_side_cursors
    result = connection.execute(query, execution_options={"stream_results": stream})
    # No column needs a conversion and there may be a million rows, so they come directly from the driver.
    while columns := list(zip(*result.cursor_strategy.fetchmany(result, result.cursor, BATCH_ROWS), strict=True)):
        times = micros_of(columns.pop()) if with_times else ()
        ids = columns.pop() if with_ids else ()
        sources = columns.pop()
        yield replace(WindowRows(ids, [fresh] * len(columns[0]), *columns), times=times, sources=sources)


def window_row_count(connection: Connection, start: datetime, end: datetime, model_version: str, up_to_row: int) -> int:
    """Rows of one version in `[start, end)` that are evidence, up to and including `up_to_row`."""
    table = prediction_logs
    conditions = [*_in_time(connection, table, start, end, model_version), *evidence_rows(table)]
    query = select(func.count()).select_from(table).where(*conditions, _up_to(table.c.id, up_to_row))
    return int(connection.execute(query).scalar_one())


def synthetic_count(connection: Connection, start: datetime, end: datetime, model_version: str) -> int:
    """Synthetic requests of one version in `[start, end)`."""
    table = prediction_logs
    query = select(func.count()).select_from(table)
    return int(
        connection.execute(
            query.where(*_in_time(connection, table, start, end, model_version), table.c.synthetic)
        ).scalar_one()
    )


def logged_versions(connection: Connection, requests: RequestTable | None = None) -> list[str]:
    """The model versions with rows in the log, sorted; each is one search of the index."""
    tables = [metadata.tables[each] for each in ([requests] if requests else RequestTable)]
    versions: set[str] = set()
    for table in tables:
        is_own = table.c.service_id == database.service_id(connection)
        version = connection.execute(select(func.min(table.c.model_version)).where(is_own)).scalar()
        while version is not None:
            versions.add(version)
            next_version = select(func.min(table.c.model_version)).where(is_own, table.c.model_version > version)
            version = connection.execute(next_version).scalar()
    return sorted(versions)


def first_healthy_rows(connection: Connection, model_version: str, count: int) -> LogRows:
    """The first `count` healthy rows of one version.

    A row is healthy if the model answered it in the state NORMAL and no run deviated on it. The second condition is
    needed because the state changes only some runs after the first deviation.
    """
    query = _healthy_query(connection, model_version)
    return _log_rows(connection, query.order_by(prediction_logs.c.id).limit(count))


def healthy_rows(
    connection: Connection, version: str, start: datetime, end: datetime, *, with_deviations: bool = False
) -> LogRows:
    """The rows of `[start, end)` as `first_healthy_rows`; with deviations, all of them that the model answered."""
    time, query_of = prediction_logs.c.timestamp, _answered_query if with_deviations else _healthy_query
    query = query_of(connection, version).where(time >= start, time < end)
    return _log_rows(connection, query.order_by(prediction_logs.c.id))


def _healthy_query(connection: Connection, version: str) -> Select[Any]:
    table, run = prediction_logs, current_window_metrics
    in_deviating_run = exists().where(
        run.c.service_id == database.service_id(connection),
        run.c.superseded_at.is_(None),
        run.c.evidence == Evidence.BAD.value,
        run.c.model_version == version,
        table.c.timestamp >= run.c.window_start,
        or_(run.c.fresh_since.is_(None), table.c.timestamp >= run.c.fresh_since),
        table.c.timestamp < run.c.window_end,
    )
    return _answered_query(connection, version).where(table.c.system_state == State.NORMAL.value, ~in_deviating_run)


def _answered_query(connection: Connection, version: str) -> Select[Any]:
    own = [*own_rows(connection, prediction_logs, version, by_id=True), *evidence_rows(prediction_logs)]
    return _log_query(connection).where(*own, prediction_logs.c.fallback_used.is_(False))


def last_prediction_row(connection: Connection) -> int:
    """The newest row id of the prediction log, or 0."""
    return int(connection.execute(select(func.coalesce(func.max(prediction_logs.c.id), 0))).scalar_one())


def last_refusal_row(connection: Connection) -> int:
    """The newest row id of the refusals, or 0."""
    return int(connection.execute(select(func.coalesce(func.max(refusals.c.id), 0))).scalar_one())


def refusal_count(
    connection: Connection, start: datetime, end: datetime, model_version: str, up_to_row: int | None = None
) -> int:
    """Requests of one version refused in `[start, end)`, up to and including `up_to_row` if not None."""
    conditions = _in_time(connection, refusals, start, end, model_version)
    if up_to_row is not None:
        conditions.append(_up_to(refusals.c.id, up_to_row))
    return connection.execute(select(func.count()).select_from(refusals).where(*conditions)).scalar_one()


def fresh_refusal_sources(
    connection: Connection, ids: RowRanges, span: tuple[datetime, datetime], model_version: str
) -> dict[int, str | None]:
    """Refusals that are fresh for a run, by their ids and the times of fresh rows: row id -> source."""
    conditions = own_rows(connection, refusals, model_version, by_id=True)
    time = opaque(refusals.c.timestamp)
    return _refusal_sources(connection, within(refusals, ids), *conditions, time >= span[0], time < span[1])


def judged_refusal_sources(
    connection: Connection, marks: RowMarks, span: tuple[datetime, datetime], model_version: str
) -> dict[int, str | None]:
    """Refusals in `[start, end)` that earlier runs have settled: row id -> source."""
    return _refusal_sources(connection, *_settled_rows(connection, refusals, marks, span, model_version))


def _refusal_sources(connection: Connection, *conditions: ColumnElement[bool]) -> dict[int, str | None]:
    return {
        row.id: row.source for row in connection.execute(select(refusals.c.id, refusals.c.source).where(*conditions))
    }


def last_request_at(
    connection: Connection,
    end: datetime,
    up_to_prediction: int | None = None,
    up_to_refusal: int | None = None,
    model_version: str | None = None,
    gaps: tuple[RowRanges, RowRanges] = (NO_RANGES, NO_RANGES),
) -> datetime | None:
    """Time of the last request before `end`, answered or refused, of one version or of all.

    Args:
        connection: of the service.
        end: aware UTC.
        up_to_prediction: row id up to and including which predictions count, or None.
        up_to_refusal: the same for refusals.
        model_version: the version, or None for all.
        gaps: row ids of predictions and refusals that do not count: a run did not see them.
    """
    times = []
    bounds = zip(RequestTable, (up_to_prediction, up_to_refusal), gaps, strict=True)
    for requests, up_to, invisible in bounds:
        table = metadata.tables[requests]
        for version in logged_versions(connection, requests) if model_version is None else [model_version]:
            own = own_rows(connection, table, version)
            query = select(table.c.timestamp).where(*own, table.c.timestamp < end)
            if up_to is not None:
                query = query.where(_up_to(table.c.id, up_to))
            if invisible:
                query = query.where(not_(within(table, invisible, by_id=False)))
            times.append(connection.execute(query.order_by(table.c.timestamp.desc()).limit(1)).scalar())
    return max((time for time in times if time is not None), default=None)


def first_request_at(connection: Connection, model_version: str, start: datetime | None = None) -> datetime | None:
    """Time of the first request of a version, answered or refused, from `start` on or of all, or None."""
    # Built once, since the state of every answer may need it.
    query, service = _first_times(from_start=start is not None), database.service_id(connection)
    times = connection.execute(query, {"service": service, "version": model_version, "start": start}).one()
    return min((time for time in times if time is not None), default=None)


@cache
def _first_times(*, from_start: bool) -> Select[Any]:
    """The times of a version's first prediction and first refusal, each by one search of the index."""
    queries = []
    for table in (metadata.tables[requests] for requests in RequestTable):
        is_own = table.c.service_id == bindparam("service"), table.c.model_version == bindparam("version")
        is_in_time = [table.c.timestamp >= bindparam("start")] if from_start else []
        query = select(table.c.timestamp).where(*is_own, *is_in_time).order_by(table.c.timestamp).limit(1)
        queries.append(query.scalar_subquery())
    return select(*queries)


def prediction_count(connection: Connection, model_version: str | None = None) -> int:
    """Rows in the prediction log, of one version or of all."""
    table = prediction_logs
    query = select(func.count()).select_from(table).where(table.c.service_id == database.service_id(connection))
    if model_version is not None:
        query = query.where(table.c.model_version == model_version)
    return connection.execute(query).scalar_one()


def _in_time(
    connection: Connection, table: Table, start: datetime, end: datetime, model_version: str
) -> list[ColumnElement[bool]]:
    own = own_rows(connection, table, model_version)
    return [*own, table.c.timestamp >= start, table.c.timestamp < end]


def _settled_rows(
    connection: Connection, table: Table, marks: RowMarks, span: tuple[datetime, datetime], model_version: str
) -> list[ColumnElement[bool]]:
    """Conditions for the rows in `[start, end)` that earlier runs have settled."""
    start, end = span[0], min(span[1], marks.settled_before or span[1])
    is_open = within(table, marks.open_ids(), by_id=False)
    in_time = _in_time(connection, table, start, end, model_version)
    return [*in_time, _up_to(table.c.id, marks.settled_to), not_(is_open)]


def _up_to(row_id: ColumnElement[int], last: int) -> ColumnElement[bool]:
    # With the column alone SQLite would use the index of the id and scan the whole log, not the index of the time.
    return row_id + 0 <= last


def _log_query(connection: Connection) -> Select[Any]:
    table = prediction_logs
    return select(
        table.c.id,
        table.c.timestamp,
        _as_text(connection, table.c.input_summary),
        table.c.prediction,
        table.c.confidence_score,
        table.c.fallback_used,
        table.c.model_error,
    )


def _as_text(connection: Connection, document: ColumnElement[Any]) -> ColumnElement[str]:
    """A document as its stored text, because parsing many documents at once is several times faster than one by one."""
    return type_coerce(document, Text) if connection.dialect.name == "sqlite" else cast(document, Text)


def _log_rows(connection: Connection, query: Select[Any]) -> LogRows:
    rows = connection.execute(query).all()
    return LogRows(*zip(*rows, strict=True)) if rows else LogRows((), (), (), (), (), (), ())


def oldest_request_at(connection: Connection, requests: RequestTable, end: datetime) -> tuple[datetime, str] | None:
    """Timestamp and model version of the oldest row before `end`, or None."""
    table = metadata.tables[requests]
    rows = []
    for version in logged_versions(connection, requests):
        query = select(table.c.timestamp).where(*own_rows(connection, table, version), table.c.timestamp < end)
        at = connection.execute(query.order_by(table.c.timestamp).limit(1)).scalar()
        rows += [] if at is None else [(at, version)]
    return min(rows, default=None)


def request_ids(
    connection: Connection, requests: RequestTable, start: datetime, end: datetime, model_version: str
) -> list[int]:
    """Row ids of one version in `[start, end)`, ascending."""
    table = metadata.tables[requests]
    query = select(table.c.id).where(*_in_time(connection, table, start, end, model_version))
    return sorted(connection.execute(query).scalars())


def request_rows(connection: Connection, requests: RequestTable, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Whole rows by their ids, ascending; documents as their stored text."""
    table = metadata.tables[requests]
    columns = [
        _as_text(connection, column).label(column.name) if isinstance(column.type, JSON) else column
        for column in table.columns
    ]
    query = select(*columns).where(table.c.id.in_(ids)).order_by(table.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def pruned_before(connection: Connection) -> datetime | None:
    """The time before which requests may have been pruned, or None where none ever were."""
    is_own = prunes.c.service_id == database.service_id(connection)
    time: datetime | None = connection.execute(select(func.max(prunes.c.before)).where(is_own)).scalar()
    return time


def request_count(connection: Connection, requests: RequestTable, end: datetime) -> int:
    """Rows before `end`."""
    table = metadata.tables[requests]
    counts = []
    for version in logged_versions(connection, requests):
        own = own_rows(connection, table, version)
        query = select(func.count()).select_from(table).where(*own, table.c.timestamp < end)
        counts.append(connection.execute(query).scalar_one())
    return sum(counts)
