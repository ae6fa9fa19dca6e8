"""Store failover: a service answers and records while its database server is out.

Meanwhile the last known state applies for a limited time, and rows go to the spool. Every call to the database has a
time limit. The first call that fails marks the store down: from then on no request calls it. One thread retries until
the database answers, then drains the spool in order.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from functools import partial
from threading import Event, Lock, Thread
from typing import TypeVar

from sqlalchemy import Connection, Engine

from stillsafe.core.state import State
from stillsafe.deadline import CallBroke, Deadline
from stillsafe.errors import RunRefused, StoreError, StoreUnavailable
from stillsafe.logs import LogEvent, log_event
from stillsafe.serving.recording_log import RecordingLog
from stillsafe.settings_sections import Serving
from stillsafe.store import database
from stillsafe.store.connection_registry import ConnectionRegistry
from stillsafe.store.spool import Spool, SpooledEntry

logger = logging.getLogger(__name__)

R = TypeVar("R")
WriteEntries = Callable[[Connection, Sequence[SpooledEntry]], None]
WriteSpool = Callable[[Spool], object]
BATCH_ENTRIES = 500
"""Most entries that move to the store in one commit: well below a second's work."""
HOLD_FRACTION = 1 / 6
"""Fraction of `store_timeout_seconds` for which a request is delayed while the spool drains, so that new rows cannot
outpace the drain."""
RETRY_SECONDS = 0.25
"""Pause between two checks of the store and the spool."""
HEARTBEAT_SECONDS = 1.0
"""Longest time between two reads of the state, so that an outage is noticed before a request waits for it."""
MAINTENANCE_TIMEOUT_SECONDS = 10.0
"""Time limit of calls that no request waits for: preparing the store, and moving a full batch."""
DRAIN_TIMEOUT_SECONDS = 60.0
"""How long a monitoring run waits for the spool to be empty."""


@dataclass(frozen=True, slots=True)
class ServingState:
    """What the store holds about the model at one moment.

    Attributes:
        state: the state that applies; NORMAL before the first decision.
        reason: why the state is what it is.
        damaged_features: features that the fallback's rules must not read.
        stale: whether the monitor has stopped or never run, so that the state may be out of date.
        watched: whether the served version has an active baseline.
        judged: whether runs still reach conclusions about the version's requests.
        judged_at: end of the window of the last run that did, or None.
    """

    state: State
    reason: str
    damaged_features: tuple[str, ...]
    stale: bool
    watched: bool
    judged: bool = False
    judged_at: datetime | None = None


UNKNOWN = ServingState(State.DEGRADED, "the state is unknown: it could not be read since the start", (), True, False)


class StoreStatus(Enum):
    """Whether the requests of this process use its database server."""

    #: Requests read the state from the store and write their rows to it.
    UP = "up"
    #: The store does not answer. Requests use the last known state and write their rows to the spool.
    OUT = "out"
    #: The store answers again. Requests read the state from it, and write their rows to the spool behind older rows.
    DRAINING = "draining"


class StoreEvent(Enum):
    """What changes a `StoreStatus`."""

    #: A call to the store failed or exceeded its time limit.
    CALL_FAILED = "call failed"
    #: The state was read from the store.
    STATE_READ = "state read"
    #: Rows of this process go to the spool.
    ROWS_SPOOLED = "rows spooled"
    #: The spool is empty, and no row of this process can arrive in it meanwhile.
    SPOOL_EMPTY = "spool empty"


_TRANSITIONS = {
    (StoreStatus.UP, StoreEvent.CALL_FAILED): StoreStatus.OUT,
    (StoreStatus.DRAINING, StoreEvent.CALL_FAILED): StoreStatus.OUT,
    (StoreStatus.OUT, StoreEvent.STATE_READ): StoreStatus.DRAINING,
    (StoreStatus.UP, StoreEvent.ROWS_SPOOLED): StoreStatus.DRAINING,
    (StoreStatus.DRAINING, StoreEvent.SPOOL_EMPTY): StoreStatus.UP,
}
"""The next status; any other event leaves the status unchanged."""


class Failover:
    """Keeps one process serving through outages of its database server.

    Args:
        engine: the store, on a server.
        spool: the file that receives rows during an outage.
        serving: time limits of the store, and how long a state that can no longer be read applies.
        read_state: reads the state from the store.
        write_entries: writes spooled entries to the tables, except those that the tables hold already.
        prepare: creates what the store lacks; runs once, before the first read.
    """

    def __init__(
        self,
        engine: Engine,
        spool: Spool,
        serving: Serving,
        *,
        read_state: Callable[[], ServingState],
        write_entries: WriteEntries,
        prepare: Callable[[], object],
    ) -> None:
        self.spool = spool
        self._engine = engine
        self._serving = serving
        self._read_state = read_state
        self._write_entries = write_entries
        self._prepare = prepare
        self._is_prepared = False
        self._connections = ConnectionRegistry(engine)
        self._deadlines = {name: Deadline(f"stillsafe-{name}") for name in ("rows", "refusals", "watch")}
        self._last_read: tuple[ServingState, float] | None = None
        self._status = StoreStatus.DRAINING if spool.count() else StoreStatus.UP
        self._fault = ""
        self._is_outage, self._waiting_count = False, 0
        self._log = RecordingLog(LogEvent.STORE_UNUSABLE, LogEvent.STORE_USABLE)
        self._status_lock = Lock()
        self._write_lock = Lock()
        self._stop_event = Event()
        self._watcher: Thread | None = None

    @property
    def status(self) -> StoreStatus:
        """Whether requests use the store."""
        return self._status

    @property
    def fault(self) -> str | None:
        """Why the store accepts no rows, until it does again; None if it does."""
        return self._fault if self._is_outage else None

    def open(self) -> None:
        """Prepare the store and read the state; a store that cannot be reached is marked down.

        Raises:
            StoreError: the store is of another version, or holds a damaged state.
        """
        try:
            self._call("watch", self._check_store, MAINTENANCE_TIMEOUT_SECONDS)
        except StoreUnavailable as error:
            self._mark_down(error)

    def start(self) -> None:
        """Start the thread that watches store and spool. No effect if it runs already."""
        if self._watcher is None:
            self._stop_event.clear()
            self._watcher = Thread(target=self._work, name="stillsafe-watcher", daemon=True)
            self._watcher.start()

    def stop(self) -> None:
        """End the threads and close the spool, whose rows stay there for the next process."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            self._stop_event.set()
            watcher.join(MAINTENANCE_TIMEOUT_SECONDS)
        for deadline in self._deadlines.values():
            deadline.close()
        self.spool.close()

    def state(self) -> ServingState:
        """The state that applies: the stored one, else the last known one, else DEGRADED.

        Raises:
            StoreError: the stored state is damaged, which waiting does not mend.
        """
        try:
            return self._call_store("rows", self._read)
        except StoreUnavailable:
            return self.last_state()

    def last_state(self) -> ServingState:
        """The state as last read, if that is recent enough; else DEGRADED, because unknown is not NORMAL."""
        if self._last_read is None:
            return UNKNOWN
        state, read_at = self._last_read
        longest = self._serving.max_state_age_seconds
        if time.monotonic() - read_at <= longest:
            return state
        reason = f"the state is unknown: it could not be read for more than {longest:g} s"
        return replace(state, state=State.DEGRADED, reason=reason, stale=True)

    def record(self, caller: str, write_spool: WriteSpool, write: Callable[[], None]) -> None:
        """Write to the store, or to the spool if the store is out or older rows wait in the spool.

        Args:
            caller: `rows` or `refusals`; each makes one call at a time.
            write_spool: writes entries to the spool; called only if they go there.
            write: writes the same to the store.

        Raises:
            StoreError: neither can be written, or the store rejects the rows for good.
        """
        with self._write_lock:
            if self._status is not StoreStatus.UP:
                self._write_spool(write_spool)
                return
        try:
            self._call_store(caller, write)
        except StoreUnavailable:
            with self._write_lock:
                self._write_spool(write_spool)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """As `database.reading`; fails at once during an outage, and is aborted when one begins.

        Raises:
            StoreError: the store is out or cannot be read.
        """
        self.require_store()
        with database.reading(self._engine) as connection:
            yield connection

    def _transition(self, event: StoreEvent) -> bool:
        """Apply an event, the only way in which the status changes; return whether it changed."""
        with self._status_lock:
            previous = self._status
            self._status = _TRANSITIONS.get((previous, event), previous)
            return self._status is not previous

    def _mark_down(self, error: StoreError) -> None:
        self._fault = str(error)
        if self._transition(StoreEvent.CALL_FAILED) and not self._is_outage:
            self._is_outage = True
            log_event(logger, LogEvent.STORE_OUT, {"error": str(error)})

    def _end_outage(self) -> None:
        """Log the end once the store accepts rows: a server whose disk is full still answers queries."""
        if self._is_outage:
            self._is_outage = False
            log_event(logger, LogEvent.STORE_BACK, {"spooled_rows": self._waiting_count})

    def _write_spool(self, write: WriteSpool) -> None:
        # Before the append: once a row may be in the spool, later rows must not overtake it.
        self._transition(StoreEvent.ROWS_SPOOLED)
        write(self.spool)

    def require_store(self) -> None:
        """Require that the store answers, for a call that cannot wait for it.

        Raises:
            StoreUnavailable: it is out.
        """
        if self._status is StoreStatus.OUT:
            raise StoreUnavailable(self._fault)

    def _call_store(self, caller: str, function: Callable[[], R]) -> R:
        self.require_store()
        try:
            return self._call(caller, function, self._serving.store_timeout_seconds)
        except StoreUnavailable as error:
            self._mark_down(error)
            raise

    def _call(self, caller: str, function: Callable[[], R], timeout_seconds: float) -> R:
        try:
            return self._deadlines[caller].call(function, timeout_seconds)
        except TimeoutError:
            self._connections.abort()
            raise StoreUnavailable(f"The database has not answered within {timeout_seconds:g} s.") from None
        except CallBroke as error:
            raise StoreUnavailable(f"A call to the database broke: {error}.") from error

    def _read(self) -> ServingState:
        try:
            state = self._read_state()
        except StoreUnavailable:
            raise
        except StoreError:
            self._last_read = None  # a damaged state may be any state, so the last one no longer applies
            raise
        self._last_read = state, time.monotonic()
        return state

    def _work(self) -> None:
        while not self._stop_event.wait(RETRY_SECONDS):
            try:
                self.check()
            except Exception as error:  # noqa: BLE001 - without this thread rows would stay in the spool, unnoticed
                log_event(logger, LogEvent.STORE_UNCHECKED, error=error)

    def check(self) -> None:
        """Check the store and drain the spool once, as the thread does again and again."""
        try:
            self._watch()
            self._log.note_success()
        except StoreUnavailable as error:
            self._mark_down(error)
        except StoreError as error:
            self._log.note_failure(error)

    def _watch(self) -> None:
        """Check the store if the last read is old or failed; then drain the spool."""
        is_due = self._last_read is None or time.monotonic() - self._last_read[1] > HEARTBEAT_SECONDS
        if is_due or self._status is StoreStatus.OUT:
            timeout = self._serving.store_timeout_seconds if self._is_prepared else MAINTENANCE_TIMEOUT_SECONDS
            self._call("watch", self._check_store, timeout)
        self._drain()

    def _check_store(self) -> None:
        if not self._is_prepared:
            self._prepare()
            self._is_prepared = True
        self._read()
        if self._status is StoreStatus.OUT:
            self._waiting_count = self.spool.count()
            self._transition(StoreEvent.STATE_READ)

    def _drain(self) -> None:
        """Move batch after batch until the spool is empty.

        At first new rows arrive unhindered. Once they arrive about as fast as the drain moves them, they are delayed;
        otherwise the spool would stay full for as long as the load lasts.
        """
        previous_count, hold = 0, False
        while (count := self.spool.count()) or self._status is StoreStatus.DRAINING:
            hold = hold or count <= BATCH_ENTRIES or 0 < previous_count < count + BATCH_ENTRIES // 2
            previous_count = count
            timeout = self._serving.store_timeout_seconds if hold else MAINTENANCE_TIMEOUT_SECONDS
            is_only_drainer = self._call("watch", partial(self._move, hold=hold), timeout)
            if not is_only_drainer or self._stop_event.is_set():
                return

    def _move(self, *, hold: bool) -> bool:
        """Move a batch, or with `hold` several while no row can arrive; return whether no other process drains.

        The last rows move with `hold`, so that later rows of this process follow them in the log.
        """
        with self._write_lock if hold else nullcontext(), self.spool.try_lock() as is_only_drainer:
            end = time.monotonic() + (HOLD_FRACTION * self._serving.store_timeout_seconds if hold else 0.0)
            while is_only_drainer and move_batch(self._engine, self.spool, self._write_entries):
                self._end_outage()
                if time.monotonic() >= end:
                    break
            if hold and not self.spool.count():
                self._transition(StoreEvent.SPOOL_EMPTY)
                self._end_outage()
        return is_only_drainer


def move_batch(engine: Engine, spool: Spool, write_entries: WriteEntries) -> int:
    """Move one batch from the spool to the store; return its size. Only one process at a time may do this.

    Raises:
        StoreError: the batch stays in the spool.
    """
    entries = spool.oldest(BATCH_ENTRIES)
    if entries:
        with database.writing(engine) as connection:
            write_entries(connection, entries)
        spool.delete_up_to(entries[-1].id)
        log_event(logger, LogEvent.SPOOL_DRAIN, {"entries": len(entries)})
    return len(entries)


def drain_spool(
    engine: Engine, spool: Spool, write_entries: WriteEntries, timeout_seconds: float = DRAIN_TIMEOUT_SECONDS
) -> None:
    """Empty the spool before a monitoring run, which must not evaluate a window while rows of it wait.

    Raises:
        RunRefused: rows arrive faster than they move.
        StoreError: the store or the spool cannot be written.
    """
    end = time.monotonic() + timeout_seconds
    while count := spool.count():
        if time.monotonic() > end:
            raise RunRefused(
                f"{count} entries still wait in the spool {spool.path.name}: the window would be incomplete. "
                "Start the run again when the load is lower."
            )
        with spool.try_lock() as is_only_drainer:
            if is_only_drainer:
                move_batch(engine, spool, write_entries)
        if not is_only_drainer:
            time.sleep(RETRY_SECONDS)  # a serving process drains at this moment
