"""The application: help, exit codes, and errors that say what to do."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest
import typer

from stillsafe.cli.app import parse_time
from stillsafe.errors import ConfigurationError

from .commands import Command, document


@pytest.mark.parametrize(
    "words",
    [
        *("", "init", "check", "serve", "demo", "monitor", "replay", "hold", "release", "status", "windows", "explain"),
        *("backtest", "baseline", "incidents", "schedule", "db", "baseline create", "schedule install"),
    ],
)
def test_every_command_has_help(run: Command, words: str) -> None:
    """Every command and every group explains itself."""
    code, out, _ = run(*words.split(), "--help")
    assert code == 0
    assert "Usage:" in out


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["monitor", "--config", "nowhere.toml"], 2, "nowhere.toml"),
        (["monitor", "--now", "yesterday"], 2, "ISO 8601"),
        (["baseline", "create", "--first", "5", "--from", "2026-01-01"], 2, "one source"),
        (["baseline", "create"], 1, "0 healthy predictions"),
        (["baseline", "activate", "nonsense"], 1, "baseline list"),
        (["baseline", "show", "nonsense"], 1, "no such baseline"),
        (["incidents", "show", "nonsense"], 1, "no incident"),
        (["explain"], 1, "no incident"),
        (["release", "--reason", "why not"], 1, "Nothing is held"),
        (["baseline", "create", "--file", "nowhere.json"], 2, "nowhere.json"),
        (["backtest", "nowhere.csv"], 2, "nowhere.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_say_what_to_do(run: Command, words: list[str], code: int, sentence: str) -> None:
    """One clear sentence on standard error, nothing on standard output, and the right exit code."""
    exit_code, out, errors = run(*words)
    assert (exit_code, out) == (code, "")
    assert sentence in errors
    assert "Traceback" not in errors


def test_a_wrong_setting_is_reported_with_its_line(run: Command, made_service: Path) -> None:
    """An error in the settings is reported with file, line and remedy, and exit code 2."""
    file = made_service / "stillsafe.toml"
    lines = file.read_text().splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith("mode"))
    lines[index] = 'mode = "maybe"'
    file.write_text("\n".join(lines))
    code, _, errors = run("monitor")
    assert code == 2
    assert f"line {index + 1}" in errors


def test_the_module_is_the_command(made_service: Path) -> None:
    """`python -m stillsafe` is what the crontab entry calls; it works from any folder."""
    process = subprocess.run(
        [sys.executable, "-m", "stillsafe", "monitor", "--config", str(made_service / "stillsafe.toml"), "--json"],
        capture_output=True,
        text=True,
        cwd="/",
        check=True,
    )
    assert document(process.stdout)["outcome"] == "done"
    (line,) = [json.loads(each) for each in process.stderr.splitlines()]
    assert (line["event"], line["evidence"]) == ("run", "INSUFFICIENT")


def test_times_are_utc() -> None:
    """A time without an offset is UTC, one with an offset is converted, and others are refused."""
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert parse_time("2026-01-31T12:00:00") == parse_time("2026-01-31T13:00:00+01:00") == noon
    for text in ("yesterday", "1969-12-31", "9000-01-01"):
        with pytest.raises(ConfigurationError):
            parse_time(text)


_BROKEN_SOCKET = """
import socket
from stillsafe import cli, service

def break_connection(*arguments, **options):
    near, far = socket.socketpair()
    far.close()
    near.sendall(b"x")

service.{function} = break_connection
cli.main()
"""


@pytest.mark.parametrize(
    ("function", "words"),
    [("monitor", "monitor"), ("settings_of", "status"), ("settings_of", "monitor"), ("settings_of", "hold --reason x")],
)
def test_a_broken_socket_is_no_closed_output(made_service: Path, function: str, words: str) -> None:
    """A broken pipe inside a command has a message and exit code 1; typer would end the command silently."""
    start = made_service / "start.py"
    start.write_text(_BROKEN_SOCKET.format(function=function))
    process = subprocess.run(
        [sys.executable, str(start), *words.split()], capture_output=True, text=True, check=False, cwd=made_service
    )
    assert process.returncode == 1
    assert "BrokenPipeError" in process.stderr
    assert "start.py:8" in process.stderr


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("status --config nowhere.toml", 2, "nowhere.toml"),
        ("windows show 77", 1, "no run '77'"),
        ("status --nonsense", 2, "No such option"),
        ("windows --limit 0", 2, "--limit"),
        ("nonsense", 2, "No such command"),
        ("backtest nowhere.csv --json=-", 2, "nowhere.csv"),
        ("monitor --try --config nowhere.toml", 2, "nowhere.toml"),
        ("baseline activate nonsense", 1, "baseline list"),
        ("erase --id order-1 --reason asked", 2, "Add --yes"),
    ],
)
def test_errors_for_programs_are_json(run: Command, words: str, code: int, sentence: str) -> None:
    """With `--json` every failure is one JSON document on standard error, also that of a wrong option."""
    exit_code, out, errors = run(*words.split(), *([] if "--json" in words else ["--json"]))
    error = json.loads(errors)
    assert (exit_code, out, error["exit_code"]) == (code, "", code)
    assert sentence in error["error"]
    assert error["kind"]


def test_the_version_is_that_of_the_package(run: Command) -> None:
    """`--version` prints the name and the version that is installed."""
    assert run("--version") == (0, f"stillsafe {metadata.version('stillsafe')}\n", "")


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_closed_output_is_quiet(made_service: Path, size: int) -> None:
    """A command whose output nobody reads any longer, such as one before `head`, ends without a word."""
    start = made_service / "start.py"
    start.write_text(
        "from stillsafe import cli\nfrom stillsafe.cli import status\n"
        f"status.print_result = lambda *_: print('x' * {size})\ncli.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, str(start), "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=made_service
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) in ((0, b""), (1, b""))


def test_a_confirmation_that_is_refused_is_json(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a person stops at its question ends with exit code 1, and for a program with a JSON document."""

    def refuse(*_: object) -> None:
        raise typer.Abort

    monkeypatch.setattr("stillsafe.service.settings_of", refuse)
    code, out, errors = run("status", "--json")
    assert (code, out, json.loads(errors)["error"]) == (1, "", "Stopped before its end.")


@pytest.mark.parametrize("error", [RuntimeError("a defect"), OSError(28, "No space left on device")])
def test_no_failure_is_without_a_message(
    run: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """An unexpected error is named with the line that raised it; only a defect has a traceback."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("stillsafe.service.settings_of", fail)
    code, _, errors = run("status")
    assert code == 1
    assert f"{type(error).__name__}: {error}, at {__file__}" in errors.replace("\n", " ")
    assert ("Traceback" in errors) is isinstance(error, RuntimeError)
