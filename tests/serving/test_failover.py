"""Store failover in one process; `tests/faults` breaks whole services."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import Connection, Engine, select

from stillsafe.core.state import State
from stillsafe.errors import RunRefused, StoreError, StoreUnavailable
from stillsafe.serving.failover import UNKNOWN, Failover, ServingState, StoreStatus, drain_spool
from stillsafe.serving.predict import write_spooled
from stillsafe.settings_sections import Serving
from stillsafe.store import database
from stillsafe.store.records import PredictionRecord
from stillsafe.store.spool import PREDICTION, Entry, Spool, SpooledEntry
from stillsafe.store.tables import prediction_logs
from tests.faults.api import wait_until
from tests.store.conftest import prediction, write

STATE = ServingState(State.WARNING, "because", (), stale=False, watched=True)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An empty spool."""
    spool = Spool(tmp_path / "spool.db")
    yield spool
    spool.close()


class Server:
    """A database whose answers a test controls; the engine behind it is a real SQLite file."""

    def __init__(self, engine: Engine, spool: Spool, **serving: str) -> None:
        self.error: Exception | None = None
        self.failover = Failover(
            engine,
            spool,
            Serving.model_validate(serving),
            read_state=self.read,
            write_entries=write_spooled,
            prepare=lambda: None,
        )
        self.engine = engine

    def read(self) -> ServingState:
        """The state, or the outage."""
        if self.error is not None:
            raise self.error
        return STATE

    def record(self, number: int) -> None:
        """Record a row, in the store or in the spool."""

        def write_row() -> None:
            if self.error is not None:
                raise self.error
            write(self.engine, prediction(number))

        self.failover.record("rows", lambda spool: spool.append(entries([prediction(number)])), write_row)

    def log(self) -> list[str]:
        """The identifiers in the log, in order."""
        with database.reading(self.engine) as connection:
            column = prediction_logs.c.prediction_id
            return list(connection.execute(select(column).order_by(prediction_logs.c.id)).scalars())


@pytest.fixture
def server(tmp_path: Path, spool: Spool) -> Iterator[Server]:
    """A server that answers."""
    engine = database.connect(f"sqlite:///{tmp_path / 'log.db'}")
    database.upgrade(engine)
    yield Server(engine, spool)
    engine.dispose()


def entries(records: Sequence[PredictionRecord]) -> list[Entry]:
    return [Entry(PREDICTION, record.spool_document()) for record in records]


def test_the_status_goes_from_up_over_out_and_draining_back_to_up(server: Server, spool: Spool) -> None:
    """A failed call marks the store down, the next answer starts the drain, and an empty spool ends it."""
    failover = server.failover

    def status() -> StoreStatus:
        return failover.status

    failover.open()
    assert status() is StoreStatus.UP
    server.record(1)
    server.error = StoreUnavailable("gone")
    server.record(2)
    assert status() is StoreStatus.OUT
    assert (spool.count(), server.log()) == (1, ["p1"])
    with pytest.raises(StoreUnavailable, match="gone"), failover.reading():
        pass
    server.error = None
    server.record(3)
    assert (status(), spool.count()) == (StoreStatus.OUT, 2)
    failover.open()
    assert status() is StoreStatus.DRAINING
    server.record(4)
    assert spool.count() == 3
    failover.start()
    wait_until(lambda: status() is StoreStatus.UP)
    failover.stop()
    server.record(5)
    assert (spool.count(), server.log()) == (0, ["p1", "p2", "p3", "p4", "p5"])


def test_rows_of_an_earlier_process_are_drained_first(tmp_path: Path, server: Server, spool: Spool) -> None:
    """A process that starts with rows in the spool appends its own behind them."""
    spool.append(entries([prediction(1)]))
    later = Server(server.engine, spool)
    later.failover.open()
    assert later.failover.status is StoreStatus.DRAINING
    later.record(2)
    drain_spool(server.engine, spool, write_spooled)
    assert server.log() == ["p1", "p2"]


def test_the_last_state_applies_for_a_limited_time(server: Server, spool: Spool) -> None:
    """Then the state is unknown, and unknown is DEGRADED."""
    assert server.failover.last_state() == UNKNOWN
    brief = Server(server.engine, spool, max_state_age_seconds="0.2s")
    assert brief.failover.state() == STATE
    brief.error = StoreUnavailable("gone")
    assert brief.failover.state() == STATE
    time.sleep(0.3)
    expired_state = brief.failover.state()
    assert (expired_state.state, expired_state.stale) == (State.DEGRADED, True)
    assert "more than 0.2 s" in expired_state.reason


def test_a_damaged_state_is_an_error_and_no_outage(server: Server) -> None:
    """Waiting does not mend it, and the state read before it no longer applies."""
    server.failover.open()
    server.error = StoreError("damaged")
    with pytest.raises(StoreError, match="damaged"):
        server.failover.state()
    assert server.failover.status is StoreStatus.UP
    assert server.failover.last_state() == UNKNOWN


def test_a_store_that_is_out_at_the_start_is_marked_down(server: Server) -> None:
    """The service starts all the same, with an unknown state."""
    server.error = StoreUnavailable("gone")
    server.failover.open()
    assert (server.failover.status, server.failover.state()) == (StoreStatus.OUT, UNKNOWN)


def test_a_monitoring_run_is_refused_while_rows_wait(server: Server, spool: Spool) -> None:
    """Its window would be incomplete; the message names the number of rows."""
    spool.append(entries([prediction(1), prediction(2)]))
    with pytest.raises(RunRefused, match="2 entries still wait in the spool"):
        drain_spool(server.engine, spool, write_spooled, timeout_seconds=-1)


def test_a_heavy_load_cannot_keep_the_spool_full(postgres_url: str, spool: Spool) -> None:
    """Rows that arrive faster than they move are delayed until the spool is empty; each is logged once, in order."""
    engine = database.connect(postgres_url)
    database.upgrade(engine)
    row_count, is_direct, is_over = 0, Event(), Event()

    def more(count: int) -> list[PredictionRecord]:
        nonlocal row_count
        row_count += count
        return [prediction(number) for number in range(row_count - count, row_count)]

    def write_slowly(connection: Connection, rows: Sequence[SpooledEntry]) -> None:
        time.sleep(0.1)
        write_spooled(connection, rows)

    def write_directly(records: Sequence[PredictionRecord]) -> None:
        write(engine, *records)
        is_direct.set()

    def load() -> None:
        while not is_over.wait(0.02):  # twice as fast as the drain
            records = more(200)
            failover.record("rows", partial(Spool.append, entries=entries(records)), partial(write_directly, records))

    spool.append(entries(more(2_000)))
    failover = Failover(
        engine, spool, Serving(), read_state=lambda: UNKNOWN, write_entries=write_slowly, prepare=lambda: None
    )
    client = Thread(target=load)
    client.start()
    try:
        failover.open()
        failover.start()
        wait_until(is_direct.is_set, lambda: f"{spool.count()} rows still wait")
    finally:
        is_over.set()
        client.join()
        failover.stop()
    assert spool.count() == 0
    with database.reading(engine) as connection:
        ids = connection.execute(select(prediction_logs.c.prediction_id).order_by(prediction_logs.c.id)).scalars()
        assert list(ids) == [f"p{number}" for number in range(row_count)]
    engine.dispose()
