"""The monitor as in production: a real cron daemon starts the installed entry."""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from stillsafe.core.schema import Row
from stillsafe.core.state import State
from stillsafe.monitoring import schedule
from stillsafe.settings import load
from stillsafe.store import database
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.runs import all_runs
from stillsafe.store.read.state import current_state
from stillsafe.store.records import PredictionRecord
from stillsafe.store.write.predictions import append_predictions
from tests.monitoring.crontab import restored_crontab

PYTHON = Path(sys.executable)
SPEED = "+0 x30"  # for the daemon a minute lasts two seconds; what it starts lives in real time
TIMEOUT_SECONDS = 60
FAST_SETTINGS = {
    r'^every = "10m"': 'every = "2s"',
    r'^window = "15m"': 'window = "20s"',
    r"^# max_gap = ": 'max_gap = "60s"  # ',
    r"^# min_predictions = 50": "min_predictions = 20",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A service folder from `init`, with a name that needs quoting; `.env` names its database."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from skops import io

    iris = load_iris(as_frame=True)
    io.dump(LogisticRegression(max_iter=500).fit(iris.data[::2], iris.target[::2]), tmp_path / "model.skops")
    iris.data[1::2].to_csv(tmp_path / "sample.csv", index=False)
    folder = tmp_path / "it's 100% mine"
    arguments = ["--model", "model.skops", "--sample", "sample.csv", "--out", folder.name]
    subprocess.run([PYTHON, "-m", "stillsafe", "init", *arguments], cwd=tmp_path, check=True, capture_output=True)
    url = f"sqlite:///{tmp_path / 'named in the environment.db'}"
    (folder / ".env").write_text(f"STILLSAFE_DATABASE_URL={shlex.quote(url)}\n")
    return with_fast_settings(folder / "stillsafe.toml")


@pytest.fixture
def engine(config: Path, tmp_path: Path) -> Iterator[Engine]:
    """The database of the entry's monitor."""
    engine = database.connect(f"sqlite:///{tmp_path / 'named in the environment.db'}")
    database.upgrade(engine)
    yield engine
    engine.dispose()


def with_fast_settings(config: Path) -> Path:
    """The same service with seconds in place of minutes."""
    text = config.read_text()
    for pattern, setting in FAST_SETTINGS.items():
        text, count = re.subn(pattern, setting, text, flags=re.MULTILINE)
        assert count == 1, pattern
    config.write_text(text)
    return config


@contextmanager
def cron() -> Iterator[subprocess.Popen[str]]:
    """Debian's cron on a fast clock. It is a direct child, so that the test can end it and wait for it."""
    faketime = ["faketime", "-f", SPEED, "printenv", "LD_PRELOAD"]
    preload = subprocess.run(faketime, check=True, capture_output=True, text=True).stdout.strip()
    program = shutil.which("cron", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    environment = {**os.environ, "LD_PRELOAD": preload, "FAKETIME": SPEED}
    with subprocess.Popen([program, "-f"], env=environment, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            yield daemon
        finally:
            daemon.terminate()


def wait_for_the_last_job(config: Path) -> None:
    """Wait for the lock of a job that cron started, since it outlives cron."""
    with config.with_name(f"{config.stem}.cron.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def send_unsure_predictions(engine: Engine, version: str, first: int) -> None:
    """Ten requests, answered now with a low confidence."""
    row: Row = {"sepal length (cm)": 5.8, "sepal width (cm)": 3.0, "petal length (cm)": 3.8, "petal width (cm)": 1.2}
    now, normal = datetime.now(UTC), State.NORMAL
    with database.writing(engine) as connection:
        append_predictions(
            connection,
            [
                PredictionRecord(f"p{number}", now, version, normal, row, "1", 0.4, False, "made up")
                for number in range(first, first + 10)
            ],
        )


def state(engine: Engine) -> str | None:
    with database.reading(engine) as connection:
        record = current_state(connection)
    return None if record is None else record.state.value


def watch(engine: Engine, version: str, daemon: subprocess.Popen[str]) -> list[str]:
    """Send traffic until the state is DEGRADED. Returns every state that occurred, in order."""
    states: list[str] = []
    deadline = time.monotonic() + TIMEOUT_SECONDS
    for turn in range(1_000_000):
        send_unsure_predictions(engine, version, 10 * turn)
        now = state(engine)
        if now is not None and states[-1:] != [now]:
            states.append(now)
        if now == State.DEGRADED.value:
            return states
        assert daemon.poll() is None, f"cron died; is another one running? {daemon.communicate()[1]}"
        assert time.monotonic() < deadline, f"cron took too long: {states}"
        time.sleep(0.1)
    return states


@pytest.mark.serial
def test_cron_runs_the_monitor_and_the_state_changes(config: Path, engine: Engine) -> None:
    """Cron alone starts the installed entry, and the state changes from NORMAL over WARNING to DEGRADED."""
    with restored_crontab():
        schedule.install(config, 60, python=PYTHON)
        with cron() as daemon:
            states = watch(engine, load(config).model.version, daemon)
        wait_for_the_last_job(config)
    assert states == ["NORMAL", "WARNING", "DEGRADED"]
    with database.reading(engine) as connection:
        runs = list(all_runs(connection))
        (incident,) = recent_incidents(connection, 10)
    assert {"NORMAL", "WARNING", "DEGRADED"} == {run.state_after for run in runs}
    assert (incident.severity, incident.fallback_activated, incident.resolved) == ("CRITICAL", True, False)
    log = config.with_name("stillsafe.monitor.log").read_text().splitlines()
    events = [json.loads(line) for line in log if line.startswith("{")]
    assert [line["run"] for line in events if line["event"] == "run"] == [run.id for run in runs]
    assert not (config.parent / "stillsafe.db").exists()
