"""The events of an incident, in order of time."""

from dataclasses import replace
from datetime import timedelta

from stillsafe.dashboard.incident_events import incident_events
from stillsafe.store.read.alerts import AlertRecord
from stillsafe.store.read.incidents import IncidentRecord
from stillsafe.store.read.runs import ActionRecord

from .story import START

HOUR = timedelta(hours=1)
INCIDENT = IncidentRecord("inc", START, "CRITICAL", [], "It broke.", True, False, START + HOUR, None, None, "1", "b")


def alert(**more: object) -> AlertRecord:
    return replace(AlertRecord("a", "escalated", "1", "inc", START + HOUR, {}), **more)  # type: ignore[arg-type] # as each test needs


def test_steps_actions_and_alerts_are_in_order() -> None:
    """From the opening to the recovery."""
    incident = replace(INCIDENT, resolved=True, resolved_at=START + 3 * HOUR, resolution="Recovered.")
    hold = ActionRecord(1, START + 2 * HOUR, "hold", "ada", "a drill", None)
    events = incident_events(incident, [hold], [alert(deliveries={"on-call": (START + HOUR).isoformat()})])
    assert [(event.kind, event.title) for event in events] == [
        ("watch", "Opened"),
        ("danger", "Escalated to CRITICAL"),
        ("alert", "Alert: escalated"),
        ("operator", "Hold by ada"),
        ("calm", "Resolved"),
    ]
    assert events[1].text == "The fallback answers from here on."
    assert events[2].text == "Delivered to on-call at 2026-03-01T13:00:00Z."
    assert events[-1].text == "Recovered."


def test_an_incident_may_begin_at_its_worst() -> None:
    """Then it was not escalated."""
    incident = replace(INCIDENT, escalated_at=None, fallback_ended_at=START + HOUR, fallback_ended_reason="Mild now.")
    assert [(event.title, event.text) for event in incident_events(incident, [], [])] == [
        ("Opened as CRITICAL", "The fallback answers from here on."),
        ("The model answers again", "Mild now."),
    ]


def test_an_alert_that_failed_says_why() -> None:
    """So that a person who was not woken learns the reason; a time that is none stays as it is."""
    texts = [
        incident_events(INCIDENT, [], [each])[-1].text
        for each in (
            alert(attempts=3, failure="on-call: refused"),
            alert(attempts=1, failure="on-call: refused"),
            alert(),
            alert(is_done=True),
            alert(deliveries={"on-call": "soon"}),
        )
    ]
    assert texts == [
        "3 attempts failed. on-call: refused.",
        "One attempt failed. on-call: refused.",
        "Not delivered yet.",
        "Nobody receives it.",
        "Delivered to on-call at soon.",
    ]
