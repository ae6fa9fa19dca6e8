"""The message of an alert: what a person reads, and what a program needs to close it again."""

from datetime import UTC, datetime

import pytest

from stillsafe.alerting.message import RESOLUTIONS, TITLES, document_of, text_of, title_of
from stillsafe.settings_alerts import AlertEvent
from stillsafe.store.read.alerts import AlertRecord

AT = datetime(2026, 3, 1, tzinfo=UTC)


def record(event: AlertEvent) -> AlertRecord:
    """An alert."""
    steps = (AlertEvent.OPENED, AlertEvent.ESCALATED, AlertEvent.FALLBACK_ENDED, AlertEvent.RECOVERY)
    incident_id = "inc-1" if event in steps else None
    words = {"state": "DEGRADED", "severity": "CRITICAL", "text": "size is missing in 40%.", "host": "web-1"}
    return AlertRecord("a1", event.value, "v1", incident_id, AT, words)


@pytest.mark.parametrize("event", AlertEvent)
def test_each_event_has_a_message(event: AlertEvent) -> None:
    """With service, version, cause, id and address."""
    assert title_of("stay", record(event)).startswith("stay (model v1) ")
    text = text_of(record(event), "https://host/stay")
    assert "size is missing in 40%." in text
    assert "https://host/stay" in text
    assert text.endswith("Alert a1")
    assert "None" not in text
    assert event in TITLES


@pytest.mark.parametrize("address", ["https://host/stay", "https://host/stay/"])
def test_an_alert_leads_to_the_page_of_its_incident(address: str) -> None:
    """Without a further click; an alert about no incident leads to the dashboard, and so does an odd address."""
    page = "https://host/stay/dashboard/incidents/inc-1"
    alert = record(AlertEvent.OPENED)
    assert page in text_of(alert, address).splitlines()
    assert document_of("stay", alert, address)["page_url"] == page
    assert document_of("stay", alert, address)["dashboard_url"] == address
    assert document_of("stay", record(AlertEvent.HOLD), address)["page_url"] == address
    assert document_of("stay", alert, "https://host/?page=1")["page_url"] == "https://host/?page=1"
    assert document_of("stay", alert, None)["page_url"] is None


def test_a_resolution_has_the_subject_of_what_it_ends() -> None:
    """So a pager can close what it opened."""
    pairs = [
        (AlertEvent.OPENED, AlertEvent.RECOVERY),
        (AlertEvent.HOLD, AlertEvent.RELEASE),
        (AlertEvent.NOT_JUDGED, AlertEvent.JUDGED),
        (AlertEvent.MONITOR_FAILED, AlertEvent.MONITOR_MENDED),
        (AlertEvent.MONITOR_STALE, AlertEvent.MONITOR_BACK),
        (AlertEvent.STORE_OUT, AlertEvent.STORE_BACK),
    ]
    subjects = set()
    for begin, end in pairs:
        documents = [document_of("stay", record(each), None) for each in (begin, end)]
        assert documents[0]["subject"] == documents[1]["subject"]
        assert [document["is_resolution"] for document in documents] == [False, True]
        subjects.add(documents[0]["subject"])
    assert len(subjects) == len(pairs)
    assert {end for _, end in pairs} == RESOLUTIONS
