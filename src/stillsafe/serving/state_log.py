"""Logs when the state that a serving process applies changes: each condition once when it begins and once when it ends.

A serving process reads the state with every batch of requests, so only changes are logged.
"""

import logging
import os
from threading import Lock

from stillsafe.core.evidence.time_text import exact_time_text
from stillsafe.logs import LogEvent, log_event
from stillsafe.serving.failover import ServingState

logger = logging.getLogger(__name__)


class ServingStateLog:
    """Remembers what one serving process has logged about the state.

    Args:
        service: the service's name.
        model_version: the served version.
    """

    def __init__(self, service: str, model_version: str) -> None:
        self._fields = {"service": service, "model_version": model_version, "process": os.getpid()}
        self._conditions = {
            LogEvent.FALLBACK_STARTED: False,
            LogEvent.MONITOR_STALE: False,
            LogEvent.NOT_JUDGED: False,
        }
        self._lock = Lock()

    def note(self, state: ServingState, bypass_reason: str | None) -> None:
        """Log what has begun or ended since the last call.

        Args:
            state: the state that applies now.
            bypass_reason: why the fallback answers instead of the model, or None if the model answers.
        """
        conditions = {
            LogEvent.FALLBACK_STARTED: bypass_reason is not None,
            LogEvent.MONITOR_STALE: state.stale,
            LogEvent.NOT_JUDGED: not state.judged,
        }
        with self._lock:
            changes = [event for event, is_true in conditions.items() if self._conditions[event] is not is_true]
            self._conditions = conditions
        for event in changes:
            reason = bypass_reason if event is LogEvent.FALLBACK_STARTED else None
            self._log(event if conditions[event] else _ENDS[event], state, reason or state.reason)

    def _log(self, event: LogEvent, state: ServingState, reason: str) -> None:
        judged_at = None if state.judged_at is None else exact_time_text(state.judged_at)
        members = {"state": state.state.value, "reason": reason, "judged_at": judged_at}
        log_event(logger, event, {**self._fields, **{name: members[name] for name in members if name in event.fields}})


_ENDS = {
    LogEvent.FALLBACK_STARTED: LogEvent.FALLBACK_ENDED,
    LogEvent.MONITOR_STALE: LogEvent.MONITOR_RESUMED,
    LogEvent.NOT_JUDGED: LogEvent.JUDGED_AGAIN,
}
