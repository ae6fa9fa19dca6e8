"""The message of an alert: its title and text for people, and its document for programs."""

from typing import Any
from urllib.parse import quote

from stillsafe.core.evidence.time_text import exact_time_text
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
    AlertEvent.MONITOR_STALE: "the monitor has stopped (seen by {host}): the model may degrade unnoticed",
    AlertEvent.MONITOR_BACK: "the monitor is back",
    AlertEvent.STORE_OUT: "the database is out (seen by {host})",
    AlertEvent.STORE_BACK: "{host} reaches the database again",
}
COMMANDS = {
    AlertEvent.OPENED: "stillsafe incidents show {incident_id}\nstillsafe hold --reason ...",
    AlertEvent.ESCALATED: "stillsafe incidents show {incident_id}\nstillsafe status",
    AlertEvent.FALLBACK_ENDED: "stillsafe incidents show {incident_id}",
    AlertEvent.RECOVERY: "stillsafe incidents show {incident_id}",
    AlertEvent.HOLD: "stillsafe release --reason ...",
    AlertEvent.NOT_JUDGED: "stillsafe status",
    AlertEvent.MONITOR_FAILED: "stillsafe monitor --try",
    AlertEvent.MONITOR_STALE: "stillsafe status\nstillsafe monitor --try",
    AlertEvent.STORE_OUT: "stillsafe check",
}
"""What a person types next."""
RESOLUTIONS = frozenset(
    {
        AlertEvent.RECOVERY,
        AlertEvent.RELEASE,
        AlertEvent.JUDGED,
        AlertEvent.MONITOR_MENDED,
        AlertEvent.MONITOR_BACK,
        AlertEvent.STORE_BACK,
    }
)
"""Events after which an earlier alert is over."""
_SUBJECTS = {
    AlertEvent.HOLD: "hold",
    AlertEvent.RELEASE: "hold",
    AlertEvent.NOT_JUDGED: "judging",
    AlertEvent.JUDGED: "judging",
    AlertEvent.MONITOR_FAILED: "monitor",
    AlertEvent.MONITOR_MENDED: "monitor",
    AlertEvent.MONITOR_STALE: "monitor stale",
    AlertEvent.MONITOR_BACK: "monitor stale",
}


def title_of(service: str, record: AlertRecord) -> str:
    """One line."""
    document = record.document
    words = TITLES[AlertEvent(record.event)].format(state=document.get("state"), host=document.get("host"))
    return f"{service} (model {record.model_version}) {words}"


def page_url(record: AlertRecord, dashboard_url: str | None) -> str | None:
    """Where a person reads more: the page of the incident, or the dashboard where the alert is about none."""
    if dashboard_url is None or record.incident_id is None or "?" in dashboard_url or "#" in dashboard_url:
        return dashboard_url
    return f"{dashboard_url.rstrip('/')}/dashboard/incidents/{quote(record.incident_id, safe='')}"


def text_of(record: AlertRecord, dashboard_url: str | None) -> str:
    """The cause with its numbers, the address of the page to read, the commands to type, and the alert's id."""
    commands = COMMANDS.get(AlertEvent(record.event), "").format(incident_id=record.incident_id)
    lines = [
        str(record.document.get("text") or ""),
        page_url(record, dashboard_url) or "",
        commands,
        f"Alert {record.alert_id}",
    ]
    return "\n".join(line for line in lines if line)


def document_of(service: str, record: AlertRecord, dashboard_url: str | None) -> dict[str, Any]:
    """The body of a webhook. Alerts with the same `subject` are about the same; `is_resolution` ends it."""
    event = AlertEvent(record.event)
    return {
        "alert_id": record.alert_id,
        "event": event.value,
        "service": service,
        "model_version": record.model_version,
        "subject": f"{service}/{record.model_version}/{_subject(event, record)}",
        "is_resolution": event in RESOLUTIONS,
        "incident_id": record.incident_id,
        "at": exact_time_text(record.at),
        "state": record.document.get("state"),
        "severity": record.document.get("severity"),
        "host": record.document.get("host"),
        "title": title_of(service, record),
        "text": text_of(record, dashboard_url),
        "dashboard_url": dashboard_url,
        "page_url": page_url(record, dashboard_url),
    }


def _subject(event: AlertEvent, record: AlertRecord) -> str:
    """What the alert is about: an incident, a host's way to the database, or another part of the service."""
    if event in (AlertEvent.STORE_OUT, AlertEvent.STORE_BACK):
        return f"store@{record.document.get('host')}"
    return record.incident_id or _SUBJECTS.get(event, event.value)
