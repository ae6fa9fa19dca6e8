"""Ports for servers that a test or a benchmark starts, each given to nobody else who asks here.

A port that was merely free a moment ago is taken by whoever comes first, so tests that run side by side could meet each
other's servers. Below the range from which the kernel gives ports to connections, each process keeps a block to itself.
"""

import socket
from collections.abc import Iterator
from functools import cache

_FIRST, _LAST, _BLOCK = 20_000, 32_767, 256


def free_port() -> int:
    """A port of this machine that no server has and no other process is given.

    Raises:
        RuntimeError: none is left.
    """
    ports = _block()
    for _ in range(_BLOCK):
        port = next(ports)
        if (held := _held(port)) is not None:
            held.close()
            return port
    raise RuntimeError(f"no port from {_FIRST} to {_LAST} is free")


@cache
def _block() -> Iterator[int]:
    """This process's own ports, over and over, so that a port rests as long as it can."""
    for first in range(_FIRST, _LAST + 1 - _BLOCK, _BLOCK):
        if (held := _held(first)) is not None:
            return _turning(held)
    raise RuntimeError(f"no port from {_FIRST} to {_LAST} is free")


def _turning(held: socket.socket) -> Iterator[int]:
    # The block's first port stays bound while this process lives: the kernel itself says whose the block is.
    with held:
        first = held.getsockname()[1]
        while True:
            yield from range(first + 1, first + _BLOCK)


def _held(port: int) -> socket.socket | None:
    held = socket.socket()
    try:
        held.bind(("127.0.0.1", port))
    except OSError:
        held.close()
        return None
    return held
