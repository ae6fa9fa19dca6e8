"""Labels in the store: a correction is one more row, and labels go with their predictions."""

from sqlalchemy import Connection, select

from stillsafe.store.read.labels import label_history
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.tables import labels
from stillsafe.store.write.labels import append_labels
from stillsafe.store.write.predictions import append_predictions
from stillsafe.store.write.retention import delete_requests
from tests.label_states import labels_in_force
from tests.store.conftest import at, prediction


def test_every_label_is_a_row_in_order(connection: Connection) -> None:
    """With the service, the time of arrival and the text; an empty batch writes nothing."""
    append_labels(connection, [("p1", "yes"), ("p2", "no"), ("p1", "no")], at(1))
    append_labels(connection, [], at(2))
    rows = connection.execute(select(labels).order_by(labels.c.id)).all()
    assert [(row.prediction_id, row.label, row.arrived_at, row.service_id) for row in rows] == [
        ("p1", "yes", at(1), 1),
        ("p2", "no", at(1), 1),
        ("p1", "no", at(1), 1),
    ]


def test_labels_go_with_their_predictions(connection: Connection) -> None:
    """The whole history of those, and nothing of others."""
    append_predictions(connection, [prediction(1), prediction(2)])
    append_labels(connection, [("p1", "yes"), ("p2", "no"), ("p1", "no")], at(1))
    delete_requests(connection, RequestTable.PREDICTIONS, [1])
    assert labels_in_force(connection, ["p1", "p2"]) == {"p2": "no"}
    assert label_history(connection, "p1") == []
