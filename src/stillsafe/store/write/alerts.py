"""INSERT and UPDATE of `alerts`."""

from sqlalchemy import Connection, insert, update

from stillsafe.store import database
from stillsafe.store.read.alerts import AlertRecord, has_alert
from stillsafe.store.tables import alerts

_COLUMNS = [name for name in AlertRecord.__dataclass_fields__ if name != "id"]


def append_alert(connection: Connection, record: AlertRecord) -> None:
    """Insert an alert, unless the outbox has it."""
    if not has_alert(connection, record.alert_id):
        columns = {name: getattr(record, name) for name in _COLUMNS}
        connection.execute(insert(alerts).values(service_id=database.service_id(connection), **columns))


def update_delivery(connection: Connection, record: AlertRecord) -> None:
    """Write what became of the delivery of a stored alert."""
    columns = {name: getattr(record, name) for name in ("deliveries", "attempts", "failure", "is_done")}
    connection.execute(update(alerts).where(alerts.c.id == record.id).values(**columns))
