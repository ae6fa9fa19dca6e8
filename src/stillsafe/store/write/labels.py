"""INSERT and DELETE of `labels`. A correction is one more row: the history stays."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from stillsafe.store import database
from stillsafe.store.tables import labels, prediction_logs


def append_labels(connection: Connection, pairs: Sequence[tuple[str, str]], arrived_at: datetime) -> None:
    """Insert labels in order, each as the prediction's identifier and the label's text."""
    if pairs:
        fields = {"service_id": database.service_id(connection), "arrived_at": arrived_at}
        rows = [{"prediction_id": prediction_id, "label": label, **fields} for prediction_id, label in pairs]
        connection.execute(insert(labels).inline(), rows)


def delete_labels_of(connection: Connection, row_ids: Sequence[int]) -> None:
    """Delete the labels of predictions, by the row ids of the log, before their rows go."""
    log = prediction_logs
    predictions = select(log.c.prediction_id).where(log.c.id.in_(row_ids), log.c.prediction_id.isnot(None))
    connection.execute(delete(labels).where(labels.c.prediction_id.in_(predictions)))
