"""Logs when a process can no longer use its store, and when it can again: one line each, however many requests fail."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from stillsafe.errors import StillsafeError, StoreError
from stillsafe.logs import LogEvent, log_event

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""After an outage that is over the next one is logged only if it lasts this long: a disk that is nearly full lets some
batches through."""


class RecordingLog:
    """Remembers whether the last attempt to use the store failed.

    Args:
        begin: the event of the first failure.
        end: the event of the first success after it.
    """

    def __init__(self, begin: LogEvent, end: LogEvent) -> None:
        self.error: StoreError | None = None
        self._events = (begin, end)
        self._lock = Lock()
        self._failure_count = 0
        self._begin_seconds = 0.0
        self._end_seconds = float("-inf")
        self._is_logged = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Note how the block ends.

        Raises:
            StoreError: the block's own.
        """
        try:
            yield
        except StoreError as error:
            self.note_failure(error)
            raise
        self.note_success()

    def note_failure(self, error: StoreError) -> None:
        """Note a failure, and log the first one."""
        now = time.monotonic()
        with self._lock:
            if self.error is None:
                self._begin_seconds, self._failure_count = now, 0
            self.error = error
            self._failure_count += 1
            is_due = not self._is_logged and now - self._end_seconds >= PAUSE_SECONDS
            self._is_logged = self._is_logged or is_due
        if is_due:
            log_event(logger, self._events[0], {"error": str(error), "process": os.getpid()})

    def note_success(self) -> None:
        """Note a success, and log the first one after a failure."""
        if self.error is None:
            return
        now = time.monotonic()
        with self._lock:
            was_logged, self._is_logged, self.error, self._end_seconds = self._is_logged, False, None, now
            fields = {"failures": self._failure_count, "seconds": round(now - self._begin_seconds, 1)}
        if was_logged:
            log_event(logger, self._events[1], {**fields, "process": os.getpid()})


@contextmanager
def note_lost_refusals() -> Iterator[None]:
    """Swallow and log why refusals are not recorded: the client's refusal stays the same.

    Errors of the store are logged where an outage begins and ends.
    """
    try:
        yield
    except StoreError:
        return
    except StillsafeError as error:
        log_event(logger, LogEvent.REFUSALS_LOST, {"error": str(error)})
