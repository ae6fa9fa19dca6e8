"""One reading for all requests that wait for it, so that any number of them costs no more than a few."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.01
"""Pause between two readings where requests wait for the second one before the first has ended."""


class SharedReading(Generic[T]):
    """Reads in a thread, once at a time. Each request gets a result whose reading began after it came.

    Args:
        read: runs in a thread; what it raises is raised by every request that waits for it.
    """

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._next: asyncio.Task[T] | None = None
        self._running: asyncio.Task[T] | None = None

    async def result(self) -> T:
        """What is read now."""
        loop, task = asyncio.get_running_loop(), self._next
        if task is None or task.get_loop() is not loop:
            task = self._next = loop.create_task(self._run(self._running))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)  # a client that disconnects ends no reading of others

    async def _run(self, earlier: "asyncio.Task[T] | None") -> T:
        if earlier is not None and not earlier.done() and earlier.get_loop() is asyncio.get_running_loop():
            await asyncio.wait({earlier})
            await asyncio.sleep(PAUSE_SECONDS)
        self._next, self._running = None, asyncio.current_task()
        return await asyncio.to_thread(self._read)


def _retrieve(task: "asyncio.Task[T]") -> None:
    """Take note of an error for which no request waits any more."""
    if not task.cancelled():
        task.exception()
