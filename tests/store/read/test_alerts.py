"""The outbox is read in order, for one service."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection, Engine

from stillsafe.store import database
from stillsafe.store.read.alerts import (
    AlertRecord,
    has_alert,
    incident_alerts,
    newest_event,
    pending_alerts,
    recent_alerts,
)
from stillsafe.store.write.alerts import append_alert
from stillsafe.store.write.services import register_service
from tests.store.conftest import START


def alert(number: int, event: str = "opened", version: str = "1") -> AlertRecord:
    """An alert of the outbox."""
    at = START + timedelta(minutes=number)
    return AlertRecord(f"a{number}", event, version, None, at, {"text": "because", "state": None})


def test_pending_alerts_are_in_order_and_recent_ones_newest_first(connection: Connection) -> None:
    """With every field as it was written."""
    for number in range(3):
        append_alert(connection, alert(number))
    assert [each.alert_id for each in pending_alerts(connection)] == ["a0", "a1", "a2"]
    assert [each.alert_id for each in recent_alerts(connection, 2)] == ["a2", "a1"]
    (first, *_) = pending_alerts(connection)
    assert (first.at, first.document, first.deliveries, first.is_done) == (START, alert(0).document, {}, False)
    assert has_alert(connection, "a1")
    assert not has_alert(connection, "a9")


def test_the_newest_event_of_a_version_is_known(connection: Connection) -> None:
    """Among the events that are asked for."""
    append_alert(connection, alert(0, "monitor_failed"))
    append_alert(connection, alert(1, "monitor_mended", "2"))
    append_alert(connection, alert(2, "opened"))
    assert newest_event(connection, "1", ["monitor_failed", "monitor_mended"]) == "monitor_failed"
    assert newest_event(connection, "3", ["opened"]) is None


def test_the_alerts_of_an_incident_are_in_order(connection: Connection) -> None:
    """Those of another incident, or of none, are left out."""
    for number, incident_id in enumerate(("inc-1", "inc-2", "inc-1", None)):
        append_alert(connection, replace(alert(number), incident_id=incident_id))
    assert [each.alert_id for each in incident_alerts(connection, "inc-1")] == ["a0", "a2"]


def test_services_do_not_see_one_another(engine: Engine) -> None:
    """Nor do their senders."""
    loans, prices = (engine.execution_options(service=name) for name in ("loans", "prices"))
    for number, each in enumerate((loans, prices)):
        with database.writing(each) as connection:
            register_service(connection)
            append_alert(connection, alert(number))
    with database.reading(prices) as connection:
        assert [each.alert_id for each in pending_alerts(connection)] == ["a1"]
