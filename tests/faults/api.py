"""The service as its users run it: `stillsafe serve` as a process of its own, and clients who remember each answer."""

import asyncio
import json
import os
import signal
import subprocess
import sys
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
from tests.ports import free_port

BODY = {"mean radius": 14.0, "mean texture": 19.0, "mean smoothness": 0.1, "worst area": 800.0}
PATIENCE_SECONDS = 60


class Refused(Exception):
    """An answer that is none: its status and what it says."""

    def __init__(self, status: int, told: Any) -> None:
        self.status = status
        self.told = told
        super().__init__(f"{status}: {told}")


@dataclass
class Api:
    """One service folder, served by a process that may be killed and started again.

    Args:
        folder: with the settings.
        database: the store's URL.
        workers: processes that serve the port.
    """

    folder: Path
    database: str
    workers: int = 1
    surroundings: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it and wait until it lives."""
        self.port = free_port()
        command = [sys.executable, "-m", "stillsafe", "serve", "--port", str(self.port), "--workers", str(self.workers)]
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        until(self.alive, self.told)

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this service finds in its environment."""
        return os.environ | {DATABASE_VARIABLE: self.database} | self.surroundings

    def kill(self) -> None:
        """End it with kill -9, as the kernel does when memory is short."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Ask it to end as an init system does, and say how it ended."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait()

    def alive(self) -> bool:
        """Whether it answers at all."""
        assert self.process is not None
        assert self.process.poll() is None, self.told()
        with suppress(OSError):
            return bool(self.get("/health/live")["status"] == "live")
        return False

    def told(self) -> str:
        """What it has logged."""
        return (self.folder / "serve.log").read_text()

    def get(self, path: str) -> Any:
        """A document.

        Raises:
            Refused: the answer is an error.
            OSError: there is no answer.
        """
        return self._ask("GET", path, None)

    def predict(self, features: dict[str, Any] | None = None) -> Any:
        """One answer; raises as `get`."""
        return self._ask("POST", "/v1/predict", json.dumps({"features": features or BODY}))

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command of this service, ended."""
        return subprocess.run(
            [sys.executable, "-m", "stillsafe", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def change(self, section: str, line: str) -> None:
        """Put a line into a section of the settings; the next start reads it."""
        settings = self.folder / "stillsafe.toml"
        text = settings.read_text()
        assert f"[{section}]" in text
        settings.write_text(text.replace(f"[{section}]", f"[{section}]\n{line}", 1))

    def logged(self) -> list[Any]:
        """The prediction log, in the order of its rows."""
        engine = database.connect(self.database)
        try:
            with database.reading(engine) as connection:
                return list(connection.execute(select(prediction_logs).order_by(prediction_logs.c.id)))
        finally:
            engine.dispose()

    def _ask(self, method: str, path: str, body: str | None) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        told = json.loads(content) if "json" in (answer.getheader("content-type") or "") else content.decode()
        if answer.status != 200:
            raise Refused(answer.status, told)
        return told


@dataclass
class Load:
    """Clients with a connection each, one request after another, until they are told to stop.

    Attributes:
        acknowledged: the answers that any client ever held, as (prediction_id, seconds since the start, decided_by).
        failed: what was answered or raised instead.
    """

    api: Api
    connections: int = 8
    acknowledged: list[tuple[str, float, str]] = field(default_factory=list)
    failed: list[object] = field(default_factory=list)
    longest_seconds: float = 0.0

    def __enter__(self) -> "Load":
        self._stopped = False
        self._thread = Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def ids(self) -> set[str]:
        """Every acknowledged prediction's identifier."""
        return {each[0] for each in self.acknowledged}

    def more(self, count: int) -> None:
        """Wait until so many more answers have come."""
        wanted = len(self.acknowledged) + count
        until(lambda: len(self.acknowledged) >= wanted, lambda: f"{self.failed[-3:]}\n{self.api.told()[-3000:]}")

    def stop(self) -> None:
        """Every client waits for its last answer and goes."""
        self._stopped = True
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "a client still waits for its answer"

    async def _all(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self.connections)))

    async def _client(self) -> None:
        body = json.dumps({"features": BODY}).encode()
        head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        while not self._stopped:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.api.port)
            except OSError as error:
                self.failed.append(error)
                await asyncio.sleep(0.05)
                continue
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._converse(reader, writer, head + body)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        while not self._stopped:
            began = time.monotonic()
            try:
                writer.write(request)
                status, document = await _response(reader)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failed.append(error)
                raise
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
            if status == 200:
                self.acknowledged.append((document["prediction_id"], began, document["decided_by"]))
            else:
                self.failed.append((status, document))


async def _response(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length"))
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


def until(met: Callable[[], bool], told: Callable[[], object] = lambda: "waited in vain") -> None:
    """Wait until it is so; where it never is, fail and tell."""
    last = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < last, told()
        time.sleep(0.05)


def missing_and_doubled(acknowledged: set[str], rows: Sequence[Any]) -> tuple[int, int]:
    """How many acknowledged predictions are not in the log, and how many rows are there more than once."""
    names = [row.prediction_id for row in rows]
    return len(acknowledged - set(names)), len(names) - len(set(names))
