"""Open connections to a database server, and how to abort them.

A driver may wait for a silent server far longer than its own timeout. Shutting the socket ends that wait.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Timer
from typing import Any
from weakref import WeakSet

from sqlalchemy import Engine, event


class ConnectionRegistry:
    """Every open connection of an engine whose server is reached over sockets. SQLite has none, so nothing is kept."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._connections: WeakSet[Any] = WeakSet()
        if _has_sockets(engine):
            # The other listeners send queries to prepare a connection and may block, so this one runs before them.
            event.listen(engine, "connect", self._register, insert=True)

    def abort(self) -> None:
        """Shut every connection: a thread that waits for the server gets an error, and the next use connects anew."""
        with self._lock:
            connections = list(self._connections)
            self._connections.clear()
        for connection in connections:
            _shut_socket(connection)
        self._engine.dispose(close=False)

    def _register(self, connection: Any, _record: object) -> None:
        with self._lock:
            self._connections.add(connection)


@contextmanager
def connection_timeout(engine: Engine, seconds: float) -> Iterator[None]:
    """Abort the engine's connections if the block runs longer; the block then gets the error of a lost connection.

    On SQLite nothing is aborted: its busy timeout bounds every wait.
    """
    if not _has_sockets(engine):
        yield
        return
    timer = Timer(seconds, ConnectionRegistry(engine).abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _has_sockets(engine: Engine) -> bool:
    """Whether the database is a server; a file of SQLite is not."""
    return engine.dialect.name != "sqlite"


def _shut_socket(connection: Any) -> None:
    """Shut the socket but leave it open: the thread that owns it may be waiting in it."""
    # The driver raises errors of its own for a connection that is closed already, so every error is suppressed.
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
