"""The monitor is killed anywhere in its run, or started many times over; what is decided is the same as ever."""

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select

from stillsafe import service
from stillsafe.settings import DATABASE_VARIABLE, Settings
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.read.baselines import all_baselines
from stillsafe.store.read.runs import last_run
from stillsafe.store.read.state import current_state
from stillsafe.store.tables import current_window_metrics
from tests.faults import past
from tests.faults.conftest import often
from tests.faults.figures import Figure

STEPS = 12
LOST = range(4, 8)
Rows = list[dict[str, float]]


def started(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    """A command of the service, not waited for."""
    command = [sys.executable, "-m", "stillsafe", *words]
    return subprocess.Popen(command, cwd=folder)


def monitor(folder: Path, now: datetime) -> "subprocess.Popen[bytes]":
    """A run of the monitor, not waited for."""
    return started(folder, "monitor", "--now", now.isoformat())


@pytest.fixture
def undisturbed(made_service: Path, healthy_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store on which every run ended in peace."""
    url = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    settings = past.logged(made_service, url, healthy_rows, steps=STEPS, lost=LOST)
    for now in past.ends(STEPS):
        service.monitor(settings, now=now)
    return url


@pytest.fixture
def disturbed(
    undisturbed: str, store_url: str, made_service: Path, healthy_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The same past on a store of either kind, not judged yet."""
    monkeypatch.setenv(DATABASE_VARIABLE, store_url)
    return past.logged(made_service, store_url, healthy_rows, steps=STEPS, lost=LOST)


def is_whole(url: str) -> bool:
    """Whether the state is the one that the last run wrote with its row, and no other."""
    engine = database.connect(url)
    try:
        with database.reading(engine) as connection:
            last, state = last_run(connection), current_state(connection)
            if last is None or state is None:
                return last is None and state is None
            return bool(last.memory == to_document(state.memory))
    finally:
        engine.dispose()


def run_count(url: str) -> int:
    """How many runs are in the store."""
    engine = database.connect(url)
    try:
        with database.reading(engine) as connection:
            return connection.execute(select(func.count()).select_from(current_window_metrics)).scalar_one()
    finally:
        engine.dispose()


def test_killed_anywhere_a_run_has_happened_or_has_not(
    disturbed: Settings, undisturbed: str, store_url: str, figure: Figure
) -> None:
    """No run is half-written, no step of a streak is lost or doubled: the end is that of undisturbed runs."""
    kills, random, half = often(8, 100), Random(7), 0
    pending = past.ends(STEPS)
    began = time.monotonic()
    monitor(disturbed.folder, pending[0]).wait()
    whole_seconds = time.monotonic() - began
    for _ in range(kills):
        # One run that was killed too late is one that has happened; the last one is left for the end.
        now = pending[min(run_count(store_url), STEPS - 1)]
        with monitor(disturbed.folder, now) as process:
            time.sleep(random.uniform(0.3, 1.0) * whole_seconds)
            process.kill()
        half += not is_whole(store_url)
    for now in pending[min(run_count(store_url), STEPS - 1) :]:
        assert monitor(disturbed.folder, now).wait() == 0
    store = "PostgreSQL" if store_url.startswith("postgresql") else "SQLite"
    ended, peaceful = past.told(store_url), past.told(undisturbed)
    different = sum(ended[name] != peaceful[name] for name in ended)
    figure(f"monitor killed at {kills} random points, {store}: half-written runs", half)
    figure(f"monitor killed at {kills} random points, {store}: tables that differ from undisturbed runs", different)
    assert half == 0
    assert ended == peaceful


def test_many_at_once_are_one(disturbed: Settings, undisturbed: str, store_url: str) -> None:
    """Monitors that start together, and baselines made meanwhile, leave what one monitor after another leaves."""
    folder = disturbed.folder
    for number, now in enumerate(past.ends(STEPS)):
        crowd = [monitor(folder, now) for _ in range(3 if number % 4 == 0 else 1)]
        if number % 6 == 0:
            crowd.append(started(folder, "baseline", "list"))
        codes = [process.wait() for process in crowd]
        assert set(codes) == {0}
    assert past.told(store_url) == past.told(undisturbed)


def test_baselines_made_at_once_are_each_whole(disturbed: Settings, store_url: str) -> None:
    """Two baselines from the same rows, and a run at the same time: each is there whole, and one of them is active."""
    making = [started(disturbed.folder, "baseline", "create", "--first", "240") for _ in range(2)]
    judging = monitor(disturbed.folder, past.ends(STEPS)[0])
    made = sum(process.wait() == 0 for process in making)
    assert judging.wait() == 0
    engine = database.connect(store_url)
    with database.reading(engine) as connection:
        found = all_baselines(connection)
    engine.dispose()
    assert made >= 1
    assert len(found) == 1 + made
    assert [each.active for each in found].count(True) == 1
