"""Queries for labels: what the truth about a prediction is, and what it was said to be before."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, ScalarSelect, select

from stillsafe.store import database
from stillsafe.store.tables import labels, prediction_logs


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


def label_in_force(prediction_id: ColumnElement[str]) -> ScalarSelect[str]:
    """The label of a prediction in a query of others, or null."""
    table = labels
    query = select(table.c.label).where(table.c.prediction_id == prediction_id)
    return query.order_by(table.c.id.desc()).limit(1).scalar_subquery()
