"""The same rows and the same runs leave the same documents behind on SQLite and on PostgreSQL, to the byte.

Longer: `STILLSAFE_TEST_HISTORIES=1000 pytest tests/monitoring/test_same_on_both_stores.py`.
"""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine, select

from stillsafe.core.schema import Row
from stillsafe.monitoring import baseline, hold
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.store import database
from stillsafe.store.codec import dumps, to_document
from stillsafe.store.tables import metadata
from tests.faults.figures import Figure
from tests.monitoring.conftest import START, STEP, Service, lose, settings

HISTORIES = int(os.environ.get("STILLSAFE_TEST_HISTORIES", "12"))
INTERVALS = 8
STRANGE_NUMBERS = (1e22, -1e300, -0.0, 5e-324, 1e16, 0.1 + 0.2, 123456789.123456789)
STRANGE_TOWNS = ("Zürich", "\N{PILE OF POO}", 'quote"\\u0000', "", "Z\u0301", "\x7f\n")
POLICY = {"min_predictions": 20, "warning_runs": 2, "critical_runs": 3, "recovery_runs": 2}


@pytest.fixture
def engines(tmp_path: Path, postgres_url: str) -> Iterator[list[Engine]]:
    """An empty store of each kind."""
    store_engines = [database.connect(url) for url in (f"sqlite:///{tmp_path / 'log.db'}", postgres_url)]
    for engine in store_engines:
        database.upgrade(engine)
    yield store_engines
    for engine in store_engines:
        engine.dispose()


def strange(random: Random) -> Callable[[int, Row], None]:
    """A fault: some numbers are extreme, and some towns are in no atlas."""
    rate = random.random()

    def change(_i: int, row: Row) -> None:
        if random.random() < rate:
            row["size"] = random.choice(STRANGE_NUMBERS)
        if random.random() < rate:
            row["town"] = random.choice(STRANGE_TOWNS)

    return change


def fault(random: Random) -> Callable[[int, Row], None] | None:
    """What befalls the traffic of one interval."""
    feature = random.choice(("size", "floor", "lift", "town"))
    return random.choice((None, lose(feature, random.random()), strange(random)))


def live(service: Service, random: Random) -> None:
    """A healthy past and eventful intervals."""
    service.send(200, start=START - timedelta(hours=4), over=timedelta(hours=3), change=fault(random))
    baseline.create(
        service.engine, service.settings, baseline.HealthyPeriod(first=200, accept_contradiction=True), at=START
    )
    lasting, held = None, False
    for _ in range(INTERVALS):
        lasting = random.choice((lasting, lasting, fault(random)))
        error = random.choice((None, None, None, "raised ValueError"))
        service.send(random.choice((5, 40, 60)), change=lasting, confidence=random.choice((0.85, 0.85, 0.6)))
        if error is not None:
            service.send(10, model_error=error)
        service.refuse(random.choice((0, 0, 30)))
        service.now += STEP * random.choice((1, 1, 1, 1, 9))
        service.run()
        if random.random() < 0.1:
            act = hold.release if held else hold.hold
            act(service.engine, "1", by="Ada", reason="to be sure", at=service.now)
            held = not held


def left_behind(engine: Engine) -> dict[str, list[str]]:
    """Every row of every table as canonical text."""
    with database.reading(engine) as connection:
        return {
            table.name: [
                dumps(to_document(dict(row._mapping)))
                for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in metadata.sorted_tables
        }


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_the_same_history_is_decided_alike_on_both_stores(
    engines: list[Engine], tmp_path: Path, seed: int, figure: Figure
) -> None:
    """Whatever happens, both stores hold the same windows, decisions, state and incidents, and both replay."""
    service_settings, contents = settings(tmp_path, policy=POLICY), []
    for engine in engines:
        service = Service(engine, service_settings, Random(seed))
        live(service, Random(seed))
        contents.append(left_behind(engine))
        again = replay(
            engine, from_logs=True, log_format=LogFormat.of(service_settings), model_version="1", score=service.score
        )
        assert again.difference is None
        assert again.runs == INTERVALS
    assert len(contents[0]["current_window_metrics"]) == INTERVALS
    figure("random histories that leave the same in both stores, byte for byte", contents[0] == contents[1])
    assert contents[0] == contents[1]
