"""Waiting requests are drained together: one call answers all of them, and then they all go.

While one drain is being answered the next one gathers, so the busier the service, the larger the drains and the
cheaper each request: one model call and one commit for many.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

from stillsafe.errors import StillsafeError

T = TypeVar("T")
R = TypeVar("R")


class LaneClosed(StillsafeError):
    """The service is shutting down and takes no more requests."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T, R]):
    """One request: its items, and where their answers go."""

    items: tuple[T, ...]
    answers: "Future[list[R]]"


class Lane(Generic[T, R]):
    """One worker thread that answers whatever waits, in order of arrival.

    Args:
        answer: items to as many answers, in order. What it raises goes to the requests of that drain alone.
        max_batch: most items in a drain; a request that holds more goes by itself, so that no other waits for it.
    """

    def __init__(self, answer: Callable[[list[T]], list[R]], max_batch: int) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._door = Lock()
        self._queue: SimpleQueue[_Waiting[T, R] | None] = SimpleQueue()
        self._worker: Thread | None = None
        self._left: _Waiting[T, R] | None = None  # taken from the queue, and too much for that drain

    def start(self) -> None:
        """Open the lane. Open already, it stays so."""
        with self._door:
            if self._worker is None:
                self._worker = Thread(target=self._work, name="stillsafe-lane", daemon=True)
                self._worker.start()

    async def submit(self, items: Sequence[T]) -> list[R]:
        """The items' answers, in order; the items of one call stay together in one drain.

        Raises:
            LaneClosed: it was never started, or is closed.
            Exception: whatever answering the drain raised.
        """
        if not items:
            return []
        waiting: _Waiting[T, R] = _Waiting(tuple(items), Future())
        with self._door:
            if self._worker is None:
                raise LaneClosed("The service is shutting down.")
            self._queue.put(waiting)
        return await asyncio.wrap_future(waiting.answers)

    async def close(self) -> None:
        """Answer what was accepted, and accept nothing more."""
        with self._door:
            worker, self._worker = self._worker, None
            if worker is not None:
                self._queue.put(None)
        if worker is not None:
            await asyncio.to_thread(worker.join)

    def _work(self) -> None:
        while (first := self._left or self._queue.get()) is not None:
            self._left = None
            drained, closing = self._drain(first)
            self._settle(drained)
            if closing:
                return

    def _drain(self, first: _Waiting[T, R]) -> tuple[list[_Waiting[T, R]], bool]:
        """Everything that waits, up to the limit, and whether the lane is closing."""
        drained, count = [first], len(first.items)
        while count < self._max_batch:
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                break
            if waiting is None:
                return drained, True
            count += len(waiting.items)
            if count > self._max_batch:
                self._left = waiting
                break
            drained.append(waiting)
        return drained, False

    def _settle(self, drained: list[_Waiting[T, R]]) -> None:
        # A request whose client has gone away before its turn is dropped: nobody was told that it was recorded.
        present = [waiting for waiting in drained if waiting.answers.set_running_or_notify_cancel()]
        items = [item for waiting in present for item in waiting.items]
        if not items:
            return
        try:
            answers = iter(self._answer(items))
            split = [[next(answers) for _ in waiting.items] for waiting in present]
        except Exception as error:  # noqa: BLE001 - those who wait are told; a lane that died would tell nobody
            for waiting in present:
                waiting.answers.set_exception(error)
            return
        for waiting, its_own in zip(present, split, strict=True):
            waiting.answers.set_result(its_own)
