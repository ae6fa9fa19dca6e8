"""What one size costs: a run, an answer under load, a page."""

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from fastapi.testclient import TestClient

from benchmarks import log_rows
from benchmarks.monitoring import costs
from benchmarks.monitoring.costs import Cost
from benchmarks.monitoring.logs import NOW, SPAN, Log
from benchmarks.monitoring.work import DECISIONS
from benchmarks.scale.curves import Curve
from benchmarks.servers import Running
from benchmarks.serving import load
from benchmarks.serving.contenders import Endpoint, Server
from benchmarks.serving.load import Load
from stillsafe import service
from stillsafe.store import database
from stillsafe.store.tables import prediction_logs

STEP = timedelta(seconds=10)
MEGA, MILLI = 1e6, 1e3
PAGE_REQUESTS = 20
RUN, RUN_MEMORY = "CPU of a run (s)", "peak memory of a run (MB)"
DECISION = "CPU of a decision (ms)"
ANSWER, ANSWERS = "CPU of an answer (µs)", "answers a second"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one part so far.

    Attributes:
        size: what grows.
        rounds: (cost, line) -> size -> the cost of each round.
    """

    size: str
    rounds: dict[tuple[str, str], dict[int, list[float]]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, cost: str, line: str, size: int, value: float) -> None:
        """Add the cost of one round."""
        self.rounds[cost, line].setdefault(size, []).append(value)

    def curves(self) -> tuple[Curve, ...]:
        """A curve per cost and line, in the order in which they were first added."""
        return tuple(Curve(self.size, cost, line, dict(sizes)) for (cost, line), sizes in self.rounds.items())


def first_run(log: Log) -> Cost:
    """A run over the window that ends at NOW, on a log that no run has judged."""
    log.forget_runs()
    return run_at(log, NOW)


def run_at(log: Log, at: datetime) -> Cost:
    """A run in a process of its own, with what earlier runs left."""
    return _work("run", log, at)


def decision_milliseconds(log: Log) -> float:
    """CPU of judging the window that ends at NOW, its rows counted before, in milliseconds."""
    log.forget_runs()
    return cpu_of(_work("decide", log, NOW)) * MILLI / DECISIONS


def _work(name: str, log: Log, at: datetime) -> Cost:
    command = [sys.executable, "-m", "benchmarks.monitoring.work", name, str(log.config), at.isoformat()]
    return costs.of(command, {**_ONE_THREAD, **log.environment})


def cpu_of(cost: Cost) -> float:
    """Its CPU in seconds."""
    if cost.cpu_seconds is None:
        raise ValueError("the process does not tell its CPU")
    return cost.cpu_seconds


def replace_window(log: Log, template: Sequence[log_rows.LogRow], older: int, new: tuple[datetime, datetime]) -> None:
    """Take the window's rows and later ones out of a log, append older rows, and append the window anew.

    Args:
        log: whose `rows` the window gets.
        template: rows to draw from.
        older: how many rows to append before the window.
        new: their span, aware UTC.
    """
    engine = database.connect(log.database)
    with database.writing(engine) as connection:
        connection.execute(prediction_logs.delete().where(prediction_logs.c.timestamp >= NOW - SPAN))
    engine.dispose()
    log_rows.fill(log.database, template, older, *new)
    log_rows.fill(log.database, template, log.rows, NOW - SPAN, NOW)
    log_rows.settle(log.database)


def server_of(log: Log, port: int, *options: str) -> Server:
    """`stillsafe serve` on a log."""
    program = str(Path(sys.executable).with_name("stillsafe"))
    command = (program, "serve", "--config", str(log.config), "--port", str(port), *options)
    one = Endpoint("/v1/predict", lambda rows: {"features": rows[0]}, list)
    return Server(command, "/health/ready", one, None, {**_ONE_THREAD, **log.environment})


def load_cost(running: Running, bodies: Path, connections: int, seconds: int) -> tuple[Load, float]:
    """One row a request for some seconds: the load, and the CPU of an answer in microseconds, of all its processes."""
    began = running.cpu_seconds()
    result = load.run(running.port, "/v1/predict", bodies, connections=connections, seconds=seconds)
    return result, (running.cpu_seconds() - began) * MEGA / (result.per_second * seconds)


def page_seconds(log: Log, paths: Sequence[str], now: datetime) -> list[float]:
    """CPU of a GET of each path in this process, the first one left out.

    Args:
        log: of the service.
        paths: each answers 200.
        now: what the service's clock says, aware UTC.
    """
    seconds = []
    with TestClient(service.create_app(log.settings(), clock=lambda: now)) as client:
        for path in paths:
            client.get(path).raise_for_status()
            began = time.process_time()
            for _ in range(PAGE_REQUESTS):
                client.get(path)
            seconds.append((time.process_time() - began) / PAGE_REQUESTS)
    return seconds
