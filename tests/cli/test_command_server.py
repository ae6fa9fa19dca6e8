"""A command that the command server runs for a test is the command that the installed program would run."""

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.command_server import INSTALLATION, Process, program, start
from tests.ports import free_port
from tests.serving.server_process import ServerProcess, wait_until_live
from tests.stores import with_store


def outcome(file: Path, folder: Path, words: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    process = subprocess.run(
        [file, *words.split()], cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize("words", ["incidents list --json", "windows show 77", "statu"])
def test_it_ends_as_the_installed_program(made_service: Path, words: str) -> None:
    """Exit code, standard output and standard error are the same: of a success, of a failure, of a wrong word."""
    assert outcome(program(), made_service, words) == outcome(INSTALLATION, made_service, words)


def test_it_has_the_folder_the_environment_and_the_input_of_its_client(made_service: Path) -> None:
    """The settings are looked for where the client is, or where its environment says."""
    assert outcome(program(), made_service.parent, "status")[0] == 2
    variables = {"STILLSAFE_CONFIG": f"{made_service}/stillsafe.toml"}
    assert outcome(program(), made_service.parent, "status", **variables)[0] == 0
    assert outcome(program(), made_service.parent, "status")[0] == 2


def test_what_is_read_as_python_starts_is_obeyed(made_service: Path) -> None:
    """A variable of Python makes the command run as the installed program, which reads it."""
    assert "import time:" not in outcome(program(), made_service, "--version")[2]
    assert "import time:" in outcome(program(), made_service, "--version", PYTHONPROFILEIMPORTTIME="1")[2]


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_the_command(made_service: Path, kind: signal.Signals) -> None:
    """A command that waits for its input ends with its client, by the same signal where a process can obey it."""
    outcome(program(), made_service, "--version")  # after the first command the server has imported its libraries
    file = made_service / "labels.csv"
    os.mkfifo(file)
    with subprocess.Popen([program(), "labels", "add", file], cwd=made_service, stderr=subprocess.DEVNULL) as process:
        pipe = open_once_read(file)
        is_client = b"-IS" in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        assert is_client, "the server did not take the command"
        process.send_signal(kind)
        assert process.wait() == -kind
        poll = select.poll()
        poll.register(pipe, 0)
        assert poll.poll(10_000) == [(pipe, select.POLLERR)]
        os.close(pipe)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_ends_as_the_installed_program(made_service: Path, kind: signal.Signals) -> None:
    """It answers, obeys its environment, and ends by a signal with the installed program's exit code and log."""
    port, folder = free_port(), with_store(made_service)
    ends = []
    for is_fork in (True, False):
        words = ["serve", "--port", str(port)]
        log_file = folder / f"serve-{is_fork}.log"
        place = os.environ | ({} if is_fork else {"PYTHONNODEBUGRANGES": "1"})
        with log_file.open("wb") as log, start(*words, folder=folder, log=log, environment=place) as process:
            assert isinstance(process, Process) is is_fork
            try:
                wait_until_live(ServerProcess(process, port, log_file))
                assert process.poll() is None
                process.send_signal(kind)
                process.wait(60)
            finally:
                process.kill()
        lines = log_file.read_text().splitlines()
        events = [json.loads(each)["event"].replace(str(process.pid), "PID") for each in lines if each[:1] == "{"]
        ends.append((process.returncode, len(lines), events))
    assert ends[0] == ends[1]


def test_a_server_ends_with_the_process_that_started_it(made_service: Path) -> None:
    """Nobody waits for it any more."""
    with (made_service / "serve.log").open("wb") as log:
        process = start("serve", "--port", str(free_port()), folder=with_store(made_service), log=log)
    assert isinstance(process, Process)
    pid = os.pidfd_open(process.pid)
    process.close()
    assert select.select([pid], [], [], 60)[0]
    os.close(pid)


def open_once_read(file: Path) -> int:
    """The end of a pipe to write to, as soon as another process reads from it."""
    last = time.monotonic() + 60
    while True:
        try:
            return os.open(file, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < last
            time.sleep(0.02)
