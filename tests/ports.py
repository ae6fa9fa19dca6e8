"""Ports for the servers of tests and benchmarks; no two processes get the same port.

A port that is free at one moment may be taken at the next, so tests that run in parallel could reach each other's
servers. Each process therefore reserves a block of ports, below the range that the kernel assigns to connections.
"""

import socket
from collections.abc import Iterator
from functools import cache

_FIRST, _LAST, _BLOCK_SIZE = 20_000, 32_767, 256


def free_port() -> int:
    """A port that no server of this machine uses and that no other process gets.

    Raises:
        RuntimeError: none is left.
    """
    ports = _block()
    for _ in range(_BLOCK_SIZE):
        port = next(ports)
        if (listener := _bind(port)) is not None:
            listener.close()
            return port
    raise RuntimeError(f"no port from {_FIRST} to {_LAST} is free")


@cache
def _block() -> Iterator[int]:
    """The ports of this process in rotation, so that the time until a port is used again is as long as possible."""
    for first in range(_FIRST, _LAST + 1 - _BLOCK_SIZE, _BLOCK_SIZE):
        if (reservation := _bind(first)) is not None:
            return _rotation(reservation)
    raise RuntimeError(f"no port from {_FIRST} to {_LAST} is free")


def _rotation(reservation: socket.socket) -> Iterator[int]:
    # The first port of the block stays bound while this process runs, so no other process can reserve the block.
    with reservation:
        first = reservation.getsockname()[1]
        while True:
            yield from range(first + 1, first + _BLOCK_SIZE)


def _bind(port: int) -> socket.socket | None:
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        return None
    return listener
