"""Waits for a lock that another process has, such as one that was killed a moment ago."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

PAUSE_SECONDS = 0.05
RELEASE_SECONDS = 5.0
"""How long a server may take to notice that a client was killed: it does so after the client's last statement."""


@contextmanager
def await_lock(try_lock: Callable[[], AbstractContextManager[bool]], seconds: float) -> Iterator[bool]:
    """Try a lock until it is owned, and keep it for the block; yield False where others have it all the time.

    Args:
        try_lock: enters a block with True where the lock is owned, with False where another process has it.
        seconds: how long to try.
    """
    end = time.monotonic() + seconds
    with ExitStack() as stack:
        while True:
            attempt = ExitStack()
            owns_lock = attempt.enter_context(try_lock())
            if owns_lock or time.monotonic() >= end:
                stack.enter_context(attempt)
                yield owns_lock
                return
            attempt.close()
            time.sleep(PAUSE_SECONDS)
