"""`stillsafe serve` as a process of its own, for tests that speak to it through raw sockets."""

import json
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any

from tests.cli.command_server import INSTALLATION, Process, start
from tests.ports import free_port


@dataclass(frozen=True)
class ServerProcess:
    """A process that serves, its port and the file of its log."""

    process: Process | subprocess.Popen[bytes]
    port: int
    log_file: Path

    def connect(self, timeout: float = 20) -> socket.socket:
        """A new connection; a read or write that takes longer raises TimeoutError."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of the log with this event."""
        lines = [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


@contextmanager
def serve_folder(
    folder: Path, *options: str, descriptors: int | None = None, **serving: object
) -> Iterator[ServerProcess]:
    """Serve a service folder until the block ends.

    Args:
        folder: the service, whose settings file is changed.
        options: of the command.
        descriptors: the process's limit of open files, or None for this process's.
        serving: settings of `[serving]`.
    """
    settings = folder / "stillsafe.toml"
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in serving.items())
    settings.write_text(settings.read_text().replace("[serving]\n", f"[serving]\n{lines}"))
    port = free_port()
    words = ["serve", "--host", "127.0.0.1", "--port", str(port), *options]
    with (folder / "serve.log").open("wb") as log, _start_server(words, folder, log, descriptors) as process:
        try:
            server = ServerProcess(process, port, folder / "serve.log")
            wait_until_live(server)
            yield server
        finally:
            process.kill()


def _start_server(
    words: list[str], folder: Path, log: IO[bytes], descriptors: int | None
) -> Process | subprocess.Popen[bytes]:
    if descriptors is None and "--workers" not in words:
        return start(*words, folder=folder, log=log)
    limit = None if descriptors is None else partial(resource.setrlimit, resource.RLIMIT_NOFILE, (descriptors,) * 2)
    return subprocess.Popen([INSTALLATION, *words], cwd=folder, stdout=log, stderr=log, preexec_fn=limit)


def request(path: str = "/health/live", *headers: str) -> bytes:
    """A GET request as it goes over the wire."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def status(connection: socket.socket) -> int:
    """The status of the next answer, whose body is read; 0 if the connection ended before it."""
    content = b""
    while b"\r\n\r\n" not in content:
        piece = connection.recv(65_536)
        if not piece:
            return 0
        content += piece
    head, _, body = content.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    missing = int(lines.get(b"content-length", 0)) - len(body)
    while missing > 0:
        missing -= len(connection.recv(65_536))
    return int(head.split()[1])


def seconds_until_closed(connection: socket.socket, most: float = 20) -> float:
    """How long the server leaves a connection open; what it still sends is read.

    Raises:
        TimeoutError: it is open after `most` seconds.
    """
    began = monotonic()
    connection.settimeout(most)
    try:
        while connection.recv(65_536):
            if monotonic() - began > most:
                raise TimeoutError
    except ConnectionError:
        pass
    return monotonic() - began


def wait_until_live(server: ServerProcess) -> None:
    """Return when it answers."""
    for _ in range(600):
        try:
            with server.connect() as connection:
                connection.sendall(request())
                assert status(connection) == 200
                return
        except (ConnectionRefusedError, TimeoutError):
            assert server.process.poll() is None, server.log_file.read_text()
            sleep(0.1)
    raise AssertionError("the server did not start")
