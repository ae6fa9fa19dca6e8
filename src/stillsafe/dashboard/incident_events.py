"""What happened in an incident, in order of time: its steps, what operators did, the alerts that were sent. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from stillsafe.dashboard.formatting import moment
from stillsafe.store.read.alerts import AlertRecord
from stillsafe.store.read.incidents import IncidentRecord
from stillsafe.store.read.runs import ActionRecord


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        at: aware UTC.
        kind: `watch`, `danger`, `calm`, `operator` or `alert`.
        title: a few words.
        text: more, or empty. Untrusted: escape it before display.
    """

    at: datetime
    kind: str
    title: str
    text: str = ""


def incident_events(
    incident: IncidentRecord, actions: Iterable[ActionRecord], alerts: Iterable[AlertRecord]
) -> tuple[Event, ...]:
    """The events of an incident, oldest first.

    Args:
        incident: the incident.
        actions: of operators while it was open.
        alerts: about it.
    """
    events = [*_steps(incident), *_actions(actions), *map(_alert, alerts)]
    return tuple(sorted(events, key=lambda event: event.at))


def _steps(incident: IncidentRecord) -> Iterator[Event]:
    bypass = "The fallback answers from here on." if incident.fallback_activated else ""
    escalated_at = incident.escalated_at
    if escalated_at is None:
        yield Event(incident.detected_at, _kind(incident), f"Opened as {incident.severity}", bypass)
    else:
        yield Event(incident.detected_at, "watch", "Opened")
        yield Event(escalated_at, _kind(incident), f"Escalated to {incident.severity}", bypass)
    if incident.fallback_ended_at is not None:
        text = incident.fallback_ended_reason or ""
        yield Event(incident.fallback_ended_at, "watch", "The model answers again", text)
    if incident.resolved_at is not None:
        yield Event(incident.resolved_at, "calm", "Resolved", incident.resolution or "")


def _kind(incident: IncidentRecord) -> str:
    return "danger" if incident.severity == "CRITICAL" else "watch"


def _actions(actions: Iterable[ActionRecord]) -> Iterator[Event]:
    for action in actions:
        yield Event(action.at, "operator", f"{action.action.capitalize()} by {action.by}", action.reason)


def _alert(alert: AlertRecord) -> Event:
    """An alert, and to whom it was delivered."""
    title = f"Alert: {alert.event.replace('_', ' ')}"
    texts = [f"Delivered to {name} at {_time(at)}." for name, at in sorted(alert.deliveries.items())]
    if alert.failure is not None:
        attempts = f"{alert.attempts} attempts failed" if alert.attempts > 1 else "One attempt failed"
        texts.append(f"{attempts}. {alert.failure}.")
    elif not texts:
        texts.append("Not delivered yet." if not alert.is_done else "Nobody receives it.")
    return Event(alert.at, "alert", title, " ".join(texts))


def _time(text: str) -> str:
    try:
        return moment(datetime.fromisoformat(text))
    except ValueError:
        return text
