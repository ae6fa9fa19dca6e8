"""What a piece of work costs, measured in a process of its own."""

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LONGEST_MESSAGE = 300  # characters of a process's last words


class ProcessFailed(Exception):
    """A process did not end as it should; the message is the end of its output."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one piece of work.

    Attributes:
        seconds: the work alone.
        process_seconds: with the start of its process and its imports.
        peak_bytes: the most that its process ever held (VmHWM).
        cpu_seconds: of all cores, the work alone; None where the process does not tell.
    """

    seconds: float
    process_seconds: float
    peak_bytes: int
    cpu_seconds: float | None = None


def of(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Start it and wait.

    Args:
        command: prints `{"seconds": ..., "peak_bytes": ...}` as its last line.
        environment: added to this process's.

    Raises:
        Failed: it did not.
    """
    began = time.perf_counter()
    process = subprocess.run(  # noqa: S603
        list(command), env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    process_seconds = time.perf_counter() - began
    last = process.stdout.strip().rpartition("\n")[2]
    if process.returncode or not last.startswith("{"):
        raise ProcessFailed(" ".join((process.stderr or process.stdout).split())[-_LONGEST_MESSAGE:])
    measurements = json.loads(last)
    return Cost(measurements["seconds"], process_seconds, measurements["peak_bytes"], measurements.get("cpu_seconds"))
