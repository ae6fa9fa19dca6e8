"""A share of the time for work that must not delay predictions: large wrong bodies, long lists, the dashboard.

Such work takes up to hundreds of milliseconds. On the event loop all other requests would wait for it, and a thread
would keep the interpreter from them almost as long, unless threads change often.
"""

import asyncio
import gc
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

PAUSES = 3.0
"""Pause after each function, as a multiple of its time: all functions take at most a quarter of one core."""
TURN_SECONDS = 0.0005
"""Longest time for which another thread waits for the interpreter; Python's default is ten times as long."""


class TimeShare:
    """Runs functions in one thread, one at a time in order of arrival, with a pause after each."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stillsafe-time-share")
        self._free_at = 0.0

    async def run(self, function: Callable[[], T]) -> T:
        """The result of a function; raises what it raises."""
        async with self._lock:
            await asyncio.sleep(max(0.0, self._free_at - perf_counter()))
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, function)

    def _run(self, function: Callable[[], T]) -> T:
        begin = perf_counter()
        try:
            with _TURNS.short():
                return function()
        except Exception as error:
            # The error's frames hold the function's values, which would be deleted on the event loop otherwise.
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            end = perf_counter()
            self._free_at = end + PAUSES * (end - begin)


class _Turns:
    """How long a thread may keep the interpreter while others wait, for the whole process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._usual: tuple[float, bool] = (sys.getswitchinterval(), True)

    @contextmanager
    def short(self) -> Iterator[None]:
        """Until the last such block ends, threads change often and the interpreter does not search for cycles.

        Python's cycle collector would search the hundreds of thousands of values of a large document in one turn.
        """
        with self._lock:
            if not self._count:
                self._usual = (sys.getswitchinterval(), gc.isenabled())
                sys.setswitchinterval(TURN_SECONDS)
                gc.disable()
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    sys.setswitchinterval(self._usual[0])
                    if self._usual[1]:
                        gc.enable()


_TURNS = _Turns()
