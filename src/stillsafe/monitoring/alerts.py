"""The alerts of a run, of its failure and of an operator's action: rows of the outbox, in their transaction.

No decision reads them, and one that cannot be written changes nothing else.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from stillsafe.core.decide import Decision
from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.incident import IncidentEvent
from stillsafe.core.state import Hold
from stillsafe.logs import LogEvent, log_event
from stillsafe.settings import Settings
from stillsafe.settings_alerts import AlertEvent
from stillsafe.store import database
from stillsafe.store.read.alerts import AlertRecord, has_alert, newest_event
from stillsafe.store.write.alerts import append_alert

logger = logging.getLogger(__name__)

LONGEST_TEXT = 2_000
_HOST_EVENTS = (AlertEvent.STORE_OUT, AlertEvent.STORE_BACK)
"""Events of one host."""
_INCIDENT_EVENTS = {
    IncidentEvent.OPENED: AlertEvent.OPENED,
    IncidentEvent.ESCALATED: AlertEvent.ESCALATED,
    IncidentEvent.FALLBACK_ENDED: AlertEvent.FALLBACK_ENDED,
    IncidentEvent.RESOLVED: AlertEvent.RECOVERY,
}


def append_alerts(connection: Connection, settings: Settings, records: Iterable[AlertRecord]) -> None:
    """Write alerts to the outbox, if there is a receiver. One that cannot be written is logged, and nothing is raised.

    Args:
        connection: of the transaction of what the alerts are about.
        settings: of the service.
        records: of the alerts.
    """
    if not settings.alerts:
        return

    def write() -> None:
        for record in records:
            append_alert(connection, record)

    if (error := database.try_nested(connection, write)) is not None:
        log_event(logger, LogEvent.ALERT_LOST, {"error": str(error)})


def run_alerts(connection: Connection, settings: Settings, decision: Decision, at: datetime) -> Iterator[AlertRecord]:
    """The alerts of a run that has concluded: what it did to an incident, and whether requests are judged."""
    version, state = settings.model.version, decision.memory.effective_state.value
    incident = decision.incident
    if incident is not None:
        yield _record(
            settings,
            _INCIDENT_EVENTS[incident.event],
            at,
            incident.reason,
            incident_id=incident.incident_id,
            state=state,
            severity=incident.severity.value,
        )
    waiting_since = decision.memory.unjudged_since
    is_late = waiting_since is not None and (at - waiting_since).total_seconds() > settings.policy.not_judged_seconds
    pair = AlertEvent.NOT_JUDGED, AlertEvent.JUDGED
    sentence = "Runs reach no conclusions about the requests." if is_late else "Runs reach conclusions again."
    yield from _change(connection, settings, version, pair, at, sentence, is_wrong=is_late)
    mended = AlertEvent.MONITOR_FAILED, AlertEvent.MONITOR_MENDED
    yield from _change(connection, settings, version, mended, at, "A monitoring run succeeded.", is_wrong=False)
    silence = AlertEvent.MONITOR_STALE, AlertEvent.MONITOR_BACK
    yield from _change(connection, settings, version, silence, at, "A run has ended.", is_wrong=False)


def failure_alerts(connection: Connection, settings: Settings, at: datetime, problem: str) -> Iterator[AlertRecord]:
    """The alert of a run that failed; further failures until a run succeeds are the same alert."""
    pair = AlertEvent.MONITOR_FAILED, AlertEvent.MONITOR_MENDED
    yield from _change(connection, settings, settings.model.version, pair, at, problem, is_wrong=True)


def stale_alert(
    connection: Connection, settings: Settings, host: str, valid_until: datetime, now: datetime
) -> Iterator[AlertRecord]:
    """The alert of a serving process that the monitor has stopped; none where the outbox has it already.

    Args:
        connection: of the transaction that it is written in.
        settings: of the service.
        host: of the serving process.
        valid_until: when the monitor began to count as stale; the id follows from it, so all hosts have the same.
        now: aware UTC.
    """
    text = f"The last run's judgement was valid until {time_text(valid_until)}, and no run has ended since."
    record = _record(settings, AlertEvent.MONITOR_STALE, valid_until, text, host=host)
    if not has_alert(connection, record.alert_id):
        yield replace(record, at=now)


def outage_alerts(
    settings: Settings, host: str, at: datetime, fault: str, end: datetime | None = None
) -> tuple[AlertRecord, AlertRecord]:
    """The alerts of an outage of the database as a host sees it: its begin, and its end.

    Args:
        settings: of the service.
        host: its name; the ids of the alerts follow from it and from `at`.
        at: when the outage was first reported, aware UTC.
        fault: why the database cannot be used.
        end: when it could be used again, aware UTC, or None as long as it cannot.
    """
    is_spooled = settings.database_url.startswith("postgresql")
    sentence = (
        "Requests are answered by the last known state, and rows wait on the host."
        if is_spooled
        else ("Requests are answered with 503.")
    )
    begin = _record(settings, AlertEvent.STORE_OUT, at, f"{fault} {sentence}", host=host)
    text = f"The outage was noticed at {time_text(at)}."
    last = _record(settings, AlertEvent.STORE_BACK, at, text, host=host)
    return begin, replace(last, at=end or at)


def action_alert(settings: Settings, event: AlertEvent, action: Hold, state: str) -> AlertRecord:
    """The alert of a hold or a release."""
    return _record(settings, event, action.at, f"By {action.by}: {action.reason}", state=state)


def _change(
    connection: Connection,
    settings: Settings,
    version: str,
    pair: tuple[AlertEvent, AlertEvent],
    at: datetime,
    text: str,
    *,
    is_wrong: bool,
) -> Iterator[AlertRecord]:
    """An alert where a condition begins or ends: the first event of the pair, or the second one."""
    newest = newest_event(connection, version, [each.value for each in pair])
    if is_wrong != (newest == pair[0].value):
        yield _record(settings, pair[0] if is_wrong else pair[1], at, text)


def _record(
    settings: Settings, event: AlertEvent, at: datetime, text: str, *, incident_id: str | None = None, **facts: str
) -> AlertRecord:
    """An alert; the facts are its `state`, `severity` and `host`. Its id follows from all but text and facts."""
    version = settings.model.version
    subject = f"@{facts['host']}" if event in _HOST_EVENTS else incident_id or ""
    key = "\0".join([settings.service.name, version, event.value, subject, at.isoformat()])
    document = {"state": None, "severity": None, **facts, "text": text[:LONGEST_TEXT]}
    alert_id = hashlib.sha256(key.encode()).hexdigest()[:32]
    return AlertRecord(alert_id, event.value, version, incident_id, at, document)
