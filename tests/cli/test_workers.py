"""Workers: a start takes as long as it takes, a hang is ended, and each replacement is logged with its reason."""

import socket
from typing import Any

import pytest
import uvicorn

from stillsafe.cli import workers
from stillsafe.cli.workers import Worker, Workers
from stillsafe.logs import LogEvent


class Connection:
    """The parent's end of the pipe to a worker; the answers are those that a test gives."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.question_count = 0

    def poll(self, _timeout: float) -> bool:
        """Whether an answer waits."""
        return bool(self.answers)

    def recv(self) -> object:
        """The next answer."""
        return self.answers.pop(0)

    def send(self, _question: bytes) -> None:
        """Count the question."""
        self.question_count += 1

    def close(self) -> None:
        """Nothing is open."""


class ChildProcess:
    """A process that runs until a test ends it."""

    pid = 7

    def __init__(self) -> None:
        self.exitcode: int | None = None

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.exitcode is None

    def start(self) -> None:
        """It runs already."""

    def kill(self) -> None:
        """End it, unless it has ended."""
        self.exitcode = -9 if self.exitcode is None else self.exitcode

    def join(self) -> None:
        """It has ended already."""


class Clock:
    """Simulated time, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """The time, as `time.monotonic` gives it."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that workers read; their processes and pipes are simulated, too."""
    clock = Clock()
    monkeypatch.setattr(workers, "time", clock)
    monkeypatch.setattr("uvicorn.supervisors.multiprocess.get_subprocess", lambda *_: ChildProcess())
    monkeypatch.setattr("uvicorn.supervisors.multiprocess.Pipe", lambda: (Connection(), Connection()))
    monkeypatch.setattr("uvicorn.supervisors.multiprocess.signal.signal", lambda *_: None)
    return clock


def new_worker() -> tuple[Worker, Connection]:
    worker = Worker(uvicorn.Config("none:app"), [])
    connection: Any = worker.parent_conn
    return worker, connection


def test_a_start_is_no_hang(clock: Clock) -> None:
    """While it imports it answers nothing, and while it loads the model it answers that it does not serve yet."""
    worker, connection = new_worker()
    for _ in range(20):
        clock.now += 10
        assert worker.problem() == ""
    assert connection.question_count == 1, "one question waits, not one a second"
    connection.answers.append(False)
    clock.now += 60
    assert worker.problem() == ""
    assert not worker.has_started
    connection.answers.append(True)
    assert worker.problem() == ""
    assert worker.has_started


def test_a_start_that_does_not_end_is_ended(clock: Clock) -> None:
    """Five minutes are longer than any start."""
    worker, connection = new_worker()
    connection.answers.append(False)
    clock.now += workers.LONGEST_START_SECONDS + 1
    assert worker.problem() == "it has not started within 301 s"


@pytest.mark.parametrize("answer", [True, b"pong"])
def test_a_worker_that_hangs_is_replaced(clock: Clock, answer: object) -> None:
    """Once it serves it must answer; it is told by the time since its last answer."""
    worker, connection = new_worker()
    connection.answers.append(answer)
    assert worker.problem() == ""
    clock.now += workers.LONGEST_SILENCE_SECONDS - 1
    assert worker.problem() == ""
    clock.now += 2
    assert worker.problem() == "it has not answered for 31 s"
    connection.answers.append(answer)
    assert worker.problem() == ""


def test_each_replacement_has_its_reason_in_the_log(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that was killed is replaced, and the others stay; one that cannot start ends the service."""
    with socket.socket() as server_socket:
        supervisor = Workers(uvicorn.Config("none:app", workers=2), [server_socket])
        supervisor.init_processes()
        first, second = supervisor.processes
        supervisor.keep_subprocess_alive()
        assert supervisor.processes == [first, second]
        first.process.kill()
        supervisor.keep_subprocess_alive()
        assert supervisor.processes[1] is second
        assert supervisor.processes[0] is not first
        (record,) = caplog.records
        assert record.getMessage() == LogEvent.WORKER_REPLACED.event
        assert record.fields == {"process": 7, "reason": "it ended with exit code -9"}  # type: ignore[attr-defined] # of the log
        process: Any = second.process
        process.exitcode = 3
        supervisor.keep_subprocess_alive()
        assert supervisor.start_failed
        assert supervisor.should_exit.is_set()
        assert clock.now == 1000.0
