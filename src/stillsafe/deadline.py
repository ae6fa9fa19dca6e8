"""Calls with a time limit. Python cannot stop a call, so one that is late goes on in its own thread, unawaited.

A call in another thread waits for two changes of threads, and its data for another core's caches: more than a model
call takes. So where the caller's work can be done again by another thread, the call runs in the caller's own. If it is
late, the other thread takes over, and the caller's ends.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Lock, Thread, local
from typing import Any, TypeVar
from weakref import WeakSet, finalize, ref

R = TypeVar("R")
_Call = tuple[Callable[[], Any], "Future[Any]"]
_THREAD = local()
"""`take_over` and `is_late` of the `replaceable` block that the thread is in."""

_DEADLINES: "WeakSet[Deadline]" = WeakSet()
"""All of this process."""


@contextmanager
def replaceable(take_over: Callable[[], None], *, is_late: bool = False) -> Iterator[None]:
    """A block of work that another thread can do again, if a call of it is late. It has no effect before its calls end.

    Args:
        take_over: begins the other thread; called once at most, by a thread of the deadline.
        is_late: whether this is the other thread: its calls are late from the beginning.

    Raises:
        TakenOver: the other thread does the work; what this one has done so far has no effect.
    """
    with _caller(None if is_late else take_over, is_late=is_late):
        yield


@contextmanager
def _caller(take_over: Callable[[], None] | None, *, is_late: bool = False) -> Iterator[None]:
    """Set what calls of this thread do, for a block."""
    old = getattr(_THREAD, "take_over", None), getattr(_THREAD, "is_late", False)
    _THREAD.take_over, _THREAD.is_late = take_over, is_late
    try:
        yield
    finally:
        _THREAD.take_over, _THREAD.is_late = old


class TakenOver(BaseException):
    """Another thread does the work of a block whose call was late. It is no Exception: nothing else may catch it."""


class CallBroke(Exception):
    """The function raised something that is no Exception, such as a compiled library's panic; the message names it."""


@dataclass(slots=True)
class _OwnCall:
    """A call in the caller's own thread: when it is late, in seconds of `time.monotonic`, and who takes over then."""

    late_at: float
    take_over: Callable[[], None]
    is_late: bool = False


class Deadline:
    """A thread that runs one call at a time. While a late call still runs, further calls time out at once.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str = "stillsafe-deadline") -> None:
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self.forget_threads()
        _DEADLINES.add(self)

    def forget_threads(self) -> None:
        """Begin anew in a process that has none of the threads: a fork."""
        self._lock = Lock()
        self._worker: Thread | None = None
        self._last_result: Future[Any] | None = None
        self._own_call: _OwnCall | None = None
        self._watcher: Event | None = None
        self._is_watched = self._is_used = False

    @property
    def is_busy(self) -> bool:
        """Whether a call runs."""
        return self._own_call is not None or (self._last_result is not None and not self._last_result.done())

    def call(self, function: Callable[[], R], timeout_seconds: float) -> R:
        """Run a function; return its value, or raise what it raises.

        Raises:
            TimeoutError: the call takes longer, or an earlier call still runs.
            CallBroke: the function raised something that is no Exception.
        """
        with self._lock:
            self._require_idle()
            self._start()
            result: Future[R] = Future()
            self._last_result = result
            self._calls.put((function, result))
        return result.result(timeout_seconds)

    def call_here(self, function: Callable[[], R], timeout_seconds: float) -> R:
        """As `call`, in this thread if it is in a `replaceable` block.

        Raises:
            TakenOver: the call was late, and another thread has taken over.
        """
        if getattr(_THREAD, "is_late", False):
            raise TimeoutError("an earlier call was late")
        take_over = getattr(_THREAD, "take_over", None)
        if take_over is None:
            return self.call(function, timeout_seconds)
        own_call = _OwnCall(time.monotonic() + timeout_seconds, take_over)
        with self._lock:
            self._require_idle()
            self._wake_watcher(timeout_seconds / 2)
            self._own_call, self._is_used = own_call, True
        try:
            with _caller(None):  # a model that calls another one is not replaceable itself
                return function()
        except Exception:
            raise
        except BaseException as error:
            raise CallBroke(type(error).__name__) from error
        finally:
            with self._lock:
                self._own_call = None
                if own_call.is_late:
                    raise TakenOver

    def look(self, watcher: Event, pause_seconds: float) -> float | None:
        """Have another thread take over from a late call.

        Args:
            watcher: wakes the thread that calls this.
            pause_seconds: between two looks while calls come.

        Returns:
            In how many seconds to look again; None where the thread waits until it is woken.

        Raises:
            LookupError: the thread is no longer needed.
        """
        with self._lock:
            if watcher is not self._watcher:
                raise LookupError
            own_call, is_used, self._is_used = self._own_call, self._is_used, False
            if own_call is None or own_call.is_late:
                self._is_watched = is_used
                return pause_seconds if is_used else None
            if (seconds := own_call.late_at - time.monotonic()) > 0:
                return seconds
            with suppress(RuntimeError):  # no thread can be started now: the call goes on, and is looked at again
                own_call.take_over()
                own_call.is_late = True
            return pause_seconds

    def _wake_watcher(self, pause_seconds: float) -> None:
        """Have a thread look for late calls."""
        if self._watcher is None:
            watcher = Event()
            arguments = ref(self), watcher, pause_seconds
            Thread(target=_watch, args=arguments, name=f"{self._name}-watch", daemon=True).start()
            finalize(self, watcher.set)
            self._watcher = watcher
        if not self._is_watched:
            self._is_watched = True
            self._watcher.set()

    def _require_idle(self) -> None:
        if self.is_busy:
            raise TimeoutError("an earlier call still runs")

    def close(self) -> None:
        """End the threads once their calls have returned; the next call starts others."""
        with self._lock:
            if self._watcher is not None and (self._own_call is None or self._own_call.is_late):
                self._watcher.set()
                self._watcher, self._is_watched = None, False
            if self._worker is not None:
                self._calls.put(None)
                self._worker = None

    def _start(self) -> None:
        if self._worker is None:
            self._calls = SimpleQueue()
            # A daemon thread does not keep the process alive, so a call that never returns cannot block its exit.
            worker = Thread(target=_run_calls, args=(self._calls,), name=self._name, daemon=True)
            worker.start()
            finalize(self, self._calls.put, None)  # it ends with this object too, where nobody closes that
            self._worker = worker


def _forget_threads() -> None:
    for deadline in _DEADLINES:
        deadline.forget_threads()


os.register_at_fork(after_in_child=_forget_threads)


def _watch(reference: "ref[Deadline]", watcher: Event, pause_seconds: float) -> None:
    """Check for late calls until the deadline is closed or gone.

    Args:
        reference: to the deadline.
        watcher: wakes this thread.
        pause_seconds: between two checks while calls come: less than a call may take.
    """
    seconds: float | None = None
    while True:
        watcher.wait(seconds)
        watcher.clear()
        deadline = reference()
        if deadline is None:
            return
        try:
            seconds = deadline.look(watcher, pause_seconds)
        except LookupError:
            return
        del deadline


def _run_calls(calls: "SimpleQueue[_Call | None]") -> None:
    while call := calls.get():
        function, result = call
        try:
            result.set_result(function())
        except Exception as error:  # noqa: BLE001 - the caller raises it
            result.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - a panic must end neither this thread nor the caller's
            result.set_exception(CallBroke(type(error).__name__))
