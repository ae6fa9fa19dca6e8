"""Nothing acknowledged is lost: not when the process is killed, and not when the disk is full."""

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from stillsafe.core.state import State
from tests.serving.services import GOOD, Service, opened

ROOT = Path(__file__).parents[2]
BODY = json.dumps({"features": GOOD})


@contextmanager
def _process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "tests.serving.server", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def _acknowledged_ids(port: int, most: int = 1_000_000) -> list[str]:
    """Identifiers of the answers received, as many as wanted or until the server is gone."""
    received_ids: list[str] = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection), suppress(OSError, http.client.HTTPException, ValueError):
        while len(received_ids) < most:
            connection.request("POST", "/v1/predict", BODY)
            response = connection.getresponse()
            content = response.read()
            if response.status == 200:
                received_ids.append(json.loads(content)["prediction_id"])
    return received_ids


@pytest.fixture
def on_either(named_store: str, model_file: Path, tmp_path: Path) -> Iterator[Service]:
    """A service on a new database, once of each kind."""
    shutil.copy(model_file, tmp_path)
    yield from opened(tmp_path)


def test_kill_minus_nine_loses_nothing_acknowledged(on_either: Service) -> None:
    """Every answer that any client ever held is a row, though the process died between two instructions."""
    on_either.decide(State.NORMAL)
    with _process(on_either.context.settings.folder) as (process, port), ThreadPoolExecutor(6) as pool:
        first = _acknowledged_ids(port, most=1)
        clients = [pool.submit(_acknowledged_ids, port) for _ in range(6)]
        while len(on_either.log()) <= 100:  # in full swing, however slow the machine
            sleep(0.1)
        process.kill()
        received_ids = first + [prediction_id for client in clients for prediction_id in client.result()]
    log_ids = {row.prediction_id for row in on_either.log()}
    assert len(received_ids) > 50
    assert set(received_ids) <= log_ids
    assert len(log_ids) - len(received_ids) <= 6


def test_a_full_disk_is_a_clear_503_and_loses_nothing(service: Service, client: TestClient) -> None:
    """Each request is answered and recorded, or neither; when there is room again it goes on."""
    service.decide(State.NORMAL)

    def no_room(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    event.listen(service.engine, "connect", no_room)
    service.engine.dispose()
    answers = [client.post("/v1/predict", content=BODY) for _ in range(60)]
    refusal = client.post("/v1/predict", json={"features": {}})
    full = [client.get("/health/ready") for _ in range(3)]
    event.remove(service.engine, "connect", no_room)
    service.engine.dispose()
    ids = [answer.json()["prediction_id"] for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert [row.prediction_id for row in service.log()] == ids
    assert "retry-after" in answers[-1].headers
    assert refusal.status_code == 422
    assert {answer.status_code for answer in full} == {503}
    assert "the disk is full" in full[0].json()["detail"]
    assert client.get("/health/ready").status_code == 200
    assert client.post("/v1/predict", content=BODY).status_code == 200
    assert [row.prediction_id for row in service.log()][:-1] == ids
