"""Large bodies that need the strict parser: parsed in a thread, one at a time and only for a share of the time.

Refusing a body of a megabyte takes the strict parser tens of milliseconds. On the event loop all other requests would
wait for it, and in a thread it would keep the interpreter from them as long, unless threads change often.
"""

import asyncio
import gc
import sys
import traceback
from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

LARGE_BYTES = 16_384
"""Smaller bodies cost too little to leave the event loop."""
PAUSES = 3.0
"""Pause after each body, as a multiple of the time that it took: all take at most a quarter of one core."""

TURN_SECONDS = 0.0005
"""Longest time for which another thread waits for the interpreter; Python's default is ten times as long."""


class BodyReader:
    """Runs functions in a thread, one at a time in order of arrival, with a pause after each."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._free_at = 0.0

    async def run(self, function: Callable[[], T]) -> T:
        """The result of a function; raises what it raises."""
        async with self._lock:
            await asyncio.sleep(max(0.0, self._free_at - perf_counter()))
            begin = perf_counter()
            try:
                return await asyncio.to_thread(_run_in_turns, function)
            finally:
                end = perf_counter()
                self._free_at = end + PAUSES * (end - begin)


def _run_in_turns(function: Callable[[], T]) -> T:
    """The function's result, while the interpreter changes threads often and does not search for cycles.

    Python's cycle collector would search the hundreds of thousands of values of a body again and again, in one turn.
    """
    seconds, has_collector = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(TURN_SECONDS)
    gc.disable()
    try:
        return function()
    except Exception as error:
        # The error's frames hold the values, which would be deleted on the event loop otherwise.
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        sys.setswitchinterval(seconds)
        if has_collector:
            gc.enable()
