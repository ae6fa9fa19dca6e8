"""The database of a served service goes away for a moment and comes back, whatever stands in its place meanwhile."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.attack.conftest import size
from tests.attack.rows import answered_ids, stored_ids
from tests.cli.commands import stillsafe
from tests.faults.api import BODY
from tests.faults.figures import Figure
from tests.serving.server_process import ServerProcess, serve_folder

FILES = ("stillsafe.db", "stillsafe.db-wal", "stillsafe.db-shm")


def _nothing(_file: Path) -> None:
    """Nothing in its place, as where a volume is not mounted."""


def _folder(file: Path) -> None:
    file.mkdir()


def _loop(file: Path) -> None:
    file.symlink_to(file)


def _unreadable(file: Path) -> None:
    file.write_bytes(b"\0" * 8_192)


def _rubbish(file: Path) -> None:
    file.write_bytes(os.urandom(8_192))


def _empty(file: Path) -> None:
    file.touch()


REPLACEMENTS: dict[str, Callable[[Path], None]] = {
    "nothing": _nothing,
    "an empty file": _empty,
    "rubbish": _rubbish,
    "zeros": _unreadable,
    "a folder": _folder,
    "a link to itself": _loop,
}


@pytest.fixture
def held_service(made_service: Path) -> Iterator[ServerProcess]:
    """A served service that an operator holds, so that its model must not answer."""
    assert stillsafe(made_service, "hold", "--reason", "a drill").returncode == 0
    with serve_folder(made_service) as process:
        yield process


class _Client(Thread):
    """Predicts until it is stopped; keeps each answer's status and content."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.answers: list[tuple[int, bytes]] = []
        self.stop = Event()
        self._port = port

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self.stop.is_set():
            connection.request("POST", "/v1/predict", json.dumps({"features": BODY}))
            response = connection.getresponse()
            self.answers.append((response.status, response.read()))
            self.stop.wait(0.005)
        connection.close()


def test_a_lost_database_is_never_replaced(held_service: ServerProcess, figure: Figure) -> None:
    """No command goes on without it, the model answers nobody, and no answer is lost that a client has."""
    folder, counts = held_service.log_file.parent, {200: 0, 503: 0}
    client = _Client(held_service.port)
    client.start()
    for replace in [*REPLACEMENTS.values()] * size(1, 10):
        refuge = folder / "elsewhere"
        refuge.mkdir()
        for name in FILES:
            if (folder / name).exists():
                (folder / name).rename(refuge / name)
        replace(folder / FILES[0])
        if replace in (_nothing, _empty):
            for words in (["status"], ["monitor"], ["replay"], ["release", "--reason", "over"]):
                assert stillsafe(folder, *words).returncode != 0, (replace, words)
        client.stop.wait(0.5)
        assert replace is not _nothing or not (folder / FILES[0]).exists()
        _remove(folder)
        for file in refuge.iterdir():
            file.rename(folder / file.name)
        refuge.rmdir()
        client.stop.wait(0.3)
    client.stop.set()
    client.join()
    for code, content in client.answers:
        counts[code] += 1
        assert code == 503 or json.loads(content)["decided_by"] == "fallback"
    ids = set().union(*(answered_ids(content) for _, content in client.answers))
    assert ids == stored_ids(held_service)
    assert client.answers[-1][0] == 200
    assert "DEGRADED" in stillsafe(folder, "status").stdout
    figure("a lost database: answers of the fallback, 503, lost or of the model", f"{counts[200]}, {counts[503]}, 0")


def _remove(folder: Path) -> None:
    for name in FILES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
