"""The service as users run it: `stillsafe serve` in its own process, and clients that record each answer."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import Any

from sqlalchemy import select

from stillsafe.settings import DATABASE_VARIABLE
from stillsafe.store import database
from stillsafe.store.tables import prediction_logs
from tests.cli.command_server import INSTALLATION, Process, program, start
from tests.ports import free_port

BODY = {"mean radius": 14.0, "mean texture": 19.0, "mean smoothness": 0.1, "worst area": 800.0}
TIMEOUT_SECONDS = 60


class RequestRefused(Exception):
    """An error response: its status and its document."""

    def __init__(self, status: int, document: Any) -> None:
        self.status = status
        self.document = document
        super().__init__(f"{status}: {document}")


@dataclass
class Api:
    """One service folder, served by a process that can be killed and restarted.

    Args:
        folder: with the settings.
        database: the store's URL.
        workers: processes that serve the port.
    """

    folder: Path
    database: str
    workers: int = 1
    extra_environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: "Process | subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the process and wait until it is live."""
        self.port = free_port()
        words = ["serve", "--port", str(self.port), "--workers", str(self.workers)]
        with (self.folder / "serve.log").open("ab") as log:
            if self.workers == 1:
                self.process = start(*words, folder=self.folder, log=log, environment=self.environment)
            else:  # which starts others
                options: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "stdout": log, "stderr": log}
                self.process = subprocess.Popen([INSTALLATION, *words], **options)
        wait_until(self.alive, self.log_text)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of the service's processes."""
        return os.environ | {DATABASE_VARIABLE: self.database} | self.extra_environment

    def kill(self) -> None:
        """Send SIGKILL, as the kernel does when memory is short."""
        self._stop(signal.SIGKILL)

    def terminate(self) -> int:
        """Send SIGTERM, as an init system does; return the exit code."""
        return self._stop(signal.SIGTERM)

    def _stop(self, signal_number: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(signal_number)
        return process.wait()

    def alive(self) -> bool:
        """Whether it answers `/health/live`."""
        assert self.process is not None
        assert self.process.poll() is None, self.log_text()
        with suppress(OSError):
            return bool(self.get("/health/live")["status"] == "live")
        return False

    def log_text(self) -> str:
        """The log of the process."""
        return (self.folder / "serve.log").read_text()

    def get(self, path: str) -> Any:
        """GET a JSON document or a text.

        Raises:
            Refused: the response is an error.
            OSError: there is no response.
        """
        return self._request("GET", path, None)

    def predict(self, features: dict[str, Any] | None = None) -> Any:
        """Request one prediction; raises as `get`."""
        return self._request("POST", "/v1/predict", json.dumps({"features": features or BODY}))

    def post(self, path: str, body: str) -> Any:
        """POST a JSON document; raises as `get`."""
        return self._request("POST", path, body)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of this service to its end."""
        return subprocess.run(
            [program(), *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def change(self, section: str, line: str) -> None:
        """Add a line to a section of the settings for the next start."""
        settings = self.folder / "stillsafe.toml"
        text = settings.read_text()
        assert f"[{section}]" in text
        settings.write_text(text.replace(f"[{section}]", f"[{section}]\n{line}", 1))

    def prediction_log(self) -> list[Any]:
        """The rows of the prediction log, ordered by id."""
        engine = database.connect(self.database)
        try:
            with database.reading(engine) as connection:
                return list(connection.execute(select(prediction_logs).order_by(prediction_logs.c.id)))
        finally:
            engine.dispose()

    def _request(self, method: str, path: str, body: str | None) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        document = json.loads(content) if "json" in (answer.getheader("content-type") or "") else content.decode()
        if answer.status != 200:
            raise RequestRefused(answer.status, document)
        return document


@dataclass
class Load:
    """Clients with one connection each that send one request after another until `stop`.

    Attributes:
        answers: every answer that a client received, as (prediction_id, time of the request, decided_by).
        failures: error responses and exceptions.
    """

    api: Api
    connections: int = 8
    answers: list[tuple[str, float, str]] = field(default_factory=list)
    failures: list[object] = field(default_factory=list)
    longest_seconds: float = 0.0

    def __enter__(self) -> "Load":
        self._is_stopping = False
        self._thread = Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def prediction_ids(self) -> set[str]:
        """The ids of all acknowledged predictions."""
        return {each[0] for each in self.answers}

    def wait_for_answers(self, count: int) -> None:
        """Wait for this many further answers."""
        answer_count = len(self.answers) + count
        wait_until(
            lambda: len(self.answers) >= answer_count, lambda: f"{self.failures[-3:]}\n{self.api.log_text()[-3000:]}"
        )

    def stop(self) -> None:
        """Let every client receive its last answer, then end."""
        self._is_stopping = True
        self._thread.join(TIMEOUT_SECONDS)
        assert not self._thread.is_alive(), "a client is still waiting for its answer"

    async def _all(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self.connections)))

    async def _client(self) -> None:
        body = json.dumps({"features": BODY}).encode()
        head = f"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        while not self._is_stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.api.port)
            except OSError as error:
                self.failures.append(error)
                await asyncio.sleep(0.05)
                continue
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._send_requests(reader, writer, head + body)
            writer.close()

    async def _send_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        while not self._is_stopping:
            began = time.monotonic()
            try:
                writer.write(request)
                status, document = await _response(reader)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failures.append(error)
                raise
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
            if status == 200:
                self.answers.append((document["prediction_id"], began, document["decided_by"]))
            else:
                self.failures.append((status, document))


async def _response(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length"))
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


def wait_until(
    condition: Callable[[], bool], message: Callable[[], object] = lambda: "the condition did not come true"
) -> None:
    """Wait until a condition holds; fail with a message after the timeout."""
    last = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < last, message()
        time.sleep(0.05)


def missing_and_duplicate_counts(prediction_ids: set[str], rows: Sequence[Any]) -> tuple[int, int]:
    """The number of acknowledged predictions that are not in the log, and of duplicate rows."""
    logged_ids = [row.prediction_id for row in rows]
    return len(prediction_ids - set(logged_ids)), len(logged_ids) - len(set(logged_ids))
