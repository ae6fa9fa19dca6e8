"""Delivers the outbox after the commit of what it is about: at least once to each receiver, by one sender at a time.

An alert is marked after it was sent, so a kill in between sends it twice, with the same id.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http.client import HTTPException
from urllib.request import Request, urlopen

from sqlalchemy import Engine

from stillsafe.alerting.channel import AlertFailed, send
from stillsafe.alerting.message import document_of
from stillsafe.logs import LogEvent, log_event
from stillsafe.monitoring.alerts import append_alerts, failure_alerts
from stillsafe.settings import Settings
from stillsafe.settings_alerts import Alert
from stillsafe.store import database
from stillsafe.store.read.alerts import AlertRecord, pending_alerts
from stillsafe.store.write.alerts import update_delivery

logger = logging.getLogger(__name__)

BUDGET_SECONDS = 20.0
"""Longest time that the deliveries of one run may take to begin: a dead receiver delays a run by no more."""
LONGEST_AGE = timedelta(days=1)
"""An alert that was not delivered for so long is given up."""
HEARTBEAT_SECONDS = 5.0
LOCK_SECONDS = 0.25
"""Pause before the lock of a sender is tried again: longer than from its last read of the outbox to its end."""


def deliver(engine: Engine, settings: Settings, now: datetime, monotonic: Callable[[], float] = time.monotonic) -> int:
    """Send what the outbox has to each receiver that lacks it; return how many deliveries there were.

    A receiver that fails is not tried again in the same run: its alerts stay in order, and the next run tries again.
    Whoever sends reads the outbox again until nothing new is in it. So an alert that another process appends meanwhile
    is sent too: by the sender, or by that process, which tries once more when the sender may have read for the last
    time.

    Args:
        engine: the store.
        settings: of the service.
        now: aware UTC.
        monotonic: seconds of a clock, for the budget.

    Raises:
        StoreError: the outbox cannot be read or written.
    """
    if not settings.alerts:
        return 0
    end, unreachable, lock_name = monotonic() + BUDGET_SECONDS, set[str](), f"alerts-{settings.service.name}"[:40]
    for is_last in (False, True):
        with database.try_lock(engine, lock_name) as owns_lock:
            if owns_lock:
                return sum(_deliveries(engine, settings, now, unreachable, lambda: monotonic() >= end))
        if not is_last:
            time.sleep(LOCK_SECONDS)
    return 0


def _deliveries(
    engine: Engine, settings: Settings, now: datetime, unreachable: set[str], is_over: Callable[[], bool]
) -> Iterator[bool]:
    """Whether each delivery succeeded, of the alerts that wait and of those that come meanwhile."""
    seen_ids = set[str]()
    while records := [each for each in _pending(engine) if each.alert_id not in seen_ids]:
        for record in records:
            seen_ids.add(record.alert_id)
            if now - record.at > LONGEST_AGE:
                _save(engine, replace(record, is_done=True))
                continue
            for receiver in _receivers(settings.alerts, record, unreachable):
                if is_over():
                    return
                record, is_delivered = _try(settings, receiver, record, now)
                _save(engine, record)
                unreachable |= set() if is_delivered else {receiver.name}
                yield is_delivered
            if not _receivers(settings.alerts, record, set()):
                _save(engine, replace(record, is_done=True))


def _pending(engine: Engine) -> list[AlertRecord]:
    with database.reading(engine) as connection:
        return pending_alerts(connection)


def deliver_record(
    settings: Settings, record: AlertRecord, now: datetime, save: Callable[[AlertRecord], None]
) -> AlertRecord:
    """Send one alert, which no outbox has yet, to each receiver that lacks it; return what became of it.

    Args:
        settings: of the service.
        record: the alert.
        now: aware UTC.
        save: keeps the record after each receiver, so that a kill sends it twice to one at most.
    """
    for receiver in _receivers(settings.alerts, record, set()):
        record, _ = _try(settings, receiver, record, now)
        save(record)
    return record


def announce(engine: Engine, settings: Settings, now: datetime, problem: str = "", *, is_good: bool = True) -> None:
    """Deliver the outbox after a run, whose commit nothing here changes, and say to `heartbeat_url` that it was good.

    Args:
        engine: the store.
        settings: of the service.
        now: end of the run's window, aware UTC.
        problem: why the run failed, which is an alert itself; empty otherwise.
        is_good: whether the run has judged. One that found another under way, which may hang, sends no heartbeat.
    """
    try:
        if problem and settings.alerts:
            with database.writing(engine) as connection:
                append_alerts(connection, settings, failure_alerts(connection, settings, now, problem))
        deliver(engine, settings, now)
    except Exception as error:  # noqa: BLE001 - the run is over, and an alert changes nothing about it
        log_event(logger, LogEvent.ALERT_LOST, error=error)
    if settings.monitor.heartbeat_url is not None and is_good and not problem:
        send_heartbeat(settings.monitor.heartbeat_url)


def send_heartbeat(url: str) -> None:
    """Say that a run was good. A failure is logged and raises nothing."""
    try:
        with urlopen(Request(url, method="GET"), timeout=HEARTBEAT_SECONDS) as response:  # noqa: S310 - http by the settings
            response.read(1)
    except (OSError, ValueError, HTTPException) as error:
        log_event(logger, LogEvent.HEARTBEAT_FAILED, {"error": type(error).__name__})


def _receivers(receivers: Sequence[Alert], record: AlertRecord, unreachable: set[str]) -> list[Alert]:
    """Who lacks an alert, wants it, and has not failed in this run."""
    return [
        each
        for each in receivers
        if record.event in each.events and each.name not in record.deliveries and each.name not in unreachable
    ]


def _try(settings: Settings, receiver: Alert, record: AlertRecord, now: datetime) -> tuple[AlertRecord, bool]:
    document = document_of(settings.service.name, record, receiver.dashboard_url)
    try:
        send(receiver, document, int(time.time()))  # not the end of the window: receivers refuse old signatures
    except AlertFailed as error:
        fields = {
            "receiver": receiver.name,
            "alert_event": record.event,
            "alert_id": record.alert_id,
            "error": str(error),
        }
        log_event(logger, LogEvent.ALERT_FAILED, fields)
        return replace(record, attempts=record.attempts + 1, failure=f"{receiver.name}: {error}"), False
    return replace(record, deliveries={**record.deliveries, receiver.name: now.isoformat()}, failure=None), True


def _save(engine: Engine, record: AlertRecord) -> None:
    with database.writing(engine) as connection:
        update_delivery(connection, record)
