"""Queries for labels: the one in force of each prediction, and those that it replaced."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, ScalarSelect, Select, and_, case, cast, exists, func, select

from stillsafe.store import database
from stillsafe.store.codec import dumps, storable
from stillsafe.store.read.row_selection import evidence_rows, own_rows
from stillsafe.store.tables import labels, prediction_logs, services

SECONDS_OF_DAY = 86400.0
PAGE_ROWS = 5_000
NUMBER = r"^-?[0-9]{1,255}(\.[0-9]*)?(e[-+]?[0-9]{1,2})?$"
_LABEL = labels.alias("label")
MOST_RECENT_LABELS = 10_000


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """One label of a prediction, as text, and when it arrived."""

    label: str
    arrived_at: datetime


@dataclass(frozen=True, slots=True)
class LabelTarget:
    """The prediction that an identifier means, and its label in force as text, or None."""

    prediction_id: str
    label: str | None


def label_targets(connection: Connection, keys: Sequence[str], *, by_request_id: bool) -> dict[str, LabelTarget]:
    """The target of each identifier that has one, by one statement of the driver.

    Args:
        connection: of the service.
        keys: the service's identifiers of predictions, or the clients' ids; sorted ones share pages of the index.
        by_request_id: which of the two they are.
    """
    is_sqlite, service = connection.dialect.name == "sqlite", database.service_id(connection)
    mark = "?" if is_sqlite else "%s"
    source = f"json_each({mark}) AS k" if is_sqlite else f"unnest({mark}::text[]) AS k(value)"
    if by_request_id:
        owner = f"JOIN request_ids AS p ON p.id = k.value AND p.service_id = {mark}"
    else:
        # Without a second service the index alone has the answer.
        is_shared = connection.execute(select(func.count()).select_from(services)).scalar_one() > 1
        condition = f"AND p.service_id = {mark}" if is_shared or not service else f"AND {mark} > 0"
        owner = f"JOIN prediction_logs AS p ON p.prediction_id = k.value {condition}"
    join = f"CROSS {owner}" if is_sqlite else owner
    label = "(SELECT l.label FROM labels AS l WHERE l.prediction_id = p.prediction_id ORDER BY l.id DESC LIMIT 1)"
    statement = f"SELECT k.value, p.prediction_id, {label} FROM {source} {join}"  # noqa: S608 - no value is in it
    texts = [storable(key) for key in keys]
    values = dumps(texts) if is_sqlite else texts
    rows = connection.exec_driver_sql(statement, (values, service))
    return {key: LabelTarget(prediction_id, text) for key, prediction_id, text in rows}


def feature_values(connection: Connection, feature: str) -> Iterator[tuple[str, Any]]:
    """Identifier and a feature's value of every prediction that is evidence, in the order of the log."""
    log, last = prediction_logs, 0
    own = log.c.service_id == database.service_id(connection), log.c.prediction_id.isnot(None), *evidence_rows(log)
    query = select(log.c.id, log.c.prediction_id, log.c.input_summary).where(*own).order_by(log.c.id).limit(PAGE_ROWS)
    while rows := connection.execute(query.where(log.c.id > last)).all():
        last = rows[-1].id
        yield from ((row.prediction_id, row.input_summary.get(feature)) for row in rows)


def label_history(connection: Connection, prediction_id: str) -> list[LabelEntry]:
    """Every label of a prediction, in order of arrival: the last one is in force, the others were corrected."""
    table = labels
    query = select(table.c.label, table.c.arrived_at).where(table.c.prediction_id == prediction_id)
    is_own = table.c.service_id == database.service_id(connection)
    return [LabelEntry(*row) for row in connection.execute(query.where(is_own).order_by(table.c.id))]


@dataclass(frozen=True, slots=True)
class OutcomeGroup:
    """Predictions of a time with the same answer, the same label and the same source of the answer.

    Attributes:
        prediction: the answer as text, or None where the fallback abstained.
        label: the label in force as text, or None where none has come.
        fallback_used: whether the fallback answered.
        count: predictions.
        delay_seconds: mean time from the request to the label, or None without a label.
        confidence: of the model in a labelled answer, where they are counted by it too; else None.
    """

    prediction: str | None
    label: str | None
    fallback_used: bool
    count: int
    delay_seconds: float | None
    confidence: float | None = None


def outcome_groups(
    connection: Connection, start: datetime, end: datetime, model_version: str, *, with_confidence: bool = False
) -> list[OutcomeGroup]:
    """The predictions of one version in `[start, end)` that are evidence, counted by answer, label and source.

    Args:
        connection: of the service.
        start: of the time, aware UTC.
        end: of the time, aware UTC.
        model_version: the version.
        with_confidence: whether labelled answers are counted by their confidence too.
    """
    log, label = prediction_logs, _LABEL
    confidence = case((label.c.label.isnot(None), log.c.confidence_score), else_=None)
    keys = [log.c.prediction, label.c.label, log.c.fallback_used, *([confidence] if with_confidence else [])]
    query = select(func.count(), func.avg(_delay(connection)), *keys)
    rows = connection.execute(_labelled(connection, query, start, end, model_version).group_by(*keys))
    return [
        OutcomeGroup(prediction, text, bool(by_fallback), int(count), None if text is None else float(mean), *others)
        for count, mean, prediction, text, by_fallback, *others in rows
    ]


@dataclass(frozen=True, slots=True)
class OutcomeSums:
    """Predictions of a time that are evidence, and how many of those with a label were right.

    Attributes:
        prediction_count: predictions.
        label_count: those that are answers and have a label.
        hit_count: of these, the ones whose answer is the label.
        distance: mean distance between answer and label where both are numbers, or None without labels.
        delay_seconds: mean time from the request to the label, or None without labels.
        example: one of the answers, or None without any.
    """

    prediction_count: int
    label_count: int
    hit_count: int
    distance: float | None
    delay_seconds: float | None
    example: str | None = None

    @property
    def are_decimals(self) -> bool:
        """Whether the answers are decimal numbers, as a regressor gives them."""
        text = self.example or ""
        return "." in text and re.fullmatch(NUMBER, text) is not None

    @property
    def coverage(self) -> float | None:
        """Share of the predictions that have a label, or None without predictions."""
        return self.label_count / self.prediction_count if self.prediction_count else None


def outcome_sums(connection: Connection, start: datetime, end: datetime, model_version: str) -> OutcomeSums:
    """The sums of the predictions of one version in `[start, end)`, by one query."""
    log, label = prediction_logs, _LABEL
    has_label = and_(label.c.label.isnot(None), log.c.prediction.isnot(None))
    numbers: list[ColumnElement[Any]] = [log.c.prediction, label.c.label]
    if connection.dialect.name == "postgresql":  # it refuses to cast a class that is no number
        numbers = [case((column.op("~")(NUMBER), column), else_=None) for column in numbers]
    distance = func.abs(cast(numbers[0], Float) - cast(numbers[1], Float))
    query = select(
        func.count(),
        func.count().filter(has_label),
        func.count().filter(has_label, log.c.prediction == label.c.label),
        func.avg(distance).filter(has_label),
        func.avg(_delay(connection)).filter(has_label),
        func.max(log.c.prediction),
    )
    return OutcomeSums(*connection.execute(_labelled(connection, query, start, end, model_version)).one())


def has_labels(connection: Connection) -> bool:
    """Whether any label has ever come."""
    is_own = labels.c.service_id == database.service_id(connection)
    return connection.execute(select(labels.c.id).where(is_own).limit(1)).scalar() is not None


def _delay(connection: Connection) -> ColumnElement[Any]:
    label_time, time = _LABEL.c.arrived_at, prediction_logs.c.timestamp
    if connection.dialect.name == "sqlite":
        return (func.julianday(label_time) - func.julianday(time)) * SECONDS_OF_DAY
    seconds: ColumnElement[Any] = func.extract("epoch", label_time - time)
    return seconds


def _labelled(
    connection: Connection, query: Select[Any], start: datetime, end: datetime, model_version: str
) -> Select[Any]:
    """A query of the predictions of a time that are evidence, each with the label in force, if any."""
    log, label, newer = prediction_logs, _LABEL, labels.alias("newer")
    query = query.select_from(log).outerjoin(label, label.c.prediction_id == log.c.prediction_id)
    in_span = log.c.timestamp >= start, log.c.timestamp < end
    is_newest = ~exists().where(newer.c.prediction_id == label.c.prediction_id, newer.c.id > label.c.id)
    return query.where(*own_rows(connection, log, model_version), *evidence_rows(log), *in_span, is_newest)


def last_labelled_at(connection: Connection, model_version: str) -> datetime | None:
    """Time of the newest row of a version among the predictions whose labels came last; None where none came."""
    log = prediction_logs
    recent = select(labels.c.prediction_id).order_by(labels.c.id.desc()).limit(MOST_RECENT_LABELS).subquery()
    query = select(func.max(log.c.timestamp)).join_from(recent, log, recent.c.prediction_id == log.c.prediction_id)
    newest: datetime | None = connection.execute(
        query.where(*own_rows(connection, log, model_version, by_id=True))
    ).scalar()
    return newest


def label_in_force(prediction_id: ColumnElement[str]) -> ScalarSelect[str]:
    """The label of a prediction in a query of others, or null."""
    table = labels
    query = select(table.c.label).where(table.c.prediction_id == prediction_id)
    return query.order_by(table.c.id.desc()).limit(1).scalar_subquery()
