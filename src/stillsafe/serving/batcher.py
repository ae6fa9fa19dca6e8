"""Waiting requests are drained together: one call answers all of them, and then they all go.

While one drain is being answered the next one gathers, so the busier the service, the larger the drains and the
cheaper each request: one model call and one commit for many.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
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
    answers: "asyncio.Future[list[R]]"


class Lane(Generic[T, R]):
    """Answers whatever waits, in order of arrival, a drain at a time. Belongs to the event loop that opens it.

    Args:
        answer: items to as many answers, in order, called in a thread. What it raises goes to that drain's requests.
        max_batch: most items in a drain; a request that holds more goes by itself, so that no other waits for it.
    """

    def __init__(self, answer: Callable[[list[T]], list[R]], max_batch: int) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._waiting: deque[_Waiting[T, R]] = deque()
        self._arrived: asyncio.Event
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the lane. Open already, it stays so."""
        if self._worker is None:
            self._arrived = asyncio.Event()
            self._worker = asyncio.get_running_loop().create_task(self._work(), name="stillsafe-lane")

    async def submit(self, items: Sequence[T]) -> list[R]:
        """The items' answers, in order; the items of one call stay together in one drain.

        Raises:
            LaneClosed: it was never started, or is closed.
            Exception: whatever answering the drain raised.
        """
        if not items:
            return []
        if self._worker is None:
            raise LaneClosed("The service is shutting down.")
        waiting: _Waiting[T, R] = _Waiting(tuple(items), asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answers

    async def close(self) -> None:
        """Answer what was accepted, and accept nothing more."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._arrived.set()
            await worker

    async def _work(self) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="stillsafe-lane") as thread:
            while self._waiting or self._worker is not None:
                self._arrived.clear()
                if self._waiting:
                    await self._settle(self._drain(), thread)
                else:
                    # Woken once a turn of the loop, so that all requests which came in that turn go together.
                    await self._arrived.wait()

    def _drain(self) -> list[_Waiting[T, R]]:
        """Everything that waits, up to the limit."""
        drained = [self._waiting.popleft()]
        count = len(drained[0].items)
        while self._waiting and (count := count + len(self._waiting[0].items)) <= self._max_batch:
            drained.append(self._waiting.popleft())
        return drained

    async def _settle(self, drained: list[_Waiting[T, R]], thread: Executor) -> None:
        # A request whose client has gone away before its turn is dropped: nobody was told that it was recorded.
        present = [waiting for waiting in drained if not waiting.answers.done()]
        items = [item for waiting in present for item in waiting.items]
        if not items:
            return
        try:
            answers = iter(await asyncio.get_running_loop().run_in_executor(thread, self._answer, items))
            split = [[next(answers) for _ in waiting.items] for waiting in present]
        except Exception as error:  # noqa: BLE001 - those who wait are told; a lane that died would tell nobody
            for waiting in present:
                if not waiting.answers.done():
                    waiting.answers.set_exception(error)
            return
        for waiting, its_own in zip(present, split, strict=True):
            if not waiting.answers.done():
                waiting.answers.set_result(its_own)
