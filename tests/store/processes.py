"""Real processes on one database, since only processes have locks of their own and can be killed."""

import subprocess
import sys
import time
from collections.abc import Callable


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python on a few lines of code, with its output to be read."""
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition that another process brings about; fail after a time limit."""
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last, "it never happened"
        time.sleep(0.02)
