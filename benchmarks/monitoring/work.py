"""One piece of work in a process of its own, which prints what it cost: `... .work WORK CONFIG NOW`."""

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from stillsafe import service
from stillsafe.core.decide import decide
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline

DECISIONS = 20
"""How often `decide` judges the window that it is measured with."""


def main() -> None:
    """Do the work that the command line names."""
    name, config, now = sys.argv[1:]
    settings, at = service.settings_of(config), datetime.fromisoformat(now)
    work = WORK[name](settings, at)
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak * 1024}))


def _scan(settings: Settings, now: datetime) -> None:
    """The least that any monitor must do: the rows of the window, read from SQLite one after the other."""
    for _ in _rows(settings, now):
        pass


def _parse(settings: Settings, now: datetime) -> None:
    """The same, and each row's features parsed."""
    for features, _ in _rows(settings, now):
        json.loads(features)


def _rows(settings: Settings, now: datetime) -> sqlite3.Cursor:
    connection = sqlite3.connect(settings.database_url.removeprefix("sqlite:///"))
    bounds = [f"{at:%Y-%m-%d %H:%M:%S.%f}" for at in (now - timedelta(seconds=settings.policy.window_seconds), now)]
    query = "SELECT input_summary, confidence_score FROM prediction_logs WHERE timestamp >= ? AND timestamp < ?"
    return connection.execute(query, bounds)


def _run(settings: Settings, now: datetime) -> None:
    """What cron starts, less the start of the process."""
    run = service.monitor(settings, now=now)
    if run.decision is None:
        raise RuntimeError(f"the run did not take place: {run.outcome}")


def _decisions(settings: Settings, now: datetime) -> Callable[[], None]:
    """Judges the window of a run, which is made before, as often as `DECISIONS` says."""
    run = service.monitor(settings, now=now)
    window, memory = run.window, run.old_memory
    if window is None or memory is None:
        raise RuntimeError(f"the run did not take place: {run.outcome}")
    engine = service.open_store(settings)
    with database.reading(engine) as connection:
        baseline = active_baseline(connection, settings.model.version)
    engine.dispose()

    def decisions() -> None:
        for _ in range(DECISIONS):
            decide(settings.policy, baseline, window, memory)

    return decisions


WORK: Mapping[str, Callable[[Settings, datetime], Callable[[], None]]] = {
    "scan": partial(partial, _scan),
    "parse": partial(partial, _parse),
    "run": partial(partial, _run),
    "decide": _decisions,
}
"""Each makes ready what it needs, and returns what is measured."""

if __name__ == "__main__":
    main()
