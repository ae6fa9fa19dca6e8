"""What answering needs: settings, store, model and fallback, and what a process keeps between batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.fallback import Fallback
from stillsafe.deadline import Deadline
from stillsafe.logs import LogEvent
from stillsafe.model.consistency import UNKNOWN_CONSISTENCY, Consistency
from stillsafe.model.model import Model
from stillsafe.serving.failover import Failover
from stillsafe.serving.recording_log import RecordingLog
from stillsafe.serving.state_log import ServingStateLog
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.time_share import TimeShare
from stillsafe.tracing import tracer


@dataclass(frozen=True, slots=True)
class Context:
    """What answering needs.

    Attributes:
        settings: of the service.
        engine: its store.
        model: its model, checked against the schema.
        fallback: answers while the model is bypassed.
        clock: the current time, aware UTC.
        new_ids: identifiers of so many new predictions.
        deadline: calls the model with a time limit.
        write_lock: serialises the writers of this process, which is faster than waiting for the database's lock.
        failover: replaces the store during an outage of a database server; None for SQLite.
        reading_time: reads long lists and the dashboard's pages.
        consistency: whether the model answers as it did at `init`.
        tracer: makes spans of batches, model calls and commits, where the program has set up OpenTelemetry; or None.
        state_log: logs when the state that this process applies changes.
        answer_log, refusal_log: log when answers and refusals can no longer be recorded, and when they can again.
    """

    settings: Settings
    engine: Engine
    model: Model
    fallback: Fallback
    clock: Callable[[], datetime]
    new_ids: Callable[[int], Sequence[str]]
    deadline: Deadline = field(default_factory=partial(Deadline, "stillsafe-model"))
    write_lock: Lock = field(default_factory=Lock)
    failover: Failover | None = None
    reading_time: TimeShare = field(default_factory=TimeShare)
    consistency: Consistency = UNKNOWN_CONSISTENCY
    tracer: Any | None = field(default_factory=tracer)
    state_log: ServingStateLog = field(init=False)
    answer_log: RecordingLog = field(
        default_factory=partial(RecordingLog, LogEvent.ANSWERS_LOST, LogEvent.ANSWERS_BACK)
    )
    refusal_log: RecordingLog = field(
        default_factory=partial(RecordingLog, LogEvent.REFUSALS_LOST, LogEvent.REFUSALS_BACK)
    )

    def __post_init__(self) -> None:
        state_log = ServingStateLog(self.settings.service.name, self.settings.model.version)
        object.__setattr__(self, "state_log", state_log)

    def close(self) -> None:
        """End the threads and close the files and connections. A later call starts and opens them again."""
        if self.failover is not None:
            self.failover.stop()
        self.deadline.close()
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that reads one snapshot of the store.

        Raises:
            StoreError: the store is out or cannot be read.
        """
        with database.reading(self.engine) if self.failover is None else self.failover.reading() as connection:
            yield connection
