"""Several workers are one service: all rows land, all obey the same state, and the counters are those of all."""

import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillsafe.monitoring import run
from stillsafe.store import database
from tests.faults.api import Api, Load, missing_and_doubled, until
from tests.faults.conftest import often, running
from tests.faults.figures import Figure

WORKERS = 2


@pytest.fixture
def workers(named_store: str, made_service: Path) -> Iterator[Api]:
    """A service with several workers, once on each store."""
    yield from running(Api(made_service, named_store, workers=WORKERS))


def children(api: Api) -> list[int]:
    """The processes that the service has said are serving, if they still are."""
    said = {int(each) for each in re.findall(r'"serving".*"process": (\d+)', api.told())}
    assert api.process is not None
    return sorted(each for each in said - {api.process.pid} if Path(f"/proc/{each}").exists())


def counted(api: Api) -> float:
    """Answers, as a scrape tells them."""
    found = re.findall(r'stillsafe_answers_total\{decided_by="\w+"\} ([\d.e+]+)', api.get("/metrics"))
    return sum(float(each) for each in found)


def test_all_rows_land_and_any_worker_counts_them_all(workers: Api) -> None:
    """Every acknowledged answer is in the log once, and each scrape tells the sum, whichever worker is asked."""
    until(lambda: len(children(workers)) == WORKERS)
    with Load(workers, 32) as load:
        load.more(500)
    assert load.failed == []
    assert missing_and_doubled(load.ids, workers.logged()) == (0, 0)
    assert {counted(workers) for _ in range(20)} == {float(len(load.ids))}


def test_all_obey_at_once(workers: Api, figure: Figure) -> None:
    """A request that begins after a change of state has been committed is answered by it, whoever answers."""
    until(lambda: len(children(workers)) == WORKERS)
    engine = database.connect(workers.database)
    disobeyed, asked = 0, 0
    with Load(workers, 32) as load:
        for _ in range(often(2, 20)):
            load.more(200)
            run.hold(engine, by="test", reason="to see who obeys", at=datetime.now(UTC))
            held_at = time.monotonic()
            load.more(200)
            released_at = time.monotonic()
            run.release(engine, by="test", reason="seen", at=datetime.now(UTC))
            since = [decided_by for _, began, decided_by in load.acknowledged if held_at <= began < released_at]
            disobeyed += since.count("model")
            asked += len(since)
    engine.dispose()
    store = "PostgreSQL" if workers.database.startswith("postgresql") else "SQLite"
    figure(
        f"{WORKERS} workers, {store}: answers that began after a state was committed and did not obey it",
        f"{disobeyed} of {asked}",
    )
    assert load.failed == []
    assert asked > 100
    assert disobeyed == 0


def test_a_killed_worker_is_replaced_and_loses_nothing(workers: Api) -> None:
    """The others go on, a new one comes, and what the dead one had acknowledged and counted stays."""
    until(lambda: len(children(workers)) == WORKERS)
    victim = children(workers)[0]
    with Load(workers, 8) as load:
        load.more(100)
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in children(workers) and len(children(workers)) == WORKERS)
        load.more(100)
    missing, doubled = missing_and_doubled(load.ids, workers.logged())
    assert (missing, doubled) == (0, 0)
    assert counted(workers) >= len(load.ids)


def test_workers_end_with_their_parent(workers: Api) -> None:
    """An orphan would keep the port: killed with -9, the service can be started again at once on the same one."""
    until(lambda: len(children(workers)) == WORKERS)
    orphans = children(workers)
    workers.kill()
    until(lambda: not any(Path(f"/proc/{each}").exists() for each in orphans))


def test_told_to_end_it_answers_what_it_has_accepted(workers: Api, figure: Figure) -> None:
    """On SIGTERM no request that was accepted goes without its answer, and the exit code is 0."""
    with Load(workers, 16) as load:
        load.more(100)
        code = workers.terminate()
        unanswered = [each for each in load.failed if isinstance(each, tuple)]
    rows = workers.logged()
    figure(
        "SIGTERM under load: rows in the log whose answer nobody got", len({r.prediction_id for r in rows} - load.ids)
    )
    assert code == 0
    assert unanswered == []
    assert {row.prediction_id for row in rows} == load.ids
