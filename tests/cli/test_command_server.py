"""A command that the command server runs for a test is the command that the installed program would run."""

import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.command_server import INSTALLATION, program


def outcome(file: Path, folder: Path, words: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    process = subprocess.run(
        [file, *words.split()], cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize("words", ["check --json", "windows show 77", "statu"])
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


def open_once_read(file: Path) -> int:
    """The end of a pipe to write to, as soon as another process reads from it."""
    last = time.monotonic() + 60
    while True:
        try:
            return os.open(file, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < last
            time.sleep(0.02)
