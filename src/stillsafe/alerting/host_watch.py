"""Alerts of a serving process about what the monitor cannot report: an outage of the database, its own standstill.

A thread reads the store, never a request. An outage is reported once per host, by a note beside the settings that its
processes share, because the outbox is in the database that is out. Once that is back, the note goes to the outbox with
its end. A monitor that has stopped is in the outbox at once, with an id that follows from its last run: every host
writes the same alert. Nothing here changes an answer or a decision.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from sqlalchemy import Connection

from stillsafe.alerting.delivery import deliver, deliver_record
from stillsafe.errors import StoreError
from stillsafe.logs import LogEvent, log_event
from stillsafe.monitoring.alerts import append_alerts, outage_alerts, stale_alert
from stillsafe.serving.predict import Context
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import dumps, stored_value, to_document
from stillsafe.store.disk import try_lock_file, write_private
from stillsafe.store.read.alerts import AlertRecord
from stillsafe.store.read.state import StateRecord, current_state

logger = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
"""Pause between two reads of the store."""
OUTAGE_SECONDS = 30.0
"""A database that is out for less is restarted or fails over, which the spool bridges."""
RETRY_SECONDS = 60.0
"""Pause before a receiver that failed is tried again."""


class OutageNote:
    """The alert of an outage, in a file that the processes of one host share; in memory where it cannot be written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._record: AlertRecord | None = None

    @contextmanager
    def try_lock(self) -> Iterator[bool]:
        """Become the process that sends for the block; False where another one is. Where no file can be, each is."""
        with ExitStack() as stack:
            try:
                owns_lock = stack.enter_context(try_lock_file(self._file.with_suffix(".lock")))
            except StoreError:
                owns_lock = True
            yield owns_lock

    def read(self) -> AlertRecord | None:
        """The alert, or None without an outage."""
        try:
            return stored_value(AlertRecord, json.loads(self._file.read_bytes()))
        except (OSError, ValueError):
            return self._record

    def write(self, record: AlertRecord) -> None:
        """Keep the alert, at once or not at all."""
        self._record = record
        draft = self._file.with_suffix(f".{os.getpid()}.new")
        try:
            write_private(draft, dumps(to_document(record)).encode())
            draft.replace(self._file)
        except OSError as error:
            log_event(logger, LogEvent.ALERT_LOST, {"error": f"The note of the outage cannot be written: {error}"})

    def delete(self) -> None:
        """Forget the alert."""
        self._record = None
        self._file.unlink(missing_ok=True)


class HostWatch:
    """Watches the store for the receivers of a service's alerts.

    Args:
        context: of the serving process.
        host: its name, which the alerts have.
        monotonic: seconds of a clock, for what lasts.
    """

    def __init__(self, context: Context, host: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._host = host
        self._monotonic = monotonic
        self._note = OutageNote(context.settings.spool_file.with_suffix(".outage.json"))
        self._out_since: float | None = None
        self._next_try = 0.0
        self._stop_event = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the thread. No effect if it runs already."""
        if self._thread is None:
            self._stop_event.clear()
            self._thread = Thread(target=self._work, name="stillsafe-alerts", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread; what it sends just now may still arrive."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop_event.set()
            thread.join(1.0)

    def check(self) -> None:
        """Read the store once, and send what follows.

        Raises:
            StoreError: the outbox or the lock cannot be used.
        """
        try:
            with self._context.reading() as connection:
                state = self._state(connection)
        except StoreError as error:
            self._report_outage(str(error))
            return
        fault = self._write_fault()
        if fault is not None:
            self._report_outage(fault)
            return
        self._out_since = None
        if self._note.read() is not None:
            with self._note.try_lock() as owns_lock:
                if owns_lock:
                    self._end_outage()
        self._judge_monitor(state)

    @property
    def _settings(self) -> Settings:
        return self._context.settings

    def _write_fault(self) -> str | None:
        """Why a store that can be read takes no answers, such as a full disk; None if it takes them."""
        if self._context.failover is not None and self._context.failover.fault is not None:
            return self._context.failover.fault
        return None if self._context.answer_log.error is None else str(self._context.answer_log.error)

    def _state(self, connection: Connection) -> StateRecord | None:
        return current_state(connection, self._settings.model.version)

    def _work(self) -> None:
        while not self._stop_event.wait(CHECK_SECONDS):
            try:
                self.check()
            except Exception as error:  # noqa: BLE001 - a failing alert changes nothing, and the next check follows
                log_event(logger, LogEvent.ALERT_LOST, error=error)

    def _report_outage(self, fault: str) -> None:
        """Send the alert of an outage to each receiver that lacks it."""
        now = self._monotonic()
        self._out_since = now if self._out_since is None else self._out_since
        if now - self._out_since < OUTAGE_SECONDS or now < self._next_try:
            return
        self._next_try = now + RETRY_SECONDS
        with self._note.try_lock() as owns_lock:
            if not owns_lock:
                return
            at = self._context.clock()
            record = self._note.read() or outage_alerts(self._settings, self._host, at, fault)[0]
            self._note.write(record)
            deliver_record(self._settings, record, at, self._note.write)

    def _end_outage(self) -> None:
        """Move the alert of an outage that is over to the outbox, with its end, and deliver both."""
        record = self._note.read()
        if record is None:
            return
        now = self._context.clock()
        _, end = outage_alerts(self._settings, record.document.get("host", self._host), record.at, "", now)
        end = replace(end, model_version=record.model_version)  # the process may have been replaced meanwhile
        with database.writing(self._context.engine) as connection:
            append_alerts(connection, self._settings, [record, end])
        self._note.delete()
        self._next_try = 0.0
        deliver(self._context.engine, self._settings, now)

    def _judge_monitor(self, state: StateRecord | None) -> None:
        """Send the alert of a monitor that has run and has stopped."""
        now = self._context.clock()
        if state is None or state.valid_until is None or not state.stale(now) or self._monotonic() < self._next_try:
            return
        self._next_try = self._monotonic() + RETRY_SECONDS
        with database.writing(self._context.engine) as connection:
            record = stale_alert(connection, self._settings, self._host, state.valid_until, now)
            append_alerts(connection, self._settings, record)
        deliver(self._context.engine, self._settings, now)


def host_watch(context: Context) -> HostWatch | None:
    """The watch of a serving process; None where nobody receives alerts."""
    return HostWatch(context, socket.gethostname()) if context.settings.alerts else None
