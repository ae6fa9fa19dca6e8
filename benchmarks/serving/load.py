"""Load by wrk: the same bodies over and over on connections that are kept open."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadFailed(Exception):
    """A server did not answer all that it was asked; the message says what became of it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What became of the requests of some seconds.

    Attributes:
        per_second: requests answered.
        p50_ms, p99_ms: latency in milliseconds.
    """

    per_second: float
    p50_ms: float
    p99_ms: float


def put(port: int, path: str, bodies: Path, *, connections: int, seconds: float) -> Load:
    """Ask a server on this machine for some seconds.

    Args:
        port: where it listens.
        path: what is asked, by POST.
        bodies: JSON, one a line.
        connections: kept open, each with one request at a time.
        seconds: how long, rounded up to whole ones.

    Raises:
        LoadFailed: an answer was not 2xx, or did not come.
    """
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command = ["wrk", *options, "--timeout", "20s", "--script", str(_SCRIPT), f"http://127.0.0.1:{port}", "--"]
    done = subprocess.run([*command, path, str(bodies)], capture_output=True, text=True, check=False)  # noqa: S603
    return read(done.stdout or done.stderr)


def read(said: str) -> Load:
    """What the script wrote last.

    Raises:
        LoadFailed: see `put`.
    """
    last = said.strip().rpartition("\n")[2]
    if not last.startswith("{"):
        raise LoadFailed(f"wrk said: {last}")
    told = json.loads(last)
    if told["wrong"] or not told["requests"]:
        raise LoadFailed(f"{told['wrong']} of {told['requests']} requests went wrong")
    return Load(told["requests"] / told["seconds"], told["p50_ms"], told["p99_ms"])
