"""Traffic and runs for the tests of the command line, written without the API."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.cli.command_server import program

START = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
Command = Callable[..., tuple[int, str, str]]


def stillsafe(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with the folder's settings."""
    command = [str(program()), *words, "--config", str(folder / "stillsafe.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def document(output: str) -> Any:
    """The JSON that a command printed."""
    return json.loads(output)


def log_predictions(folder: Path, count: int, until: datetime, *, area: float | None = 880.0) -> None:
    """Write rows as the mission's schema has them."""
    version = json.loads((folder / "reference.json").read_text())["baseline"]["model_version"]
    connection = sqlite3.connect(folder / "stillsafe.db")
    rows = []
    for i in range(count):
        at = until - timedelta(minutes=9) + timedelta(minutes=9) * (i / count)
        texture = 19 + i / 100  # no two rows of a window are equal
        features = {"mean radius": 12 + i % 5, "mean texture": texture, "mean smoothness": 0.09, "worst area": area}
        rows.append(
            (at.strftime("%Y-%m-%d %H:%M:%S.%f"), version, "NORMAL", json.dumps(features), "1", 0.95 + 0.01 * (i % 4))
        )
    connection.executemany(
        "INSERT INTO prediction_logs"
        " (timestamp, model_version, system_state, input_summary, prediction, confidence_score)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        rows,
    )
    connection.commit()
    connection.close()


def degrade(run: Command, folder: Path, runs: int = 3) -> datetime:
    """Lose a feature for some runs; returns the time of the last one."""
    run("status")
    now = START
    for _ in range(runs):
        log_predictions(folder, 100, now, area=None)
        code, _, errors = run("monitor", "--now", now.isoformat())
        assert code == 0, errors
        now += timedelta(minutes=10)
    return now
