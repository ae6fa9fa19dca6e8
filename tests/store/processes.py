"""Real processes on one database: only they have locks of their own, and only they can be killed."""

import subprocess
import sys
import time
from collections.abc import Callable


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python on a few lines of code, with its output to be read."""
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(reached: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another process brings about in its own time; fail where it never does."""
    last = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < last, "it never happened"
        time.sleep(0.02)
