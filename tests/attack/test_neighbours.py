"""Beside any one hostile client the others go on being answered; how much slower is printed, not asserted."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.attack.conftest import LONG, size
from tests.attack.hostile_clients import MORE_OF_ONE_CONNECTION, MORE_READERS, ONE_CONNECTION, READERS, acting
from tests.attack.rows import is_served
from tests.cli.commands import log_predictions, stillsafe
from tests.faults.api import BODY
from tests.faults.figures import Figure
from tests.serving.server_process import ServerProcess, serve_folder

ROOT = Path(__file__).parents[2]
ACTS = {**ONE_CONNECTION, **READERS, **(MORE_OF_ONE_CONNECTION if LONG else {}), **(MORE_READERS if LONG else {})}
NEIGHBOURS = 4
RUNS = 400


def seed_runs(folder: Path) -> None:
    """One run of the monitor, 400 times over, ten minutes apart."""
    now = datetime.now(UTC)
    log_predictions(folder, 300, now)
    assert stillsafe(folder, "monitor").returncode == 0
    with closing(sqlite3.connect(folder / "stillsafe.db")) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(current_window_metrics)") if row[1] != "id"]
        query = f"SELECT {', '.join(columns)} FROM current_window_metrics"  # noqa: S608 - names of our own table
        values = dict(zip(columns, connection.execute(query).fetchone(), strict=True))
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO current_window_metrics ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - the same
        end = datetime.fromisoformat(values["window_end"])
        for number in range(RUNS, 0, -1):
            window_end = str(end - number * timedelta(minutes=10))
            connection.execute(insert, list({**values, "window_end": window_end}.values()))
        connection.commit()


@pytest.fixture(scope="module")
def busy_target(pristine_service: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A served service with 400 runs."""
    folder = Path(shutil.copytree(pristine_service, tmp_path_factory.mktemp("busy") / "service"))
    seed_runs(folder)
    with serve_folder(folder) as process:
        yield process


def neighbours(target: ServerProcess, seconds: float) -> tuple[dict[str, int], list[float]]:
    """The statuses and durations of the answers to honest clients."""
    command = [sys.executable, "-m", "tests.attack.neighbour", str(target.port), str(seconds)]
    body = json.dumps({"features": BODY})
    processes = [
        subprocess.Popen([*command, body], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(NEIGHBOURS)
    ]
    outputs = [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    statuses: dict[str, int] = {}
    for output in outputs:
        for code, count in output["statuses"].items():
            statuses[code] = statuses.get(code, 0) + count
    return statuses, [each for output in outputs for each in output["durations"]]


@pytest.mark.parametrize("name", ACTS)
def test_neighbours_are_answered(busy_target: ServerProcess, name: str, figure: Figure) -> None:
    """Every prediction of the others is answered with 200, and afterwards the service is as before."""
    with acting(ACTS[name], busy_target.port):
        statuses, durations = neighbours(busy_target, size(1, 20))
    assert set(statuses) == {"200"}
    assert len(durations) >= NEIGHBOURS
    assert is_served(busy_target)
    p99 = quantiles(durations, n=100)[98]
    text = f"median {median(durations) * 1e3:.1f}, p99 {p99 * 1e3:.1f} ms of {len(durations)}"
    figure(f"neighbours beside {name}", text)
