"""A micro-batcher for threads: one call answers the requests of all threads that wait.

The thread that gets the lock answers for every thread that waits for it, so a single thread pays for no other one, and
many threads share a model call and a commit.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from stillsafe.serving.batcher import BatcherClosed

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Request(Generic[T, R]):
    """The items of one call, and what became of them."""

    items: Sequence[T]
    answers: Sequence[R] | None = None
    error: Exception | None = None


class ThreadBatcher(Generic[T, R]):
    """Answers the items of several threads in order of arrival, a batch at a time.

    Args:
        answer: returns as many answers as it gets items, in order. An error that it raises is raised by every call
            of that batch.
        max_batch: most items in a batch. A call with more is answered by itself, so no other call waits for it.
        lock: held while a batch is answered; several batchers that have it in common answer one after the other.
    """

    def __init__(self, answer: Callable[[Sequence[T]], Sequence[R]], max_batch: int, lock: Lock) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._queue: deque[_Request[T, R]] = deque()
        self._lock = lock

    def submit(self, items: Sequence[T]) -> Sequence[R]:
        """Answer items, in order. The items of one call share a batch.

        Raises:
            BatcherClosed: the thread that answered the batch was interrupted.
            Exception: whatever `answer` raised for the batch.
        """
        if not items:
            return []
        request: _Request[T, R] = _Request(items)
        self._queue.append(request)
        while request.answers is None and request.error is None:
            with self._lock:
                if request.answers is None and request.error is None:
                    self._answer_batch(self._next_batch())
        if request.error is not None:
            raise request.error
        return request.answers or []

    def _next_batch(self) -> list[_Request[T, R]]:
        """All waiting requests, up to the limit."""
        batch = [self._queue.popleft()]
        count = len(batch[0].items)
        while self._queue and (count := count + len(self._queue[0].items)) <= self._max_batch:
            batch.append(self._queue.popleft())
        return batch

    def _answer_batch(self, batch: Sequence[_Request[T, R]]) -> None:
        answer_lists: list[Sequence[R]]
        try:
            if len(batch) == 1:  # what has its items by column keeps them so
                answer_lists = [self._answer(batch[0].items)]
            else:
                answers = iter(self._answer([item for request in batch for item in request.items]))
                answer_lists = [[next(answers) for _ in request.items] for request in batch]
        except Exception as error:  # noqa: BLE001 - each call of the batch raises it
            for request in batch:
                request.error = error
            return
        except BaseException:
            for request in batch:
                request.error = BatcherClosed("The thread that answered the requests was interrupted.")
            raise
        for request, answer_list in zip(batch, answer_lists, strict=True):
            request.answers = answer_list
