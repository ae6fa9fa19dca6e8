"""A real server, many clients at once: every acknowledged answer is on disk."""

import asyncio
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from time import sleep
from typing import Any

import pytest
import uvicorn

from stillsafe.core.state import State
from stillsafe.serving.app import build
from tests.serving.services import GOOD, OLD, Service, fitted_pipeline

CLIENTS, EACH = 16, 25


@contextmanager
def _server(service: Service) -> Iterator[int]:
    """The app behind a real server on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(build(service.context), port=0, log_config=None, access_log=False))
    thread = Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def _client(port: int, bodies: list[Any]) -> list[tuple[int, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    answers = []
    for body in bodies:
        connection.request("POST", "/v1/predict", body if isinstance(body, bytes) else json.dumps(body))
        response = connection.getresponse()
        answers.append((response.status, json.loads(response.read())))
    connection.close()
    return answers


def _all(port: int, bodies: list[list[Any]]) -> list[tuple[int, Any]]:
    with ThreadPoolExecutor(len(bodies)) as pool:
        return [answer for answers in pool.map(lambda each: _client(port, each), bodies) for answer in answers]


def test_no_acknowledged_prediction_is_missing_from_the_log(service: Service) -> None:
    """Sixteen clients at once: each gets its own answer, and the log holds exactly what was answered."""
    service.decide(State.NORMAL)
    bodies = [
        [{"features": {**GOOD, "age": 20 + client, "visits": number}} for number in range(EACH)]
        for client in range(CLIENTS)
    ]
    with _server(service) as port:
        answers = _all(port, bodies)
    assert {status for status, _ in answers} == {200}
    log = {row.prediction_id: row for row in service.log()}
    assert len(log) == len(answers) == CLIENTS * EACH
    requests = [body["features"] for each in bodies for body in each]
    for features, (_, answer) in zip(requests, answers, strict=True):
        row = log[answer["prediction_id"]]
        assert (row.input_summary["age"], row.input_summary["visits"]) == (features["age"], features["visits"])
        assert (row.prediction, row.confidence_score) == (answer["prediction"], answer["confidence"])


def test_bad_requests_in_a_batch_change_no_answer(service: Service) -> None:
    """Malformed bodies and rows on which the model raises affect only themselves, however busy the batcher."""
    service.decide(State.NORMAL)
    failing = service.with_estimator(fitted_pipeline(unknown="error"))
    good: list[Any] = [{"features": GOOD}] * EACH
    poison: list[Any] = [{"features": {**OLD, "town": "Atlantis"}}] * EACH
    malformed_bodies: list[Any] = [b'{"features": {"age": NaN', b"[" * 5000, b'{"features": {"age": "x"}}'] * 8
    with _server(failing) as port:
        single = _client(port, [{"features": GOOD}])[0][1]
        answers = _all(port, [good, poison, malformed_bodies, good, poison, malformed_bodies, good, good])
    by_status: dict[int, list[Any]] = {}
    for status, answer in answers:
        by_status.setdefault(status, []).append(answer)
    assert {status: len(answers_of_status) for status, answers_of_status in by_status.items()} == {
        200: 6 * EACH,
        422: 48,
    }
    model_answers = [answer for answer in by_status[200] if answer["decided_by"] == "model"]
    assert len(model_answers) == 4 * EACH
    assert {answer["prediction"] for answer in model_answers} == {single["prediction"]}
    assert {round(answer["confidence"], 9) for answer in model_answers} == {round(single["confidence"], 9)}
    assert len(service.log()) == 6 * EACH + 1
    assert len(service.refusals()) == 48


def test_a_decision_applies_to_every_later_answer(service: Service) -> None:
    """Once DEGRADED is written, no request that begins afterwards is answered by the model."""
    service.decide(State.NORMAL)
    with _server(service) as port, ThreadPoolExecutor(4) as pool:
        earlier = [pool.submit(_client, port, [{"features": GOOD}] * 20) for _ in range(4)]
        sleep(0.02)
        service.decide(State.DEGRADED)
        later_answers = _client(port, [{"features": GOOD}] * 5)
        states = [answer["system_state"] for future in earlier for _, answer in future.result()]
    assert {answer["decided_by"] for _, answer in later_answers} == {"fallback"}
    assert set(states) <= {"NORMAL", "DEGRADED"}


@pytest.mark.parametrize("count", [1, 2])
def test_every_worker_applies_the_same_state(service: Service, count: int) -> None:
    """Two apps on one database, like two workers: both record, and the state applies to both."""
    other = Service(replace(service.context), service.clock)
    service.decide(State.DEGRADED)
    with _server(service) as first, _server(other) as second:
        ports = [first, second] * count
        answers = [answer for port in ports for answer in _client(port, [{"features": OLD}] * 5)]
    assert {(status, answer["decided_by"]) for status, answer in answers} == {(200, "fallback")}
    assert len(service.log()) == len(answers)
