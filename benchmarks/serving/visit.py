"""One visit to one contender: started, checked, put under load, weighed, stopped."""

import http.client
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

from benchmarks import servers
from benchmarks.servers import Running
from benchmarks.serving import load
from benchmarks.serving.contenders import CONNECTIONS, Contender, Endpoint, Place, Server
from benchmarks.serving.load import Load, LoadFailed
from benchmarks.serving.workload import BATCH, Answer, Row, Workload, write_bodies

CHECKED_ROWS, CLIENTS = 256, 16  # rows asked one by one before anything is timed, and how many ask at once
MOST_DIFFERENCE = 1e-6  # of a probability: single precision differs by less
WARM_SECONDS = 1.0
_PATIENCE = 120  # seconds for one answer

Report = Callable[[str], None]


class Disagrees(Exception):
    """A server does not answer as scikit-learn itself does; the message has the first difference."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What was found.

    Attributes:
        startup_seconds: from its start to its first answer.
        concurrent_load: with 64 connections, one row a request.
        single_load: with one connection, one row a request.
        rows_per_second: with one connection, 1,000 rows a request; None without such an endpoint.
        memory_bytes: of all its processes after the load, shared pages counted once.
        row_bytes: on disk per logged row; None of what logs nothing.
        difference: the largest of a probability from scikit-learn's own.
    """

    startup_seconds: float
    concurrent_load: Load
    single_load: Load
    rows_per_second: float | None
    memory_bytes: int
    row_bytes: float | None
    difference: float


def measure(contender: Contender, place: Place, seconds: float, report: Report) -> Visit:
    """Start a contender, check its answers, measure it, and stop it.

    Args:
        contender: whom.
        place: where.
        seconds: of each load.
        report: called with the progress.

    Raises:
        NotInstalled, NotStarted, Disagrees, LoadFailed: why it cannot be measured.
    """
    report("making ready")
    server = contender.prepare(place)
    report("starting")
    with up(server, place) as running:
        report("checking its answers")
        difference = check(server, place.port, place.workload)
        log_before = server.log.measure() if server.log else None
        concurrent_load, single_load = _one_row(server, place, seconds, report)
        many = None if server.many is None else _many_rows(server.many, place, seconds, report)
        log_after = server.log.measure() if server.log else None
        memory = running.memory_bytes()
    row_bytes = (
        None
        if log_before is None or log_after is None
        else (log_after[0] - log_before[0]) / (log_after[1] - log_before[1])
    )
    return Visit(running.startup_seconds, concurrent_load, single_load, many, memory, row_bytes, difference)


def up(server: Server, place: Place) -> AbstractContextManager[Running]:
    """The server while it is wanted.

    Raises:
        NotStarted: it did not come up.
    """
    return servers.running(
        server.command, port=place.port, ready=server.ready, folder=place.folder, environment=server.environment
    )


def throughput(server: Server, place: Place, seconds: float) -> Load:
    """64 connections, one row a request, after a second to warm up."""
    bodies = place.folder / "one.jsonl"
    write_bodies(bodies, [server.one.body([row]) for row in place.workload.rows])
    load.run(place.port, server.one.path, bodies, connections=CONNECTIONS, seconds=WARM_SECONDS)
    return load.run(place.port, server.one.path, bodies, connections=CONNECTIONS, seconds=seconds)


def _one_row(server: Server, place: Place, seconds: float, report: Report) -> tuple[Load, Load]:
    report(f"{CONNECTIONS} connections")
    concurrent_load = throughput(server, place, seconds)
    report("1 connection")
    return concurrent_load, load.run(
        place.port, server.one.path, place.folder / "one.jsonl", connections=1, seconds=seconds
    )


def _many_rows(endpoint: Endpoint, place: Place, seconds: float, report: Report) -> float:
    report(f"batches of {BATCH:,}")
    bodies, rows = place.folder / "many.jsonl", place.workload.rows
    write_bodies(bodies, [endpoint.body(rows[i : i + BATCH]) for i in range(0, len(rows) - BATCH + 1, BATCH)])
    return load.run(place.port, endpoint.path, bodies, connections=1, seconds=seconds).per_second * BATCH


def check(server: Server, port: int, workload: Workload) -> float:
    """The largest difference of a probability from scikit-learn's own, over rows one by one and in a batch.

    Raises:
        Disagrees: another class somewhere, or another probability.
    """
    with ThreadPoolExecutor(CLIENTS) as pool:
        places = range(CLIENTS)
        parts = list(pool.map(lambda i: _predict(port, server.one, workload.rows[i:CHECKED_ROWS:CLIENTS], 1), places))
    differences = [
        _difference(part, workload.answers[i:CHECKED_ROWS:CLIENTS]) for i, part in zip(places, parts, strict=True)
    ]
    if server.many is not None:
        answers = _predict(port, server.many, workload.rows[:BATCH], BATCH)
        differences.append(_difference(answers, workload.answers[:BATCH]))
    return max(differences)


def _difference(answers: Sequence[Answer], truth: Sequence[Answer]) -> float:
    if len(answers) != len(truth):
        raise Disagrees(f"it gave {len(answers)} answers to {len(truth)} rows")
    largest = 0.0
    for (prediction, sure), (right, expected) in zip(answers, truth, strict=True):
        if sure is None or prediction != right or not abs(sure - expected) <= MOST_DIFFERENCE:
            raise Disagrees(f"it answered {prediction} ({sure}) where scikit-learn answers {right} ({expected})")
        largest = max(largest, abs(sure - expected))
    return largest


def _predict(port: int, endpoint: Endpoint, rows: Sequence[Row], rows_per_request: int) -> list[Answer]:
    """The answers to rows, so many in one request."""
    answers: list[Answer] = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        for start in range(0, len(rows), rows_per_request):
            answers += endpoint.read(
                post(connection, endpoint.path, endpoint.body(rows[start : start + rows_per_request]))
            )
    return answers


def post(connection: http.client.HTTPConnection, path: str, body: object) -> Any:
    """The JSON of an answer.

    Raises:
        LoadFailed: it is not one.
    """
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    if response.status != http.HTTPStatus.OK:
        raise LoadFailed(f"{path} answered {response.status}: {content[:200].decode(errors='replace')}")
    return json.loads(content)
