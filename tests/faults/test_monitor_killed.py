"""If the monitor is killed or started several times at once, the decisions are those of undisturbed runs."""

import subprocess
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
from tests.cli.command_server import Process, start
from tests.faults import service_log
from tests.faults.conftest import repetitions
from tests.faults.figures import Figure

STEPS = 12
MISSING_STEPS = range(4, 8)
Rows = list[dict[str, float]]


def start_command(folder: Path, *words: str) -> Process | subprocess.Popen[bytes]:
    """Start a command of the service without waiting for it."""
    with (folder / "commands.log").open("ab") as log:
        return start(*words, folder=folder, log=log)


def monitor(folder: Path, now: datetime) -> Process | subprocess.Popen[bytes]:
    """Start a monitoring run without waiting for it."""
    return start_command(folder, "monitor", "--now", now.isoformat())


@pytest.fixture
def reference_url(made_service: Path, healthy_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a store on which no run was disturbed."""
    url = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    settings = service_log.fill_store(made_service, url, healthy_rows, steps=STEPS, missing_steps=MISSING_STEPS)
    for now in service_log.run_times(STEPS):
        service.monitor(settings, now=now)
    return url


@pytest.fixture
def unmonitored_settings(
    reference_url: str, store_url: str, made_service: Path, healthy_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The same log on SQLite and on PostgreSQL, without monitoring runs."""
    monkeypatch.setenv(DATABASE_VARIABLE, store_url)
    return service_log.fill_store(made_service, store_url, healthy_rows, steps=STEPS, missing_steps=MISSING_STEPS)


def is_whole(url: str) -> bool:
    """Whether the state is the one that the last run wrote."""
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
    """Number of runs in the store."""
    engine = database.connect(url)
    try:
        with database.reading(engine) as connection:
            return connection.execute(select(func.count()).select_from(current_window_metrics)).scalar_one()
    finally:
        engine.dispose()


def test_a_killed_run_is_written_whole_or_not_at_all(
    unmonitored_settings: Settings, reference_url: str, store_url: str, figure: Figure
) -> None:
    """No run is half-written, and no step of a streak is lost or duplicated."""
    kills, random, partial_runs = repetitions(8, 100), Random(7), 0
    pending = service_log.run_times(STEPS)
    began = time.monotonic()
    monitor(unmonitored_settings.folder, pending[0]).wait()
    whole_seconds = time.monotonic() - began
    for _ in range(kills):
        # A run that was killed too late has been written, so the next run starts from the count of the runs.
        now = pending[min(run_count(store_url), STEPS - 1)]
        with monitor(unmonitored_settings.folder, now) as process:
            time.sleep(random.uniform(0.3, 1.0) * whole_seconds)
            process.kill()
        partial_runs += not is_whole(store_url)
    for now in pending[min(run_count(store_url), STEPS - 1) :]:
        service.monitor(unmonitored_settings, now=now)
    store = "PostgreSQL" if store_url.startswith("postgresql") else "SQLite"
    rows, reference_rows = service_log.monitor_rows(store_url), service_log.monitor_rows(reference_url)
    different = sum(rows[name] != reference_rows[name] for name in rows)
    figure(f"monitor killed at {kills} random points, {store}: half-written runs", partial_runs)
    figure(f"monitor killed at {kills} random points, {store}: tables that differ from undisturbed runs", different)
    assert partial_runs == 0
    assert rows == reference_rows


def test_concurrent_monitors_write_one_run(unmonitored_settings: Settings, reference_url: str, store_url: str) -> None:
    """Concurrent monitors and baseline commands leave the same rows as sequential monitors."""
    folder = unmonitored_settings.folder
    for number, now in enumerate(service_log.run_times(STEPS)):
        if number % 4:
            service.monitor(unmonitored_settings, now=now)
            continue
        processes = [monitor(folder, now) for _ in range(3)]
        if number % 8 == 0:
            processes.append(start_command(folder, "baseline", "list"))
        codes = [process.wait() for process in processes]
        assert set(codes) == {0}
    assert service_log.monitor_rows(store_url) == service_log.monitor_rows(reference_url)


def test_concurrent_baselines_are_each_complete(unmonitored_settings: Settings, store_url: str) -> None:
    """Two baselines created during a run are both complete, and one of them is active."""
    making = [start_command(unmonitored_settings.folder, "baseline", "create", "--first", "240") for _ in range(2)]
    judging = monitor(unmonitored_settings.folder, service_log.run_times(STEPS)[0])
    created_count = sum(process.wait() == 0 for process in making)
    assert judging.wait() == 0
    engine = database.connect(store_url)
    with database.reading(engine) as connection:
        baselines = all_baselines(connection)
    engine.dispose()
    assert created_count >= 1
    assert len(baselines) == 1 + created_count
    assert [each.active for each in baselines].count(True) == 1
