"""Load by wrk: the same bodies over and over on connections that are kept open."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadFailed(Exception):
    """A server did not answer every request; the message has the counts."""


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


def run(port: int, path: str, bodies: Path, *, connections: int, seconds: float, key: str = "") -> Load:
    """Send requests to a server on this machine for some seconds.

    Args:
        port: where it listens.
        path: of the POST requests.
        bodies: JSON, one a line.
        connections: kept open, each with one request at a time.
        seconds: how long, rounded up to whole ones.
        key: that each request presents, or empty for none.

    Raises:
        LoadFailed: an answer was not 2xx, or did not come.
    """
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command = ["wrk", *options, "--timeout", "20s", "--script", str(_SCRIPT), f"http://127.0.0.1:{port}", "--"]
    words = [*command, path, str(bodies), key]
    process = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - wrk, with our words
    return read(process.stdout or process.stderr)


def read(output: str) -> Load:
    """What the script wrote last.

    Raises:
        LoadFailed: see `run`.
    """
    last = output.strip().rpartition("\n")[2]
    if not last.startswith("{"):
        raise LoadFailed(f"output of wrk: {last}")
    measurements = json.loads(last)
    if measurements["wrong"] or not measurements["requests"]:
        raise LoadFailed(f"{measurements['wrong']} of {measurements['requests']} requests went wrong")
    return Load(measurements["requests"] / measurements["seconds"], measurements["p50_ms"], measurements["p99_ms"])
