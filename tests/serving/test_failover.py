"""A process's way through an outage of its database server; `tests/faults` breaks whole services."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Event, Thread

from sqlalchemy import Connection, select

from stillsafe.serving.failover import UNKNOWN, Outage
from stillsafe.serving.predict import PREDICTION, write_spooled
from stillsafe.settings import Serving
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.spool import Entry, Spool, Waiting
from stillsafe.store.tables import prediction_logs
from stillsafe.store.write.predictions import PredictionRecord
from tests.faults.api import until
from tests.store.conftest import prediction, write


def test_a_rush_cannot_keep_the_spool_full(postgres_url: str, tmp_path: Path) -> None:
    """Rows that come faster than they go home are held up until nothing waits; each is in the log once, in order."""
    engine, spool = database.connect(postgres_url), Spool(tmp_path / "spool.db")
    database.upgrade(engine)
    given, direct, over = 0, Event(), Event()

    def more(count: int) -> list[PredictionRecord]:
        nonlocal given
        given += count
        return [prediction(number) for number in range(given - count, given)]

    def waiting(records: Sequence[PredictionRecord]) -> list[Entry]:
        return [Entry(PREDICTION, to_document(record)) for record in records]

    def slowly(connection: Connection, rows: Sequence[Waiting]) -> None:
        time.sleep(0.1)
        write_spooled(connection, rows)

    def straight(records: Sequence[PredictionRecord]) -> None:
        write(engine, *records)
        direct.set()

    def rush() -> None:
        while not over.wait(0.02):  # twice as fast as the drain
            records = more(200)
            outage.record("rows", partial(waiting, records), partial(straight, records))

    spool.append(waiting(more(2_000)))
    outage = Outage(engine, spool, Serving(), read=lambda: UNKNOWN, write=slowly, prepare=lambda: None)
    client = Thread(target=rush)
    client.start()
    try:
        outage.begin()
        outage.start()
        until(direct.is_set, lambda: f"{spool.count()} rows still wait")
    finally:
        over.set()
        client.join()
        outage.stop()
    assert spool.count() == 0
    with database.reading(engine) as connection:
        logged = connection.execute(select(prediction_logs.c.prediction_id).order_by(prediction_logs.c.id)).scalars()
        assert list(logged) == [f"p{number}" for number in range(given)]
    spool.close()
    engine.dispose()
