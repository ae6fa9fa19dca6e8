"""The application: help, exit codes, and errors that say what to do."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

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
