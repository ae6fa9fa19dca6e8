"""The watcher as it is in production: a real cron daemon starts the entry that was really installed."""

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
from stillsafe.store.write.predictions import PredictionRecord, append_predictions
from tests.monitoring.crontab import kept

PYTHON = Path(sys.executable)
SPEED = "+0 x30"  # for the daemon a minute lasts two seconds; what it starts lives in real time
PATIENCE_SECONDS = 60
PLAYED_IN_SECONDS = {
    r'^every = "10m"': 'every = "2s"',
    r'^window = "15m"': 'window = "20s"',
    r"^# max_gap = ": 'max_gap = "60s"  # ',
    r"^# min_predictions = 50": "min_predictions = 20",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A service folder that `init` wrote, in a place that needs quoting; its database is named in `.env`."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from skops import io

    iris = load_iris(as_frame=True)
    io.dump(LogisticRegression(max_iter=500).fit(iris.data[::2], iris.target[::2]), tmp_path / "model.skops")
    iris.data[1::2].to_csv(tmp_path / "sample.csv", index=False)
    folder = tmp_path / "it's 100% mine"
    given = ["--model", "model.skops", "--sample", "sample.csv", "--out", folder.name]
    subprocess.run([PYTHON, "-m", "stillsafe", "init", *given], cwd=tmp_path, check=True, capture_output=True)
    url = f"sqlite:///{tmp_path / 'named in the environment.db'}"
    (folder / ".env").write_text(f"STILLSAFE_DATABASE_URL={shlex.quote(url)}\n")
    return hastened(folder / "stillsafe.toml")


@pytest.fixture
def engine(config: Path, tmp_path: Path) -> Iterator[Engine]:
    """The database that the entry's monitor will find."""
    engine = database.connect(f"sqlite:///{tmp_path / 'named in the environment.db'}")
    database.upgrade(engine)
    yield engine
    engine.dispose()


def hastened(config: Path) -> Path:
    """The same service with minutes as seconds."""
    text = config.read_text()
    for written, meant in PLAYED_IN_SECONDS.items():
        text, found = re.subn(written, meant, text, flags=re.MULTILINE)
        assert found == 1, written
    config.write_text(text)
    return config


@contextmanager
def cron() -> Iterator[subprocess.Popen[str]]:
    """Debian's cron on a clock of its own. It is a direct child, so that it can be ended and waited for."""
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
    """A job that cron started outlives it; its lock tells when it is done."""
    with config.with_name(f"{config.stem}.cron.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def send_unsure_answers(engine: Engine, version: str, first: int) -> None:
    """Ten requests, answered now by a model that hardly knows what it sees."""
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
        found = current_state(connection)
    return None if found is None else found.state.value


def watch(engine: Engine, version: str, daemon: subprocess.Popen[str]) -> list[str]:
    """Keep traffic coming until the state is DEGRADED; every state that was seen, in order."""
    seen: list[str] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    for turn in range(1_000_000):
        send_unsure_answers(engine, version, 10 * turn)
        now = state(engine)
        if now is not None and seen[-1:] != [now]:
            seen.append(now)
        if now == State.DEGRADED.value:
            return seen
        assert daemon.poll() is None, f"cron died; is another one running? {daemon.communicate()[1]}"
        assert time.monotonic() < deadline, f"cron did not get there in time: {seen}"
        time.sleep(0.1)
    return seen


@pytest.mark.serial
def test_cron_runs_the_monitor_and_the_state_changes(config: Path, engine: Engine) -> None:
    """The installed entry, started by cron alone, leads from NORMAL over WARNING to DEGRADED."""
    with kept():
        schedule.install(config, 60, python=PYTHON)
        with cron() as daemon:
            seen = watch(engine, load(config).model.version, daemon)
        wait_for_the_last_job(config)
    assert seen == ["NORMAL", "WARNING", "DEGRADED"]
    with database.reading(engine) as connection:
        runs = list(all_runs(connection))
        (incident,) = recent_incidents(connection, 10)
    assert {"NORMAL", "WARNING", "DEGRADED"} == {run.state_after for run in runs}
    assert (incident.severity, incident.fallback_activated, incident.resolved) == ("CRITICAL", True, False)
    log = config.with_name("stillsafe.monitor.log").read_text().splitlines()
    told = [json.loads(line) for line in log if line.startswith("{")]
    assert [line["run"] for line in told if line["event"] == "run"] == [run.id for run in runs]
    assert not (config.parent / "stillsafe.db").exists()
