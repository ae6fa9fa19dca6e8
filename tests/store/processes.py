"""Real processes on one database: only they have locks of their own, and only they can be killed."""

import subprocess
import sys


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python on a few lines of code, with its output to be read."""
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
