"""The micro-batcher: one call answers all waiting requests.

While one batch is answered, the next one collects. The busier the service, the larger the batches and the cheaper each
request: many share one model call and one commit.
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


class BatcherClosed(StillsafeError):
    """The service is shutting down and accepts no more requests."""


SHARED_SECONDS = 1.0
"""A large request is answered in parts if another one came within so many seconds, and else as a whole."""


@dataclass(slots=True)
class _Request(Generic[T, R]):
    """One request: its items without an answer, the answers so far, and the future that receives all of them.

    `is_large` is whether all of its items together are more than a batch may have.
    """

    items: Sequence[T]
    answers: "asyncio.Future[Sequence[R]]"
    is_large: bool
    known_answers: Sequence[R] = ()


class MicroBatcher(Generic[T, R]):
    """Answers waiting requests in order of arrival, a batch at a time. Belongs to the event loop that starts it.

    Args:
        answer: returns as many answers as it gets items, in order; runs in a thread. An error that it raises is
            raised by every request of that batch.
        max_batch: most items in a batch. A request with more is answered by itself: in parts of so many items, between
            which others have their turn, if there are others, and else as a whole, which takes less time.
    """

    def __init__(self, answer: Callable[[Sequence[T]], Sequence[R]], max_batch: int) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._queue: deque[_Request[T, R]] = deque()
        self._shared_at = float("-inf")
        self._arrival: asyncio.Event
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Accept requests in the running event loop. No effect if it does already."""
        loop = asyncio.get_running_loop()
        if self._worker is None or self._worker.get_loop() is not loop:
            self._queue.clear()  # what a loop that is gone has left: no one waits for it
            self._arrival = asyncio.Event()
            self._worker = loop.create_task(self._work(), name="stillsafe-batcher")

    async def submit(self, items: Sequence[T]) -> Sequence[R]:
        """Answer items, in order. The items of one call share a batch, unless they are too many.

        Raises:
            BatcherClosed: it was never started, or is closed.
            Exception: whatever `answer` raised for the batch.
        """
        if not items:
            return []
        if self._worker is None:
            raise BatcherClosed("The service is shutting down.")
        request: _Request[T, R] = _Request(
            items, asyncio.get_running_loop().create_future(), len(items) > self._max_batch
        )
        self._queue.append(request)
        self._arrival.set()
        return await request.answers

    async def close(self) -> None:
        """Answer what was accepted, and accept nothing more."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._arrival.set()
            await worker

    async def _work(self) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="stillsafe-batcher") as thread:
            while self._queue or self._worker is not None:
                self._arrival.clear()
                if self._queue:
                    batch = self._next_batch()
                    await self._answer_batch(batch, self._part_size(batch), thread)
                else:
                    # The event wakes this task once per loop iteration, so requests of one iteration share a batch.
                    await self._arrival.wait()

    def _next_batch(self) -> list[_Request[T, R]]:
        """All waiting requests, up to the limit."""
        batch = [self._queue.popleft()]
        count = len(batch[0].items)
        while self._queue and (count := count + len(self._queue[0].items)) <= self._max_batch:
            batch.append(self._queue.popleft())
        return batch

    def _part_size(self, batch: list[_Request[T, R]]) -> int:
        """How many items of each request of a batch are answered now."""
        now = asyncio.get_running_loop().time()
        # The last part of a large request is no small one: it would make the next one be answered in parts as well.
        if not all(request.is_large for request in (*batch, self._queue[-1] if self._queue else batch[0])):
            self._shared_at = now
        return self._max_batch if now - self._shared_at < SHARED_SECONDS else len(batch[0].items)

    async def _answer_batch(self, batch: list[_Request[T, R]], part_size: int, thread: Executor) -> None:
        # A request whose client disconnected before its batch began is dropped: it was never acknowledged.
        requests = [request for request in batch if not request.answers.done()]
        parts = [request.items[:part_size] for request in requests]
        # What has its items by column keeps them so, if it is alone.
        items = parts[0] if len(parts) == 1 else [item for part in parts for item in part]
        if not items:
            return
        try:
            answers = await asyncio.get_running_loop().run_in_executor(thread, self._answer, items)
            iterator = iter(answers)
            answer_lists = [answers] if len(parts) == 1 else [[next(iterator) for _ in part] for part in parts]
        except Exception as error:  # noqa: BLE001 - each request of the batch raises it; the worker must go on
            for request in requests:
                if not request.answers.done():
                    request.answers.set_exception(error)
            return
        for request, answer_list in zip(requests, answer_lists, strict=True):
            request.known_answers = [*request.known_answers, *answer_list] if request.known_answers else answer_list
            request.items = request.items[part_size:]
            if request.items:
                self._queue.append(request)
            elif not request.answers.done():
                request.answers.set_result(request.known_answers)
