"""Short commands for tests, each a real process, without the second of imports that starting Python costs.

`program()` is a `stillsafe` to be put on PATH or started; `start` begins one that goes on running. Words, folder,
environment and streams go to a process that has imported the program and its libraries and nothing else. That process
forks, and the child runs the installed program's `main()`: with these words, in this folder, with its own exit code,
ended by its own signals.

What is settled while Python starts cannot be settled afterwards. A command whose environment differs in more than
what is read later runs as the installed program, and so does one that starts others.
"""

import gc
import json
import os
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

INSTALLATION = Path(sys.executable).with_name("stillsafe")
LASTING_COMMANDS = {"demo", "serve", "tour"}
"""Commands that `program()` starts as the installed program."""
ENVIRONMENT = dict(os.environ)
"""As this process began: libraries add to it."""
FOLDER = "TEST_COMMANDS"
"""Variable of the environment: where the session's server listens, beside the client that the tests start."""
WITHOUT_THREADS = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Variables of the server: a process with threads cannot fork."""
READ_LATER = (
    "KMP_",
    "COLUMNS=",
    "LINES=",
    "OLDPWD=",
    "PATH=",
    "PWD=",
    "PYTEST_",
    "SHLVL=",
    "STILLSAFE_",
    "_=",
    *WITHOUT_THREADS,
)
"""Beginnings of the variables that a command may have otherwise than the server; libraries set KMP and LINES."""
LIBRARIES = (
    *("alembic", "fastapi", "httpx2", "joblib", "msgspec", "numpy", "pandas", "prometheus_client", "psycopg"),
    *("pyarrow.parquet", "rich.console", "rich.table", "scipy.stats", "sklearn.ensemble", "sklearn.linear_model"),
    *("sklearn.pipeline", "skops.io", "sqlalchemy.dialects.postgresql.psycopg", "starlette.testclient", "uvicorn"),
    *("stillsafe.cli", "stillsafe.service", "stillsafe.monitoring.run", "stillsafe.init.create"),
)
"""What most of the time of a start goes into."""
STANDARD_STREAMS = 3
LARGEST_COMMAND = 1 << 20


def pytest_configure(config: Any) -> None:
    """Start the server of the session, which imports nothing until the first command comes."""
    if hasattr(config, "workerinput"):
        return
    folder = Path(tempfile.mkdtemp(prefix="stillsafe-commands-"))
    client = folder / "stillsafe"
    client.write_text(f"#!{sys.executable} -IS\n{Path(__file__).with_name('command_client.py').read_text()}")
    client.chmod(0o755)
    os.environ[FOLDER] = str(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen(128)
        server = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            stdin=subprocess.PIPE,  # ends with this process, and then the server ends
            env=os.environ | WITHOUT_THREADS,
            pass_fds=[listener.fileno()],
        )
    config.add_cleanup(server.communicate)


def program() -> Path:
    """The program that has the session's server run its commands."""
    return Path(os.environ[FOLDER]) / "stillsafe"


class Process:
    """A command that goes on running, as a fork of the session's server; its methods are those of `subprocess.Popen`.

    Args:
        pid: of the fork.
        connection: to the server, which kills the fork when this process ends.
    """

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection = connection

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._exit_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        exit_code = self._exit_code(timeout)
        if exit_code is None:
            raise subprocess.TimeoutExpired(["stillsafe"], timeout or 0)
        return exit_code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Leave it alone, as this process's end does: the server kills it."""
        self._connection.close()

    def __enter__(self) -> "Process":
        """The process."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Wait for its end."""
        self.wait()

    def _exit_code(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            self.returncode = int(self._connection.recv(100))
            self._connection.close()
        return self.returncode


def start(
    *words: str, folder: Path, log: IO[bytes], environment: Mapping[str, str] | None = None
) -> Process | subprocess.Popen[bytes]:
    """Start a command that goes on running, in a process that is not this one's child.

    Args:
        words: of the command.
        folder: in which it runs.
        log: the file of both of its outputs.
        environment: of the command; None for this process's.
    """
    place = dict(os.environ if environment is None else environment)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(f"{os.environ[FOLDER]}/socket")
    mask = os.umask(0)
    os.umask(mask)
    facts = {"words": words, "folder": str(folder), "environment": place, "mask": mask, "goes_on": True}
    with open(os.devnull, "rb") as nothing:
        socket.send_fds(connection, [json.dumps(facts).encode()], [nothing.fileno(), log.fileno(), log.fileno()])
    pid = int(connection.recv(100))
    if pid:
        return Process(pid, connection)
    connection.close()
    return subprocess.Popen([INSTALLATION, *words], cwd=folder, env=place, stdout=log, stderr=log)


@dataclass(frozen=True)
class Command:
    """What a client sent, and its standard streams."""

    words: list[str]
    folder: str
    environment: dict[str, str]
    mask: int
    streams: list[int]
    goes_on: bool = False

    @property
    def is_taken(self) -> bool:
        """Whether a fork of this process runs it as the installed program would."""
        is_lasting = bool(LASTING_COMMANDS & set(self.words[:1])) and not self.goes_on
        return not is_lasting and _read_at_start(self.environment) == _read_at_start(ENVIRONMENT)

    def close(self) -> None:
        """Close its streams here."""
        for stream in self.streams:
            os.close(stream)

    def become(self) -> None:
        """Let this process be as if it had been started with this command."""
        import numpy

        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
        self.close()
        os.chdir(self.folder)
        os.umask(self.mask)
        for name in ENVIRONMENT:
            del os.environ[name]
        os.environ.update(self.environment)
        sys.argv = [str(INSTALLATION), *self.words]
        sys.path[0] = str(INSTALLATION.parent)
        sys.stdin = _stream(0, sys.stdin)
        sys.stdout = _stream(1, sys.stdout)
        sys.stderr = _stream(2, sys.stderr)
        numpy.random.seed()  # otherwise each command would draw the same numbers


def _read_at_start(environment: dict[str, str]) -> set[str]:
    return {each for each in map("=".join, environment.items()) if not each.startswith(READ_LATER)}


def _stream(number: int, old: Any) -> Any:
    """A standard stream on a new file, buffered as Python does when it starts."""
    buffering = 1 if number == 2 else -1
    return open(number, old.mode, buffering, encoding=old.encoding, errors=old.errors, closefd=False)


def _command_of(connection: socket.socket) -> Command:
    text, streams, _, _ = socket.recv_fds(connection, LARGEST_COMMAND, STANDARD_STREAMS)
    return Command(**json.loads(text), streams=streams)


def next_command(listener: socket.socket) -> Command:
    """Fork for each command and tell its client how it ended. Returns in a fork only; ends with the session."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        while True:
            key, _ = selector.select()[0]
            if key.fileobj == 0:
                shutil.rmtree(os.environ[FOLDER], ignore_errors=True)
                sys.exit()
            if key.fileobj is not listener:
                _observe(selector, key)
            elif command := _begin(selector, listener):
                return command


def _begin(selector: selectors.BaseSelector, listener: socket.socket) -> Command | None:
    """Start the next command: it, in its process, and None here."""
    connection, _ = listener.accept()
    command = _command_of(connection)
    if command.is_taken and "stillsafe" not in sys.modules:
        _import_libraries()
    pid = os.fork() if command.is_taken else 0
    if command.is_taken and not pid:
        for key in selector.get_map().values():  # closed and not unregistered: the server goes on with the same epoll
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            elif key.fd:
                os.close(key.fd)
        connection.close()
        return command
    command.close()
    connection.send(str(pid).encode())
    if not pid:
        connection.close()
        return None
    process = os.pidfd_open(pid)
    selector.register(process, selectors.EVENT_READ, (pid, process, connection))
    selector.register(connection, selectors.EVENT_READ, (pid, process, connection))
    return None


def _observe(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Report the end of a command, or kill the one whose client was killed."""
    pid, process, connection = key.data
    if key.fileobj is connection:
        selector.unregister(connection)
        os.kill(pid, signal.SIGKILL)
        return
    exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    selector.unregister(process)
    with suppress(KeyError):
        selector.unregister(connection)
    os.close(process)
    with suppress(OSError):
        connection.send(str(exit_code).encode())
    connection.close()


def _import_libraries() -> None:
    """Import what most of the time of a start goes into.

    Raises:
        RuntimeError: this process cannot fork, because a library has started a thread.
    """
    for name in LIBRARIES:
        import_module(name)
    if threading.active_count() > 1 or len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("a library has started a thread")
    gc.freeze()  # a fork need not copy what no collection touches


if __name__ == "__main__":
    sys.path[0] = str(INSTALLATION.parent)
    next_command(socket.socket(fileno=int(sys.argv[1]))).become()
    from stillsafe.cli import main

    main()
