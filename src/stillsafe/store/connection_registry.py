"""The line to a database server, and how to cut it: a driver may wait for a silent server far past any time-out."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Timer
from typing import Any
from weakref import WeakSet

from sqlalchemy import Engine, event


class Line:
    """Every connection that an engine has open. For a server reached over sockets; SQLite has none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._door = Lock()
        self._open: WeakSet[Any] = WeakSet()
        # First of all listeners: those that prepare a connection ask the server already, and may be left waiting.
        event.listen(engine, "connect", self._opened, insert=True)

    def cut(self) -> None:
        """End every conversation now: whoever waits for the server gets an error, and the next one connects anew."""
        with self._door:
            open_now = list(self._open)
            self._open.clear()
        for connection in open_now:
            _shut(connection)
        self._engine.dispose(close=False)

    def _opened(self, connection: Any, _record: object) -> None:
        with self._door:
            self._open.add(connection)


@contextmanager
def patience(engine: Engine, seconds: float) -> Iterator[None]:
    """Cut the line if the block has not ended after so long; it then gets the error of a lost connection.

    SQLite has no line: nobody there is silent for longer than its busy timeout.
    """
    if engine.dialect.name == "sqlite":
        yield
        return
    timer = Timer(seconds, Line(engine).cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut(connection: Any) -> None:
    """Shut the socket and leave closing it to its owner, who may be waiting in it at this moment."""
    # A driver says in errors of its own that the connection is closed already.
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
