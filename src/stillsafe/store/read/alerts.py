"""Queries for the outbox of alerts."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from stillsafe.store import database
from stillsafe.store.codec import record_from_row
from stillsafe.store.tables import alerts


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One alert of the outbox.

    Attributes:
        alert_id: follows from what the alert is about, so a second one of the same is known as such.
        event: a value of `settings_alerts.AlertEvent`.
        model_version: the version that it is about.
        incident_id: the incident, or None.
        at: aware UTC.
        document: state, severity, title and text, as plain JSON types.
        deliveries: receiver -> time of its delivery, ISO 8601.
        attempts: how often the delivery to a receiver failed.
        failure: why the last attempt failed, or None.
        is_done: whether nothing more is sent.
        id: of the row; None before it is stored.
    """

    alert_id: str
    event: str
    model_version: str
    incident_id: str | None
    at: datetime
    document: dict[str, Any]
    deliveries: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    failure: str | None = None
    is_done: bool = False
    id: int | None = None


def pending_alerts(connection: Connection) -> list[AlertRecord]:
    """The alerts of the service that are not done, oldest first."""
    own = alerts.c.service_id == database.service_id(connection), alerts.c.is_done.is_(False)
    rows = connection.execute(select(alerts).where(*own).order_by(alerts.c.id))
    return [record_from_row(AlertRecord, row) for row in rows]


def recent_alerts(connection: Connection, limit: int) -> list[AlertRecord]:
    """The service's alerts, newest first."""
    own = alerts.c.service_id == database.service_id(connection)
    rows = connection.execute(select(alerts).where(own).order_by(alerts.c.id.desc()).limit(limit))
    return [record_from_row(AlertRecord, row) for row in rows]


def incident_alerts(connection: Connection, incident_id: str) -> list[AlertRecord]:
    """The alerts of an incident, oldest first."""
    own = alerts.c.service_id == database.service_id(connection), alerts.c.incident_id == incident_id
    rows = connection.execute(select(alerts).where(*own).order_by(alerts.c.id))
    return [record_from_row(AlertRecord, row) for row in rows]


def newest_event(connection: Connection, model_version: str, events: Collection[str]) -> str | None:
    """The last of these events of a version, or None."""
    own = alerts.c.service_id == database.service_id(connection), alerts.c.model_version == model_version
    query = select(alerts.c.event).where(*own, alerts.c.event.in_(events)).order_by(alerts.c.id.desc()).limit(1)
    return connection.execute(query).scalar()


def has_alert(connection: Connection, alert_id: str) -> bool:
    """Whether the outbox has an alert already."""
    return connection.execute(select(alerts.c.id).where(alerts.c.alert_id == alert_id)).scalar() is not None
