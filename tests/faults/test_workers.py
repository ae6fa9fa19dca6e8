"""Several workers act as one service: one log, one state, and counters over all workers."""

import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillsafe import settings
from stillsafe.monitoring import hold
from stillsafe.store import database
from tests.faults.api import Api, Load, missing_and_duplicate_counts, wait_until
from tests.faults.conftest import repetitions, running
from tests.faults.figures import Figure
from tests.stores import with_store

WORKERS = 2


@pytest.fixture
def workers(named_store: str, made_service: Path) -> Iterator[Api]:
    """A service with several workers, once on each store."""
    yield from running(Api(with_store(made_service), named_store, workers=WORKERS))


def children(api: Api) -> list[int]:
    """The running processes that the service has logged as serving."""
    process_ids = {int(each) for each in re.findall(r'"serving".*"process": (\d+)', api.log_text())}
    assert api.process is not None
    return sorted(each for each in process_ids - {api.process.pid} if Path(f"/proc/{each}").exists())


def answer_total(api: Api) -> float:
    """Number of answers in a scrape of the metrics."""
    counters = re.findall(r'stillsafe_answers_total\{decided_by="\w+"\} ([\d.e+]+)', api.get("/metrics"))
    return sum(float(each) for each in counters)


def test_all_rows_are_logged_and_counted(workers: Api) -> None:
    """Every acknowledged answer is in the log once, and a scrape of any worker has the total."""
    wait_until(lambda: len(children(workers)) == WORKERS)
    with Load(workers, 32) as load:
        load.wait_for_answers(500)
    assert load.failures == []
    assert missing_and_duplicate_counts(load.prediction_ids, workers.prediction_log()) == (0, 0)
    assert {answer_total(workers) for _ in range(20)} == {float(len(load.prediction_ids))}


def test_all_workers_use_a_new_state_at_once(workers: Api, figure: Figure) -> None:
    """A request that begins after a state is committed is answered according to it, by any worker."""
    wait_until(lambda: len(children(workers)) == WORKERS)
    engine = database.connect(workers.database)
    version = settings.load(workers.folder / "stillsafe.toml").model.version
    violations, answer_count = 0, 0
    with Load(workers, 32) as load:
        for _ in range(repetitions(2, 20)):
            load.wait_for_answers(200)
            hold.hold(engine, version, by="test", reason="test of the hold", at=datetime.now(UTC))
            held_at = time.monotonic()
            load.wait_for_answers(200)
            released_at = time.monotonic()
            hold.release(engine, version, by="test", reason="seen", at=datetime.now(UTC))
            since = [decided_by for _, began, decided_by in load.answers if held_at <= began < released_at]
            violations += since.count("model")
            answer_count += len(since)
    engine.dispose()
    store = "PostgreSQL" if workers.database.startswith("postgresql") else "SQLite"
    figure(
        f"{WORKERS} workers, {store}: answers that began after a state was committed and did not obey it",
        f"{violations} of {answer_count}",
    )
    assert load.failures == []
    assert answer_count > 100
    assert violations == 0


def test_a_killed_worker_is_replaced_and_loses_nothing(workers: Api) -> None:
    """The other workers continue, a new one starts, and the rows and counts of the killed one remain."""
    wait_until(lambda: len(children(workers)) == WORKERS)
    victim = children(workers)[0]
    with Load(workers, 8) as load:
        load.wait_for_answers(100)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in children(workers) and len(children(workers)) == WORKERS)
        load.wait_for_answers(100)
    missing, duplicates = missing_and_duplicate_counts(load.prediction_ids, workers.prediction_log())
    assert (missing, duplicates) == (0, 0)
    assert answer_total(workers) >= len(load.prediction_ids)


def test_workers_end_with_their_parent(workers: Api) -> None:
    """After SIGKILL of the parent no worker keeps the port."""
    wait_until(lambda: len(children(workers)) == WORKERS)
    orphans = children(workers)
    workers.kill()
    wait_until(lambda: not any(Path(f"/proc/{each}").exists() for each in orphans))


def test_sigterm_completes_accepted_requests(workers: Api, figure: Figure) -> None:
    """After SIGTERM every accepted request is answered, and the exit code is 0."""
    with Load(workers, 16) as load:
        load.wait_for_answers(100)
        code = workers.terminate()
        error_answers = [each for each in load.failures if isinstance(each, tuple)]
    rows = workers.prediction_log()
    figure(
        "SIGTERM under load: rows in the log whose answer nobody got",
        len({r.prediction_id for r in rows} - load.prediction_ids),
    )
    assert code == 0
    assert error_answers == []
    assert {row.prediction_id for row in rows} == load.prediction_ids


SLOW_START = """
import sys
import time

if any("multiprocessing.spawn" in word for word in sys.orig_argv):
    time.sleep({seconds})
"""
"""As `sitecustomize`, it delays a worker before it can answer its parent, as a busy machine does."""


@pytest.fixture
def slow(made_service: Path, tmp_path: Path) -> Iterator[Api]:
    """A service whose workers need longer than five seconds, uvicorn's limit, before they can answer their parent."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_START.format(seconds=8))
    surroundings = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    url = f"sqlite:///{made_service / 'stillsafe.db'}"
    yield from running(Api(made_service, url, workers=WORKERS, extra_environment=surroundings))


def test_a_slow_start_is_waited_for(slow: Api) -> None:
    """Each worker starts once and serves; one that is killed is replaced once, with the reason in the log."""
    wait_until(lambda: len(children(slow)) == WORKERS)
    assert len(set(re.findall(r'"serving".*"process": (\d+)', slow.log_text()))) == WORKERS + 1
    assert "replaced" not in slow.log_text()
    victim = children(slow)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in children(slow) and len(children(slow)) == WORKERS)
    assert slow.log_text().count('"a worker is replaced"') == 1
    assert "it ended with exit code -9" in slow.log_text()
