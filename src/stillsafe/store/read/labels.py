"""Queries for labels: the one in force of each prediction, and those that it replaced."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, ScalarSelect, exists, func, select

from stillsafe.store import database
from stillsafe.store.read.row_selection import evidence_rows, own_rows
from stillsafe.store.tables import labels, prediction_logs

SECONDS_OF_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """One label of a prediction, as text, and when it arrived."""

    label: str
    arrived_at: datetime


def logged_ids(connection: Connection, prediction_ids: Collection[str]) -> set[str]:
    """Those of these identifiers that the log has."""
    log = prediction_logs
    is_own = log.c.service_id == database.service_id(connection)
    return set(
        connection.execute(select(log.c.prediction_id).where(log.c.prediction_id.in_(prediction_ids), is_own)).scalars()
    )


def current_labels(connection: Connection, prediction_ids: Collection[str]) -> dict[str, str]:
    """The label of each of these predictions that has one: the last that arrived."""
    table = labels
    query = select(table.c.prediction_id, table.c.label).where(table.c.prediction_id.in_(prediction_ids))
    return {row.prediction_id: row.label for row in connection.execute(query.order_by(table.c.id))}


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
    """

    prediction: str | None
    label: str | None
    fallback_used: bool
    count: int
    delay_seconds: float | None


def outcome_groups(connection: Connection, start: datetime, end: datetime, model_version: str) -> list[OutcomeGroup]:
    """The predictions of one version in `[start, end)` that are evidence, counted by answer, label and source."""
    log, label = prediction_logs, labels.alias("label")
    if connection.dialect.name == "sqlite":
        delay = (func.julianday(label.c.arrived_at) - func.julianday(log.c.timestamp)) * SECONDS_OF_DAY
    else:
        delay = func.extract("epoch", label.c.arrived_at - log.c.timestamp)
    keys = log.c.prediction, label.c.label, log.c.fallback_used
    query = select(*keys, func.count(), func.avg(delay)).select_from(log)
    query = query.outerjoin(label, label.c.prediction_id == log.c.prediction_id)
    in_span = log.c.timestamp >= start, log.c.timestamp < end
    newer = labels.alias("newer")
    is_newest = ~exists().where(newer.c.prediction_id == label.c.prediction_id, newer.c.id > label.c.id)
    conditions = *own_rows(connection, log, model_version), *evidence_rows(log), *in_span, is_newest
    return [
        OutcomeGroup(prediction, text, bool(by_fallback), int(count), None if text is None else float(mean))
        for prediction, text, by_fallback, count, mean in connection.execute(query.where(*conditions).group_by(*keys))
    ]


def label_in_force(prediction_id: ColumnElement[str]) -> ScalarSelect[str]:
    """The label of a prediction in a query of others, or null."""
    table = labels
    query = select(table.c.label).where(table.c.prediction_id == prediction_id)
    return query.order_by(table.c.id.desc()).limit(1).scalar_subquery()
