"""The alerts of runs and actions stand in the outbox with what they are about, and change nothing of it."""

from dataclasses import replace
from typing import Any

import pytest

from stillsafe.monitoring import hold
from stillsafe.monitoring.alerts import append_alerts, failure_alerts
from stillsafe.settings_alerts import Alert
from stillsafe.store import database
from stillsafe.store.read.alerts import AlertRecord, recent_alerts
from stillsafe.store.read.runs import last_run
from tests.monitoring.conftest import STEP, Service

RECEIVERS = (Alert(name="chat", url_variable="TEST_URL"),)


def _alerts(service: Service) -> list[AlertRecord]:
    with database.reading(service.engine) as connection:
        return recent_alerts(connection, 100)[::-1]


def _break(_index: int, row: dict[str, Any]) -> None:
    row["size"] = None


@pytest.fixture
def alert_service(service: Service) -> Service:
    """A service with a baseline and a receiver."""
    return replace(service, settings=service.settings.model_copy(update={"alerts": RECEIVERS}))


def _degrade(service: Service) -> None:
    for _ in range(4):
        service.step(200, change=_break)


def test_an_incident_is_told_from_its_opening_to_its_end(alert_service: Service) -> None:
    """Each step once, with the incident and the state; a run that changes nothing is none."""
    _degrade(alert_service)
    for _ in range(12):
        alert_service.step(200)
    events = [each.event for each in _alerts(alert_service)]
    assert events[0] == "opened"
    assert "escalated" in events
    assert events[-1] == "recovered"
    assert len(events) <= 5
    assert len({each.incident_id for each in _alerts(alert_service)}) == 1
    assert len({each.alert_id for each in _alerts(alert_service)}) == len(events)
    assert all(each.document["text"] for each in _alerts(alert_service))


def test_a_failing_outbox_changes_no_decision(alert_service: Service, service: Service) -> None:
    """Without its table the run is stored, and decides the same."""
    with database.writing(alert_service.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE alerts RENAME TO gone")
    _degrade(alert_service)
    with database.reading(alert_service.engine) as connection:
        run = last_run(connection, alert_service.settings.model.version)
    assert run is not None
    assert (run.state_after, alert_service.state().value) == ("DEGRADED", "DEGRADED")


def test_holds_are_told_and_nobody_without_a_receiver(alert_service: Service, service: Service) -> None:
    """With who and why."""
    version, at = alert_service.settings.model.version, alert_service.now
    hold.hold(alert_service.engine, version, by="ann", reason="a test", at=at, settings=service.settings)
    hold.release(alert_service.engine, version, by="ann", reason="over", at=at + STEP, settings=service.settings)
    assert _alerts(alert_service) == []
    hold.hold(
        alert_service.engine, version, by="ann", reason="a test", at=at + 2 * STEP, settings=alert_service.settings
    )
    hold.release(
        alert_service.engine, version, by="bob", reason="over", at=at + 3 * STEP, settings=alert_service.settings
    )
    assert [(each.event, each.document["text"]) for each in _alerts(alert_service)] == [
        ("hold", "By ann: a test"),
        ("release", "By bob: over"),
    ]


def test_a_failure_is_told_once_until_a_run_succeeds(alert_service: Service) -> None:
    """Then its end is."""
    for _ in range(2):
        with database.writing(alert_service.engine) as connection:
            append_alerts(
                connection,
                alert_service.settings,
                failure_alerts(connection, alert_service.settings, alert_service.now, "It failed."),
            )
    for _ in range(2):
        alert_service.step(200)
    assert [each.event for each in _alerts(alert_service)] == ["monitor_failed", "monitor_mended"]
