"""Queries for the ids that clients gave their requests, and for single predictions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from stillsafe.core.state import State
from stillsafe.store import database
from stillsafe.store.read.labels import label_in_force
from stillsafe.store.read.requests import RequestTable, logged_versions, request_rows
from stillsafe.store.read.row_selection import opaque, own_rows
from stillsafe.store.records import PredictionRecord, RequestId
from stillsafe.store.tables import prediction_logs, request_duplicates, request_ids

_MOST_IDS = 500
"""Most ids in one statement."""


@dataclass(frozen=True, slots=True)
class IdOwner:
    """The prediction that an id belongs to, the time of its request, and the keyed hash of its content."""

    prediction_id: str
    body_hash: str
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class LoggedPrediction:
    """One row of the prediction log.

    Attributes:
        id: the client's id of the request, or None.
        label: the label in force, as text, or None.
        is_duplicate: whether another answer to the same id came first; the row is no evidence then.
        trace_id: of the client's `traceparent`, else its `x-request-id`, or None.
    """

    prediction_id: str
    id: str | None
    is_duplicate: bool
    timestamp: datetime
    model_version: str
    system_state: str
    prediction: str | None
    label: str | None
    confidence: float | None
    fallback_used: bool
    decided_by: str | None
    reason: str | None
    model_error: str | None
    synthetic: bool
    features: dict[str, Any]
    trace_id: str | None = None


def answers_of(connection: Connection, prediction_ids: Sequence[str]) -> dict[str, Any]:
    """The logged answers of these predictions, each with its columns, by prediction_id."""
    log = prediction_logs
    columns = log.c.model_version, log.c.system_state, log.c.prediction, log.c.confidence_score, log.c.decided_by
    query = select(log.c.prediction_id, log.c.timestamp, log.c.reason, *columns)
    is_own, answers = log.c.service_id == database.service_id(connection), {}
    for start in range(0, len(prediction_ids), _MOST_IDS):
        part = prediction_ids[start : start + _MOST_IDS]
        for row in connection.execute(query.where(is_own, log.c.prediction_id.in_(part))):
            answers[row.prediction_id] = row
    return answers


def id_owners(connection: Connection, ids: Collection[str]) -> dict[str, IdOwner]:
    """The owner of each of these ids that has one."""
    table = request_ids
    query = select(table.c.id, table.c.prediction_id, table.c.body_hash, table.c.timestamp)
    rows = connection.execute(query.where(*_own_ids(connection, ids)))
    return {row.id: IdOwner(row.prediction_id, row.body_hash, row.timestamp) for row in rows}


def repeated_answers(connection: Connection, ids: Collection[str]) -> dict[str, PredictionRecord]:
    """The stored answer of each of these ids, as it was sent."""
    log, table = prediction_logs, request_ids
    query = select(log, table.c.id.label("request_id"), table.c.body_hash, table.c.answer)
    query = query.join(table, table.c.prediction_id == log.c.prediction_id)
    return {row.request_id: _answer(row) for row in connection.execute(query.where(*_own_ids(connection, ids)))}


def _own_ids(connection: Connection, ids: Collection[str]) -> list[ColumnElement[bool]]:
    return [request_ids.c.service_id == database.service_id(connection), request_ids.c.id.in_(ids)]


def _answer(row: Any) -> PredictionRecord:
    answer_fields: Mapping[str, Any] = row.answer
    columns = {
        name: getattr(row, name)
        for name in ("prediction_id", "timestamp", "model_version", "input_summary", "confidence_score")
    }
    flags = {name: getattr(row, name) for name in ("fallback_used", "reason", "model_error", "synthetic")}
    judged_at, pairs = answer_fields["judged_at"], answer_fields["probabilities"]
    values = {
        "judged_at": None if judged_at is None else datetime.fromisoformat(judged_at),
        "probabilities": None if pairs is None else dict(pairs),
        "system_state": State(row.system_state),
    }
    identity = RequestId(row.request_id, row.body_hash)
    fields = {**answer_fields, **columns, **flags, **values}
    return PredictionRecord(**fields, request_id=identity, is_repeat=True)


def prediction_by_id(connection: Connection, prediction_id: str) -> LoggedPrediction | None:
    """The logged prediction of an identifier, or None."""
    query = _logged_query(connection).where(prediction_logs.c.prediction_id == prediction_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _prediction_of(row)


def predictions_of_request(connection: Connection, request_id: str) -> list[LoggedPrediction]:
    """The prediction that has a client's id, and after it the duplicates of it that an outage left."""
    service = database.service_id(connection)
    ids: list[str] = []
    for table in (request_ids, request_duplicates):
        query = select(table.c.prediction_id).where(table.c.service_id == service, table.c.id == request_id)
        ids += connection.execute(query.order_by(table.c.timestamp)).scalars()
    predictions = [prediction_by_id(connection, each) for each in ids]
    return [each for each in predictions if each is not None]


def rows_with_ids(connection: Connection, requests: RequestTable, row_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Whole rows as `request_rows`; predictions with the id of their request, or None."""
    rows = request_rows(connection, requests, row_ids)
    if requests is not RequestTable.PREDICTIONS:
        return rows
    log, texts = prediction_logs, dict[str, str]()
    is_duplicate = request_duplicates.c.prediction_id == log.c.prediction_id
    for table, condition in ((request_duplicates, is_duplicate), (request_ids, is_id_of_row())):
        query = select(log.c.prediction_id, table.c.id).join(table, condition).where(log.c.id.in_(row_ids))
        texts |= {row.prediction_id: row.id for row in connection.execute(query)}
    return [row | {"request_id": texts.get(row["prediction_id"])} for row in rows]


def duplicate_count(connection: Connection) -> int:
    """Answers in the log whose id another answer had already. Earlier requests of an id that expired are none."""
    log, duplicate = prediction_logs, request_duplicates
    query = select(func.count()).select_from(duplicate).join(log, log.c.prediction_id == duplicate.c.prediction_id)
    is_own = and_(duplicate.c.service_id == database.service_id(connection), log.c.synthetic)
    return int(connection.execute(query.where(is_own)).scalar_one())


def is_id_of_row() -> ColumnElement[bool]:
    """Whether an id is that of a row of the log; they have one time, by which the index finds it."""
    log, table = prediction_logs, request_ids
    return and_(table.c.timestamp == log.c.timestamp, table.c.prediction_id == log.c.prediction_id)


def logged_span(connection: Connection, start: datetime, end: datetime) -> tuple[int, int, int]:
    """Lowest and highest row id, and the number, of the predictions in `[start, end)`; zeros without any."""
    log = prediction_logs
    counts = []
    for version in logged_versions(connection, RequestTable.PREDICTIONS):
        query = select(func.min(log.c.id), func.max(log.c.id), func.count()).select_from(log)
        own = own_rows(connection, log, version)
        counts.append(connection.execute(query.where(*own, log.c.timestamp >= start, log.c.timestamp < end)).one())
    counts = [each for each in counts if each[2]]
    if not counts:
        return 0, 0, 0
    return min(each[0] for each in counts), max(each[1] for each in counts), sum(each[2] for each in counts)


def logged_page(
    connection: Connection, ids: tuple[int, int], span: tuple[datetime, datetime], limit: int
) -> tuple[list[LoggedPrediction], int]:
    """The first predictions of a span among these row ids, in order, and the last row id of them; 0 without any."""
    log = prediction_logs
    in_time = log.c.id.between(*ids), opaque(log.c.timestamp) >= span[0], opaque(log.c.timestamp) < span[1]
    rows = connection.execute(_logged_query(connection).where(*in_time).order_by(log.c.id).limit(limit)).all()
    return [_prediction_of(row) for row in rows], rows[-1].id if rows else 0


def _logged_query(connection: Connection) -> Select[Any]:
    log, duplicate = prediction_logs, request_duplicates
    request_id = func.coalesce(request_ids.c.id, duplicate.c.id).label("request_id")
    label = label_in_force(log.c.prediction_id).label("label")
    query = select(log, request_id, label, and_(duplicate.c.id.isnot(None), log.c.synthetic).label("is_duplicate"))
    query = query.outerjoin(request_ids, is_id_of_row())
    query = query.outerjoin(duplicate, duplicate.c.prediction_id == log.c.prediction_id)
    return query.where(log.c.service_id == database.service_id(connection))


def _prediction_of(row: Any) -> LoggedPrediction:
    return LoggedPrediction(
        prediction_id=row.prediction_id,
        id=row.request_id,
        is_duplicate=bool(row.is_duplicate),
        timestamp=row.timestamp,
        model_version=row.model_version,
        system_state=row.system_state,
        prediction=row.prediction,
        label=row.label,
        confidence=row.confidence_score,
        fallback_used=row.fallback_used,
        decided_by=row.decided_by,
        reason=row.reason,
        model_error=row.model_error,
        synthetic=row.synthetic,
        features=row.input_summary,
        trace_id=row.trace_id,
    )
