"""While the database is out: the last known state holds for a while, rows wait in the spool, and go home in order.

Every question to the database has a deadline here. The first one that fails begins an outage: from then on no
request asks, and one thread tries until the database is back and has every row that waited.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from threading import Event, Lock, Thread
from typing import TypeVar

from sqlalchemy import Connection, Engine

from stillsafe.core.state import State
from stillsafe.errors import RunRefused, StoreError, StoreUnavailable
from stillsafe.serving.deadline import CallBroke, Deadline
from stillsafe.settings import Serving
from stillsafe.store import database
from stillsafe.store.connection_registry import Line
from stillsafe.store.spool import Entry, Spool, Waiting

logger = logging.getLogger(__name__)

R = TypeVar("R")
Write = Callable[[Connection, Sequence[Waiting]], None]
BATCH = 500
"""Most entries that go home in one commit: well below a second's work."""
HELD_SHARE = 1 / 6
"""Of the time that the store may take: how long requests wait at a time for rows that they would otherwise outrun."""
PAUSE_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0
"""How often the state is read though nobody asks: an outage is noticed before a request pays for it."""
PATIENCE_SECONDS = 10.0
"""How long the database may take for what no request waits for: to be made ready, and a full batch."""
DRAINED_WITHIN_SECONDS = 60.0
"""How long a run of the monitor waits for the spool to be empty."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the store says about the model at one moment.

    Attributes:
        state: to be obeyed; NORMAL where nothing was ever decided.
        reason: why the state is what it is.
        damaged_features: features that the fallback must not lean on.
        stale: whether the monitor is dead or has never run, so that the state is not known to hold.
        watched: whether the served version has an active baseline.
    """

    state: State
    reason: str
    damaged_features: tuple[str, ...]
    stale: bool
    watched: bool


UNKNOWN = Orders(State.DEGRADED, "the state is unknown: it could not be read since the start", (), True, False)


class Outage:
    """One process's way through outages of its database server.

    Args:
        engine: the store, reached over a network.
        spool: where rows wait.
        serving: how long the store may take, and how long a state holds that can no longer be read.
        read: the state, from the store.
        write: entries of the spool to the tables; those that are there already are left as they are.
        prepare: makes the store usable where it was out at the start.
    """

    def __init__(
        self,
        engine: Engine,
        spool: Spool,
        serving: Serving,
        *,
        read: Callable[[], Orders],
        write: Write,
        prepare: Callable[[], object],
    ) -> None:
        self.spool = spool
        self.fault: str | None = None
        """Why the store is not asked now, or None."""
        self._engine = engine
        self._serving = serving
        self._read = read
        self._write = write
        self._prepare = prepare
        self._prepared = False
        self._line = Line(engine)
        self._deadlines = {name: Deadline() for name in ("rows", "refusals", "watch")}
        self._known: tuple[Orders, float] | None = None
        self._backlog = spool.count() > 0
        self._door = Lock()
        self._stopping = Event()
        self._watcher: Thread | None = None

    def begin(self) -> None:
        """Make the store ready; where it cannot be reached, begin in an outage.

        Raises:
            StoreError: it is of another version, or holds what cannot be read.
        """
        try:
            self._call("watch", self._look, PATIENCE_SECONDS)
        except StoreUnavailable as error:
            self._lost(error)

    def start(self) -> None:
        """Begin to watch over store and spool. Begun already, it stays so."""
        if self._watcher is None:
            self._stopping.clear()
            self._watcher = Thread(target=self._work, name="stillsafe-watcher", daemon=True)
            self._watcher.start()

    def stop(self) -> None:
        """Stop watching. What waits still waits, for whichever process comes next."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            self._stopping.set()
            watcher.join(PATIENCE_SECONDS)

    def orders(self) -> Orders:
        """The state to obey: as stored, else as last known, else unknown and therefore DEGRADED.

        Raises:
            StoreError: what is stored cannot be understood, which no waiting mends.
        """
        try:
            return self._ask("rows", self._heard)
        except StoreUnavailable:
            return self.last_known()

    def last_known(self) -> Orders:
        """The state as last read, if that is recent enough; else unknown, and therefore DEGRADED."""
        if self._known is None:
            return UNKNOWN
        orders, read_at = self._known
        longest = self._serving.max_state_age_seconds
        if time.monotonic() - read_at <= longest:
            return orders
        reason = f"the state is unknown: it could not be read for more than {longest:g} s"
        return replace(orders, state=State.DEGRADED, reason=reason, stale=True)

    def record(self, who: str, entries: Callable[[], Sequence[Entry]], write: Callable[[], None]) -> None:
        """Write to the store, or, where that fails or earlier rows still wait, to the spool.

        Args:
            who: `rows` or `refusals`; each has one caller at a time.
            entries: what is to wait, made only where it must.
            write: writes the same to the store.

        Raises:
            StoreError: neither can be written, or the store will never take it.
        """
        with self._door:
            if self.fault is not None or self._backlog:
                self._spool(entries())
                return
        try:
            self._ask(who, write)
        except StoreUnavailable:
            with self._door:
                self._spool(entries())

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """As `database.reading`, refused at once during an outage, and cut off when one begins.

        Raises:
            StoreError: the store is out or cannot be read.
        """
        if self.fault is not None:
            raise StoreUnavailable(self.fault)
        with database.reading(self._engine) as connection:
            yield connection

    def _spool(self, entries: Sequence[Entry]) -> None:
        self._backlog = True
        self.spool.append(entries)

    def _ask(self, who: str, function: Callable[[], R]) -> R:
        if self.fault is not None:
            raise StoreUnavailable(self.fault)
        try:
            return self._call(who, function, self._serving.store_timeout_seconds)
        except StoreUnavailable as error:
            self._lost(error)
            raise

    def _call(self, who: str, function: Callable[[], R], timeout_seconds: float) -> R:
        try:
            return self._deadlines[who].call(function, timeout_seconds)
        except TimeoutError:
            self._line.cut()
            raise StoreUnavailable(f"The database has not answered within {timeout_seconds:g} s.") from None
        except CallBroke as error:
            raise StoreUnavailable(f"Asking the database broke: {error}.") from error

    def _lost(self, error: StoreError) -> None:
        if self.fault is None:
            logger.error("the store is out; rows wait in the spool", extra={"fields": {"error": str(error)}})
        self.fault = str(error)

    def _heard(self) -> Orders:
        try:
            orders = self._read()
        except StoreUnavailable:
            raise
        except StoreError:
            self._known = None  # what it was before is no guide to what it is
            raise
        self._known = orders, time.monotonic()
        return orders

    def _work(self) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            try:
                self._watch()
            except StoreUnavailable as error:
                self._lost(error)
            except StoreError:
                pass  # whoever asks is told; the next beat asks again
            except Exception:  # a watcher that died would leave rows waiting and tell nobody
                logger.exception("the store could not be watched over")

    def _watch(self) -> None:
        """Find out whether the store is there; then everything that waits can go home."""
        if self.fault is not None or self._known is None or time.monotonic() - self._known[1] > HEARTBEAT_SECONDS:
            timeout = self._serving.store_timeout_seconds if self._prepared else PATIENCE_SECONDS
            self._call("watch", self._look, timeout)
        self._bring_home()

    def _bring_home(self) -> None:
        """Move batch after batch until nothing waits.

        Rows come in meanwhile, at first unhindered. Once they come about as fast as they go, they are made to wait, or
        they would keep the spool full for as long as the rush lasts.
        """
        before, held = 0, False
        while (waiting := self.spool.count()) or self._backlog:
            held = held or waiting <= BATCH or 0 < before < waiting + BATCH // 2
            before = waiting
            timeout = self._serving.store_timeout_seconds if held else PATIENCE_SECONDS
            moved = self._call("watch", partial(self._move, held=held), timeout)
            if not moved or self._stopping.is_set():
                return

    def _look(self) -> None:
        if not self._prepared:
            self._prepare()
            self._prepared = True
        self._heard()
        if self.fault is not None:
            logger.warning("the store is back", extra={"fields": {"spooled_rows": self.spool.count()}})
            self.fault = None

    def _move(self, *, held: bool) -> bool:
        """Bring a batch home, or several while nobody adds more (`held`); whether it was this process's turn.

        The last rows go home while nobody adds more, so that later rows come behind them.
        """
        with self._door if held else nullcontext(), self.spool.alone() as alone:
            until = time.monotonic() + (HELD_SHARE * self._serving.store_timeout_seconds if held else 0.0)
            while alone and move(self._engine, self.spool, self._write) and time.monotonic() < until:
                pass
            if held:
                self._backlog = self.spool.count() > 0
        return alone


def move(engine: Engine, spool: Spool, write: Write) -> int:
    """Move one batch from the spool to the store, and say how many; for the only drainer.

    Raises:
        StoreError: all of them still wait.
    """
    waiting = spool.first(BATCH)
    if waiting:
        with database.writing(engine) as connection:
            write(connection, waiting)
        spool.forget(waiting[-1].id)
        logger.info("drained", extra={"fields": {"entries": len(waiting)}})
    return len(waiting)


def drain(engine: Engine, spool: Spool, write: Write, patience_seconds: float = DRAINED_WITHIN_SECONDS) -> None:
    """Move everything, for a monitoring run, which must not judge a time whose rows still wait.

    Raises:
        RunRefused: they still come in faster than they go home.
        StoreError: the store or the spool cannot be written.
    """
    last = time.monotonic() + patience_seconds
    while left := spool.count():
        if time.monotonic() > last:
            raise RunRefused(
                f"{left} entries still wait in the spool {spool.path.name}: a window without them would lie."
            )
        with spool.alone() as alone:
            if alone:
                move(engine, spool, write)
        if not alone:
            time.sleep(PAUSE_SECONDS)  # a serving process is at it
