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

CHECKED, CLIENTS = 256, 16  # rows asked one by one before anything is timed, and how many ask at once
MOST_DIFFERENCE = 1e-6  # of a probability: single precision differs by less
WARM_SECONDS = 1.0
_PATIENCE = 120  # seconds for one answer

Tell = Callable[[str], None]


class Disagrees(Exception):
    """A server does not answer as scikit-learn itself does; the message says where."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What was found.

    Attributes:
        startup_seconds: from its start to its first answer.
        loaded: with 64 connections, one row a request.
        alone: with one connection, one row a request.
        rows_per_second: with one connection, 1,000 rows a request; None without such an endpoint.
        memory_bytes: of all its processes after the load, shared pages counted once.
        row_bytes: on disk per logged row; None of what logs nothing.
        difference: the largest of a probability from scikit-learn's own.
    """

    startup_seconds: float
    loaded: Load
    alone: Load
    rows_per_second: float | None
    memory_bytes: int
    row_bytes: float | None
    difference: float


def pay(contender: Contender, place: Place, seconds: float, tell: Tell) -> Visit:
    """Start it, see that it answers rightly, measure, stop.

    Args:
        contender: whom.
        place: where.
        seconds: of each load.
        tell: is told what is being done.

    Raises:
        NotInstalled, NotStarted, Disagrees, LoadFailed: why it cannot be measured.
    """
    tell("making ready")
    server = contender.prepare(place)
    tell("starting")
    with up(server, place) as running:
        tell("checking its answers")
        difference = check(server, place.port, place.workload)
        before = server.log.measure() if server.log else None
        loaded, alone = _one_row(server, place, seconds, tell)
        many = None if server.many is None else _many_rows(server.many, place, seconds, tell)
        after = server.log.measure() if server.log else None
        memory = running.memory_bytes()
    row_bytes = None if before is None or after is None else (after[0] - before[0]) / (after[1] - before[1])
    return Visit(running.startup_seconds, loaded, alone, many, memory, row_bytes, difference)


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
    load.put(place.port, server.one.path, bodies, connections=CONNECTIONS, seconds=WARM_SECONDS)
    return load.put(place.port, server.one.path, bodies, connections=CONNECTIONS, seconds=seconds)


def _one_row(server: Server, place: Place, seconds: float, tell: Tell) -> tuple[Load, Load]:
    tell(f"{CONNECTIONS} connections")
    loaded = throughput(server, place, seconds)
    tell("1 connection")
    return loaded, load.put(place.port, server.one.path, place.folder / "one.jsonl", connections=1, seconds=seconds)


def _many_rows(endpoint: Endpoint, place: Place, seconds: float, tell: Tell) -> float:
    tell(f"batches of {BATCH:,}")
    bodies, rows = place.folder / "many.jsonl", place.workload.rows
    write_bodies(bodies, [endpoint.body(rows[i : i + BATCH]) for i in range(0, len(rows) - BATCH + 1, BATCH)])
    return load.put(place.port, endpoint.path, bodies, connections=1, seconds=seconds).per_second * BATCH


def check(server: Server, port: int, workload: Workload) -> float:
    """The largest difference of a probability from scikit-learn's own, over rows one by one and in a batch.

    Raises:
        Disagrees: another class somewhere, or another probability.
    """
    with ThreadPoolExecutor(CLIENTS) as pool:
        places = range(CLIENTS)
        parts = list(pool.map(lambda i: _asked(port, server.one, workload.rows[i:CHECKED:CLIENTS], 1), places))
    differences = [
        _difference(part, workload.answers[i:CHECKED:CLIENTS]) for i, part in zip(places, parts, strict=True)
    ]
    if server.many is not None:
        answers = _asked(port, server.many, workload.rows[:BATCH], BATCH)
        differences.append(_difference(answers, workload.answers[:BATCH]))
    return max(differences)


def _difference(answers: Sequence[Answer], truth: Sequence[Answer]) -> float:
    if len(answers) != len(truth):
        raise Disagrees(f"it gave {len(answers)} answers to {len(truth)} rows")
    largest = 0.0
    for (given, sure), (right, expected) in zip(answers, truth, strict=True):
        if sure is None or given != right or not abs(sure - expected) <= MOST_DIFFERENCE:
            raise Disagrees(f"it answered {given} ({sure}) where scikit-learn answers {right} ({expected})")
        largest = max(largest, abs(sure - expected))
    return largest


def _asked(port: int, endpoint: Endpoint, rows: Sequence[Row], together: int) -> list[Answer]:
    """The answers to rows, so many in one request."""
    found: list[Answer] = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        for start in range(0, len(rows), together):
            found += endpoint.read(post(connection, endpoint.path, endpoint.body(rows[start : start + together])))
    return found


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
