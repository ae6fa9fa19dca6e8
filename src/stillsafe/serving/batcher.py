"""The micro-batcher: one call answers all waiting requests.

While one batch is answered, the next one collects. The busier the service, the larger the batches and the cheaper each
request: many share one model call and one commit.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar
from weakref import finalize

from stillsafe.deadline import CallBroke, TakenOver, replaceable
from stillsafe.errors import StillsafeError

T = TypeVar("T")
R = TypeVar("R")
_Jobs = SimpleQueue[Callable[[], None] | None]


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
        is_repeatable: whether another thread may call `answer` again for a batch of which a call is late, because it
            has no effect before its last call with a time limit ends.
        max_batch: most items in a batch. A request with more is answered by itself: in parts of so many items, between
            which others have their turn, if there are others, and else as a whole, which takes less time.
    """

    def __init__(
        self, answer: Callable[[Sequence[T]], Sequence[R]], max_batch: int, *, is_repeatable: bool = False
    ) -> None:
        self._answer = answer
        self._is_repeatable = is_repeatable
        self._max_batch = max_batch
        self._queue: deque[_Request[T, R]] = deque()
        self._shared_at = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._old_loop: asyncio.AbstractEventLoop | None = None
        self._lock = Lock()
        self._jobs: _Jobs
        self._thread_end: finalize[..., MicroBatcher[T, R]] | None = None
        self._is_busy = False
        self._end: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Accept requests in the running event loop. No effect if it does already."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if not self._is_busy or self._old_loop is not loop:
            self._start_thread()
            self._queue.clear()  # what a loop that is gone has left: no one waits for it
            self._is_busy, self._end = False, None
        self._loop = self._old_loop = loop

    async def submit(self, items: Sequence[T]) -> Sequence[R]:
        """Answer items, in order. The items of one call share a batch, unless they are too many.

        Raises:
            BatcherClosed: it was never started, or is closed.
            Exception: whatever `answer` raised for the batch.
        """
        if not items:
            return []
        loop = self._loop
        if loop is None:
            raise BatcherClosed("The service is shutting down.")
        request: _Request[T, R] = _Request(items, loop.create_future(), len(items) > self._max_batch)
        self._queue.append(request)
        if not self._is_busy:
            # The batch begins with the next iteration of the loop, so requests of this one share it.
            self._is_busy = True
            loop.call_soon(self._begin, loop)
        return await request.answers

    async def close(self) -> None:
        """Answer what was accepted, and accept nothing more."""
        self._loop, loop = None, asyncio.get_running_loop()
        if self._is_busy and self._old_loop is loop:
            if self._end is None:
                self._end = loop.create_future()
            await asyncio.shield(self._end)
        if self._loop is None:
            self._end_thread()

    def _start_thread(self, *first_jobs: Callable[[], None]) -> None:
        """Have a new thread answer, and the one before it end with what it does."""
        jobs: _Jobs = SimpleQueue()
        # A daemon thread does not keep the process alive, so a model that hangs cannot block its exit.
        Thread(target=_run_jobs, args=(jobs,), name="stillsafe-batcher", daemon=True).start()
        with self._lock:
            self._end_thread()
            self._jobs = jobs
            self._thread_end = finalize(self, jobs.put, None)  # with this object too, where nobody closes that
            for job in first_jobs:  # at last: its end begins the next batch, which this thread must get
                jobs.put(job)

    def _end_thread(self) -> None:
        """Have the thread end after what it does."""
        if self._thread_end is not None:
            self._thread_end()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass the next batch to the thread."""
        while self._queue:
            batch = self._next_batch()
            part_size = self._part_size(batch)
            # A request whose client disconnected before its batch began is dropped: it was never acknowledged.
            requests = [request for request in batch if not request.answers.done()]
            if requests:
                with self._lock:  # the thread may be replaced for another loop
                    self._jobs.put(partial(self._answer_batch, loop, requests, part_size))
                return
        self._is_busy = False
        if self._end is not None:
            self._end.set_result(None)
            self._end = None
        if self._loop is None:
            self._end_thread()

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

    def _answer_batch(
        self,
        loop: asyncio.AbstractEventLoop,
        requests: list[_Request[T, R]],
        part_size: int,
        *,
        is_late: bool = False,
    ) -> None:
        """Answer requests in the thread, and have the loop send what came of it."""
        parts = [request.items[:part_size] for request in requests]
        # What has its items by column keeps them so, if it is alone.
        items = parts[0] if len(parts) == 1 else [item for part in parts for item in part]
        result: list[Sequence[R]] | Exception
        try:
            take_over = partial(self._take_over, loop, requests, part_size)
            with replaceable(take_over, is_late=is_late) if self._is_repeatable else nullcontext():
                answers = self._answer(items)
            iterator = iter(answers)
            result = [answers] if len(parts) == 1 else [[next(iterator) for _ in part] for part in parts]
        except TakenOver:
            return
        except Exception as error:  # noqa: BLE001 - each request of the batch raises it; the thread must go on
            result = error
        except BaseException as error:  # noqa: BLE001 - a compiled library's panic, which must not end the loop
            result = CallBroke(type(error).__name__)
        with suppress(RuntimeError):  # the loop is closed: no one waits
            loop.call_soon_threadsafe(self._end_batch, loop, requests, part_size, result)

    def _take_over(self, loop: asyncio.AbstractEventLoop, requests: list[_Request[T, R]], part_size: int) -> None:
        """Answer a batch in a new thread: a call of the thread that it was given to is late."""
        self._start_thread(partial(self._answer_batch, loop, requests, part_size, is_late=True))

    def _end_batch(
        self,
        loop: asyncio.AbstractEventLoop,
        requests: list[_Request[T, R]],
        part_size: int,
        result: list[Sequence[R]] | Exception,
    ) -> None:
        """Begin the next batch, then resume the requests that are answered."""
        complete_requests: list[_Request[T, R]] = []
        if not isinstance(result, Exception):
            for request, answers in zip(requests, result, strict=True):
                request.known_answers = [*request.known_answers, *answers] if request.known_answers else answers
                request.items = request.items[part_size:]
                (self._queue if request.items else complete_requests).append(request)
        self._begin(loop)
        if isinstance(result, Exception):
            for request in requests:
                if not request.answers.done():
                    request.answers.set_exception(result)
        for request in complete_requests:
            if not request.answers.done():
                request.answers.set_result(request.known_answers)


def _run_jobs(jobs: "_Jobs") -> None:
    while job := jobs.get():
        job()
        del job  # which keeps the batcher alive
