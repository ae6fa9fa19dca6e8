"""Queries for the log: predictions, refusals, prunes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    cast,
    exists,
    func,
    or_,
    select,
    type_coerce,
)

from stillsafe.core.signals import Evidence
from stillsafe.core.state import State
from stillsafe.store.tables import current_window_metrics, metadata, prediction_logs, prunes, refusals

BATCH_ROWS = 2_000  # a batch of this size fits into a processor's cache


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
    """

    ids: Sequence[int]
    fresh: Sequence[bool]
    input_summaries: Sequence[str]
    predictions: Sequence[str | None]
    confidences: Sequence[float | None]
    fallback_used: Sequence[bool]
    model_errors: Sequence[str | None]


def window_rows(
    connection: Connection, start: datetime, end: datetime, model_version: str, up_to_row: int | None = None
) -> LogRows:
    """The log's rows of one version in `[start, end)`, up to and including `up_to_row` if not None."""
    table = prediction_logs
    conditions = [table.c.timestamp >= start, table.c.timestamp < end, table.c.model_version == model_version]
    if up_to_row is not None:
        conditions.append(_up_to(table.c.id, up_to_row))
    return _log_rows(connection, _log_query(connection).where(and_(*conditions)).order_by(table.c.id))


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
    """The same rows in batches of at most `BATCH_ROWS`, in no order; those from `fresh_since` on are fresh."""
    table = prediction_logs
    id_columns = [table.c.id] if with_ids else []
    for since, until, fresh in ((start, min(fresh_since, end), False), (max(start, fresh_since), end, True)):
        query = select(
            _as_text(connection, table.c.input_summary),
            table.c.prediction,
            table.c.confidence_score,
            table.c.fallback_used,
            table.c.model_error,
            *id_columns,
        ).where(
            table.c.timestamp >= since,
            table.c.timestamp < until,
            table.c.model_version == model_version,
            _up_to(table.c.id, up_to_row),
        )
        # SQLite has no server-side cursors: it streams anyway, and faster without the option.
        stream = connection.dialect.supports_server_side_cursors
        result = connection.execute(query, execution_options={"stream_results": stream})
        # No column needs a conversion and there may be a million rows, so they come directly from the driver.
        while columns := list(zip(*result.cursor_strategy.fetchmany(result, result.cursor, BATCH_ROWS), strict=True)):
            ids = columns.pop() if with_ids else ()
            yield WindowRows(ids, [fresh] * len(columns[0]), *columns)


def window_row_count(connection: Connection, start: datetime, end: datetime, model_version: str, up_to_row: int) -> int:
    """Rows of one version in `[start, end)`, up to and including `up_to_row`."""
    table = prediction_logs
    query = select(func.count()).where(
        table.c.timestamp >= start,
        table.c.timestamp < end,
        table.c.model_version == model_version,
        _up_to(table.c.id, up_to_row),
    )
    return int(connection.execute(query).scalar_one())


def first_healthy_rows(connection: Connection, model_version: str, count: int) -> LogRows:
    """The first `count` healthy rows of one version.

    A row is healthy if the model answered it in the state NORMAL and no run deviated on it. The second condition is
    needed because the state changes only some runs after the first deviation.
    """
    table, run = prediction_logs, current_window_metrics
    in_deviating_run = exists().where(
        run.c.evidence == Evidence.BAD.value,
        run.c.model_version == model_version,
        table.c.timestamp >= run.c.window_start,
        or_(run.c.fresh_since.is_(None), table.c.timestamp >= run.c.fresh_since),
        table.c.timestamp < run.c.window_end,
    )
    query = _log_query(connection).where(
        table.c.model_version == model_version,
        table.c.system_state == State.NORMAL.value,
        table.c.fallback_used.is_(False),
        ~in_deviating_run,
    )
    return _log_rows(connection, query.order_by(table.c.id).limit(count))


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
    conditions = [refusals.c.timestamp >= start, refusals.c.timestamp < end, refusals.c.model_version == model_version]
    if up_to_row is not None:
        conditions.append(_up_to(refusals.c.id, up_to_row))
    return connection.execute(select(func.count()).select_from(refusals).where(*conditions)).scalar_one()


def last_request_at(
    connection: Connection, end: datetime, up_to_prediction: int | None = None, up_to_refusal: int | None = None
) -> datetime | None:
    """Time of the last request before `end`, answered or refused; up to and including the row ids if not None."""
    times = []
    for table, up_to in ((prediction_logs, up_to_prediction), (refusals, up_to_refusal)):
        query = select(func.max(table.c.timestamp)).where(table.c.timestamp < end)
        if up_to is not None:
            query = query.where(_up_to(table.c.id, up_to))
        times.append(connection.execute(query).scalar())
    return max((time for time in times if time is not None), default=None)


def prediction_count(connection: Connection, model_version: str | None = None) -> int:
    """Rows in the prediction log, of one version or of all."""
    query = select(func.count()).select_from(prediction_logs)
    if model_version is not None:
        query = query.where(prediction_logs.c.model_version == model_version)
    return connection.execute(query).scalar_one()


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


class RequestTable(StrEnum):
    """The names of the two tables that grow with every request; retention prunes no others."""

    PREDICTIONS = "prediction_logs"
    """Answered requests."""
    REFUSALS = "refusals"
    """Requests that broke the schema."""


def oldest_request_at(connection: Connection, requests: RequestTable, end: datetime) -> tuple[datetime, str] | None:
    """Timestamp and model version of the oldest row before `end`, or None."""
    table = metadata.tables[requests]
    query = select(table.c.timestamp, table.c.model_version).where(table.c.timestamp < end)
    row = connection.execute(query.order_by(table.c.timestamp, table.c.id).limit(1)).first()
    return None if row is None else (row.timestamp, row.model_version)


def request_ids(
    connection: Connection, requests: RequestTable, start: datetime, end: datetime, model_version: str
) -> list[int]:
    """Row ids of one version in `[start, end)`, ascending."""
    table = metadata.tables[requests]
    query = select(table.c.id).where(
        table.c.timestamp >= start, table.c.timestamp < end, table.c.model_version == model_version
    )
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
    time: datetime | None = connection.execute(select(func.max(prunes.c.before))).scalar()
    return time


def request_count(connection: Connection, requests: RequestTable, end: datetime) -> int:
    """Rows before `end`."""
    table = metadata.tables[requests]
    query = select(func.count()).select_from(table).where(table.c.timestamp < end)
    return int(connection.execute(query).scalar_one())
