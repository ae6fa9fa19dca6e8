"""A call that may take only so long, though Python cannot stop one: it goes on in a thread of its own, unawaited."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

R = TypeVar("R")
_Call = tuple[Callable[[], Any], "Future[Any]"]


class CallBroke(Exception):
    """The function raised what is no Exception, such as a panic of a compiled library; the message names it."""


class Deadline:
    """One thread for one caller at a time. A call that is late leaves it stuck until that call ends."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._door = Lock()
        self._worker: Thread | None = None
        self._last: Future[Any] | None = None

    @property
    def stuck(self) -> bool:
        """Whether a call is under way."""
        return self._last is not None and not self._last.done()

    def call(self, function: Callable[[], R], timeout_seconds: float) -> R:
        """What the function returns, or raises.

        Raises:
            TimeoutError: it took too long, or, at once, an earlier call is still under way.
            CallBroke: the function raised what is no Exception.
        """
        with self._door:
            if self.stuck:
                raise TimeoutError("an earlier call is still under way")
            result: Future[R] = Future()
            self._last = result
            self._start()
            self._calls.put((function, result))
        return result.result(timeout_seconds)

    def _start(self) -> None:
        if self._worker is None:
            # A daemon: a call that never ends must not keep the process from ending.
            self._worker = Thread(target=self._work, name="stillsafe-model", daemon=True)
            self._worker.start()

    def _work(self) -> None:
        while True:
            function, result = self._calls.get()
            try:
                result.set_result(function())
            except Exception as error:  # noqa: BLE001 - handed to the caller
                result.set_exception(error)
            except BaseException as error:  # noqa: BLE001 - a panic: it ends neither this thread nor the caller's
                result.set_exception(CallBroke(type(error).__name__))
