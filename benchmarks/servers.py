"""A server as a process of its own: started, waited for, weighed, and stopped with all of its children."""

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_SECONDS, STOP_SECONDS = 120.0, 20.0
_PAUSE = 0.01
_LONGEST_MESSAGE = 400  # characters of a server's last words


class NotStarted(Exception):
    """A server did not come up; the message is the end of its log."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        process: the first of its processes, which leads the session of all.
        port: where it listens on this machine.
        startup_seconds: from its start to its first answer.
    """

    process: subprocess.Popen[bytes]
    port: int
    startup_seconds: float

    def memory_bytes(self) -> int:
        """What its processes hold together: each page that they share counted once."""
        return sum(_proportional_bytes(pid) for pid in _session(self.process.pid))

    def cpu_seconds(self) -> float:
        """CPU that its living processes have used so far, in steps of a hundredth of a second."""
        return sum(_cpu_ticks(pid) for pid in _session(self.process.pid)) / os.sysconf("SC_CLK_TCK")


def family_cpu_seconds(pid: int) -> float:
    """CPU that a process and its children have used so far, also those that have ended, as a database server's."""
    ticks = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            is_first = folder.name == str(pid)
            if is_first or int(fields[1]) == pid:
                ticks += sum(map(int, fields[11:15] if is_first else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(
    command: Sequence[str], *, port: int, ready: str, folder: Path, environment: Mapping[str, str]
) -> Iterator[Running]:
    """A server while it is wanted.

    Args:
        command: what starts it in the foreground.
        port: where it will listen.
        ready: a path that answers GET with 200 once it can serve.
        folder: where it runs and where `server.log` goes.
        environment: added to this process's.

    Raises:
        NotStarted: it ended, or was not ready within two minutes.
    """
    with (folder / "server.log").open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603
            list(command),
            cwd=folder,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not _answers(port, ready):
                if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    raise NotStarted(_last_words(folder / "server.log"))
                time.sleep(_PAUSE)
            yield Running(process, port, time.perf_counter() - began)
        finally:
            _stop(process)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM, then kill the remaining processes of its session."""
    session = process.pid
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    while left := _session(session):  # one that is killed lives for a moment yet
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)
    process.wait()


def _session(leader: int) -> list[int]:
    """The processes of a session that live."""
    process_ids = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        fields = _stat(int(folder.name))
        if fields and int(fields[3]) == leader and fields[0] != "Z":
            process_ids.append(int(folder.name))
    return process_ids


def _proportional_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def _cpu_ticks(pid: int) -> int:
    """User and system time of a process, without its children."""
    return sum(map(int, _stat(pid)[11:13]))


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _last_words(log: Path) -> str:
    words = " ".join(log.read_text(encoding="utf-8", errors="replace").split())
    return f"its log ends with: {words[-_LONGEST_MESSAGE:]}" if words else "its log is empty"
