"""The message of an alert: its title and text for people, and its document for programs."""

from typing import Any

from stillsafe.settings_alerts import AlertEvent
from stillsafe.store.read.alerts import AlertRecord

TITLES = {
    AlertEvent.OPENED: "{state}: an incident was opened",
    AlertEvent.ESCALATED: "{state}: the incident has escalated",
    AlertEvent.FALLBACK_ENDED: "{state}: the model answers again, and the incident goes on",
    AlertEvent.RECOVERY: "{state}: the incident is over",
    AlertEvent.HOLD: "{state}: an operator holds the service",
    AlertEvent.RELEASE: "{state}: the hold is over",
    AlertEvent.NOT_JUDGED: "not judged: the model may have degraded unnoticed",
    AlertEvent.JUDGED: "judged again",
    AlertEvent.MONITOR_FAILED: "the monitor failed",
    AlertEvent.MONITOR_MENDED: "the monitor runs again",
}
COMMANDS = {
    AlertEvent.OPENED: "stillsafe incidents show {incident_id}\nstillsafe hold --reason ...",
    AlertEvent.ESCALATED: "stillsafe incidents show {incident_id}\nstillsafe status",
    AlertEvent.FALLBACK_ENDED: "stillsafe incidents show {incident_id}",
    AlertEvent.RECOVERY: "stillsafe incidents show {incident_id}",
    AlertEvent.HOLD: "stillsafe release --reason ...",
    AlertEvent.NOT_JUDGED: "stillsafe status",
    AlertEvent.MONITOR_FAILED: "stillsafe monitor --try",
}
"""What a person types next."""
RESOLUTIONS = frozenset({AlertEvent.RECOVERY, AlertEvent.RELEASE, AlertEvent.JUDGED, AlertEvent.MONITOR_MENDED})
"""Events after which an earlier alert is over."""
_SUBJECTS = {
    AlertEvent.HOLD: "hold",
    AlertEvent.RELEASE: "hold",
    AlertEvent.NOT_JUDGED: "judging",
    AlertEvent.JUDGED: "judging",
    AlertEvent.MONITOR_FAILED: "monitor",
    AlertEvent.MONITOR_MENDED: "monitor",
}


def title_of(service: str, record: AlertRecord) -> str:
    """One line."""
    words = TITLES[AlertEvent(record.event)].format(state=record.document.get("state"))
    return f"{service} (model {record.model_version}) {words}"


def text_of(record: AlertRecord, dashboard_url: str | None) -> str:
    """The cause with its numbers, the address of the dashboard, the commands to type, and the alert's id."""
    commands = COMMANDS.get(AlertEvent(record.event), "").format(incident_id=record.incident_id)
    lines = [str(record.document.get("text") or ""), dashboard_url or "", commands, f"Alert {record.alert_id}"]
    return "\n".join(line for line in lines if line)


def document_of(service: str, record: AlertRecord, dashboard_url: str | None) -> dict[str, Any]:
    """The body of a webhook. Alerts with the same `subject` are about the same; `is_resolution` ends it."""
    event = AlertEvent(record.event)
    return {
        "alert_id": record.alert_id,
        "event": event.value,
        "service": service,
        "model_version": record.model_version,
        "subject": f"{service}/{record.model_version}/{record.incident_id or _SUBJECTS.get(event, event.value)}",
        "is_resolution": event in RESOLUTIONS,
        "incident_id": record.incident_id,
        "at": record.at.isoformat(),
        "state": record.document.get("state"),
        "severity": record.document.get("severity"),
        "title": title_of(service, record),
        "text": text_of(record, dashboard_url),
        "dashboard_url": dashboard_url,
    }
