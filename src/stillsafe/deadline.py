"""Calls with a time limit. Python cannot stop a call, so one that is late goes on in its own thread, unawaited."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar
from weakref import finalize

R = TypeVar("R")
_Call = tuple[Callable[[], Any], "Future[Any]"]


class CallBroke(Exception):
    """The function raised something that is no Exception, such as a compiled library's panic; the message names it."""


class Deadline:
    """A thread that runs one call at a time. While a late call still runs, further calls time out at once.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str = "stillsafe-deadline") -> None:
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = Lock()
        self._worker: Thread | None = None
        self._last_result: Future[Any] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a call runs."""
        return self._last_result is not None and not self._last_result.done()

    def call(self, function: Callable[[], R], timeout_seconds: float) -> R:
        """Run a function; return its value, or raise what it raises.

        Raises:
            TimeoutError: the call takes longer, or an earlier call still runs.
            CallBroke: the function raised something that is no Exception.
        """
        with self._lock:
            if self.is_busy:
                raise TimeoutError("an earlier call still runs")
            result: Future[R] = Future()
            self._last_result = result
            self._start()
            self._calls.put((function, result))
        return result.result(timeout_seconds)

    def close(self) -> None:
        """End the thread once its call has returned; the next call starts another."""
        with self._lock:
            if self._worker is not None:
                self._calls.put(None)
                self._worker = None

    def _start(self) -> None:
        if self._worker is None:
            # A daemon thread does not keep the process alive, so a call that never returns cannot block its exit.
            self._calls = SimpleQueue()
            self._worker = Thread(target=_run_calls, args=(self._calls,), name=self._name, daemon=True)
            finalize(self, self._calls.put, None)  # it ends with this object too, where nobody closes that
            self._worker.start()


def _run_calls(calls: "SimpleQueue[_Call | None]") -> None:
    while call := calls.get():
        function, result = call
        try:
            result.set_result(function())
        except Exception as error:  # noqa: BLE001 - the caller raises it
            result.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - a panic must end neither this thread nor the caller's
            result.set_exception(CallBroke(type(error).__name__))
