"""INSERT and DELETE of `labels`. A correction is one more row: the history stays."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, delete, exists, insert, select

from stillsafe.store import database
from stillsafe.store.codec import storable
from stillsafe.store.tables import labels, prediction_logs

_COLUMNS = ("prediction_id", "label", "arrived_at", "service_id")


def append_labels(connection: Connection, pairs: Sequence[tuple[str, str]], arrived_at: datetime) -> None:
    """Insert labels in order, each as the prediction's identifier and the label's text."""
    if pairs:
        statement, has_names = _insertion(connection.dialect)
        bind = labels.c.arrived_at.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        fields = (arrived_at if bind is None else bind(arrived_at), database.service_id(connection))
        rows = [(prediction_id, storable(label), *fields) for prediction_id, label in pairs]
        parameters: list[Any] = [dict(zip(_COLUMNS, row, strict=True)) for row in rows] if has_names else rows
        connection.exec_driver_sql(statement, parameters)


@lru_cache(maxsize=8)
def _insertion(dialect: Dialect) -> tuple[str, bool]:
    """The INSERT for the driver, whose work costs less than SQLAlchemy's, and whether its parameters have names."""
    compiled = insert(labels).inline().compile(dialect=dialect, column_keys=[*_COLUMNS])
    return str(compiled), not compiled.positional


def delete_labels_of(connection: Connection, row_ids: Sequence[int]) -> None:
    """Delete the labels of predictions, by the row ids of the log, before their rows go."""
    log = prediction_logs
    predictions = select(log.c.prediction_id).where(log.c.id.in_(row_ids), log.c.prediction_id.isnot(None))
    connection.execute(delete(labels).where(labels.c.prediction_id.in_(predictions)))


def delete_orphans(connection: Connection, since: datetime) -> None:
    """Delete labels that arrived since a time and whose predictions are gone: their intake had found them before."""
    has_row = exists().where(prediction_logs.c.prediction_id == labels.c.prediction_id)
    is_own = labels.c.service_id == database.service_id(connection), labels.c.arrived_at >= since
    connection.execute(delete(labels).where(*is_own, ~has_row))


def delete_labels(connection: Connection, label_ids: Sequence[int]) -> None:
    """Delete labels by their own ids."""
    connection.execute(delete(labels).where(labels.c.id.in_(label_ids)))
