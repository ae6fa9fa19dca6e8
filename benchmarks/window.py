"""One monitoring run over a large window, beside the least that any monitor must do: read and parse its rows once.

Run it with `python -m benchmarks.window [ROWS]` from the root of the repository.
"""

import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from stillsafe.core.state import State
from stillsafe.monitoring import baseline, run
from stillsafe.settings import Settings, parse
from stillsafe.store import database, prediction_log
from stillsafe.store.prediction_log import PredictionRecord

START = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS, CATEGORIES, ROUNDS = 12, 4, 5


def main() -> None:
    """Print the medians of interleaved rounds and their ratio."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(Path(folder))
        engine = database.connect(settings.database_url)
        database.upgrade(engine)
        draw = random.Random(1)  # noqa: S311 - made-up traffic
        _log(engine, draw, 10_000, START - timedelta(hours=5), timedelta(hours=4))
        baseline.create(engine, settings, at=START, first=10_000)
        _log(engine, draw, rows, START, timedelta(minutes=9))
        times: dict[str, list[float]] = {"read and parse": [], "whole run": []}
        for number in range(ROUNDS):
            end = START + timedelta(minutes=10, seconds=number)
            times["read and parse"].append(_timed(partial(_read, settings, end)))
            times["whole run"].append(_timed(partial(run.run, engine, settings, now=end, score=None)))
            _forget_runs(settings)
    floor, whole = (statistics.median(times[name]) for name in times)
    for name, seconds in times.items():
        print(f"{name:<16} median {statistics.median(seconds):.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
    print(f"{rows} rows, {NUMBERS + CATEGORIES} features: a run costs {whole / floor:.2f} times reading and parsing.")


def _settings(folder: Path) -> Settings:
    numbers = [{"name": f"n{i}", "type": "numeric", "required": False} for i in range(NUMBERS)]
    categories = [{"name": f"c{i}", "type": "category", "required": False} for i in range(CATEGORIES)]
    document = {
        "service": {"name": "benchmark"},
        "model": {"file": "none", "sha256": "0" * 64, "version": "1"},
        "fallback": {"default": 0},
        "features": numbers + categories,
    }
    return parse(document, folder=folder)


def _log(engine: Engine, draw: random.Random, count: int, start: datetime, over: timedelta) -> None:
    records = [
        PredictionRecord(
            f"{start:%H%M}-{i}",
            start + over * (i / count),
            "1",
            State.NORMAL,
            {
                **{f"n{j}": draw.gauss(0, 1) for j in range(NUMBERS)},
                **{f"c{j}": draw.choice("abcdefg") for j in range(CATEGORIES)},
            },
            "1",
            min(1.0, max(0.0, draw.gauss(0.85, 0.08))),
            False,
            "made up",
        )
        for i in range(count)
    ]
    with database.writing(engine) as connection:
        prediction_log.append(connection, records)


def _read(settings: Settings, end: datetime) -> int:
    """The floor: the rows of the window, their documents parsed at once, nothing counted."""
    connection = sqlite3.connect(settings.folder / "stillsafe.db")
    bounds = [at.strftime("%Y-%m-%d %H:%M:%S.%f") for at in (end - timedelta(minutes=15), end)]
    query = "SELECT input_summary, confidence_score FROM prediction_logs WHERE timestamp >= ? AND timestamp < ?"
    found = connection.execute(query, bounds).fetchall()
    connection.close()
    return len(json.loads(f"[{','.join(text for text, _ in found)}]"))


def _forget_runs(settings: Settings) -> None:
    """Every round judges the same rows as if they were fresh."""
    connection = sqlite3.connect(settings.folder / "stillsafe.db")
    with connection:
        connection.execute("DELETE FROM current_window_metrics")
        connection.execute("DELETE FROM system_state")
        connection.execute("DELETE FROM incidents")
    connection.close()


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
