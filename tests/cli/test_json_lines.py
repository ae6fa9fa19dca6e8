"""The file that cron writes holds nothing but JSON lines, whatever a command, the model or a library prints."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from stillsafe import logs
from stillsafe.cli.json_lines import JsonLineStream, is_terminal, json_lines_only, output_is_log

from .commands import START, Command, log_predictions


def read_lines(text: str) -> list[dict[str, Any]]:
    """Every line as JSON; a line that is none fails the test."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return lines


def run_as_cron(folder: Path, *words: str, start: str = "-m stillsafe", config: str = "stillsafe.toml") -> int:
    """Run a command as the crontab entry does: through sh, with both outputs appended to one file."""
    command = f"{sys.executable} {start} monitor --config {config} {' '.join(words)} >> stillsafe.monitor.log 2>&1"
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    return subprocess.run(["/bin/sh", "-c", command], cwd=folder, env=environment, check=False).returncode


def log_lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of the file that cron writes."""
    return read_lines((folder / "stillsafe.monitor.log").read_text(encoding="utf-8"))


def test_a_degradation_under_cron_is_logged_event_by_event(run: Command, made_service: Path) -> None:
    """Run, state change, fallback and incident are one event each, with service, version, states and incident."""
    run("status")
    for step in range(3):
        now = START.replace(minute=10 * step)
        log_predictions(made_service, 100, now, area=None)
        assert run_as_cron(made_service, "--now", now.isoformat()) == 0
    lines = log_lines(made_service)
    events = [line["event"] for line in lines]
    assert events.count("run") == 3
    changes = [line for line in lines if line["event"] == "state_change"]
    states = [(line["state_before"], line["state_after"], line["level"]) for line in changes]
    assert states == [("NORMAL", "WARNING", "WARNING"), ("WARNING", "DEGRADED", "WARNING")]
    (fallback,) = [line for line in lines if line["event"] == "fallback_started"]
    (incident,) = {line["incident"] for line in lines if line["event"] == "incident"}
    assert (fallback["incident"], fallback["state"]) == (incident, "DEGRADED")
    assert all(line["service"] and line["model_version"] for line in lines)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_run_that_has_nothing_to_do_is_one_event(run: Command, made_service: Path, words: tuple[str, ...]) -> None:
    """A second start at the same time is logged as skipped, with and without `--json`."""
    run("monitor", "--now", START.isoformat())
    assert run_as_cron(made_service, "--now", START.isoformat(), *words) == 0
    line = next(line for line in log_lines(made_service) if line.get("event") == "run_skipped")
    assert line["outcome"] == "already done"


@pytest.mark.parametrize(
    ("words", "config", "code", "text"),
    [
        (("--now", "2020-01-01"), "stillsafe.toml", 1, "runs go forward in time"),
        (("--now", "yesterday"), "stillsafe.toml", 2, "ISO 8601"),
        ((), "nowhere.toml", 2, "nowhere.toml"),
    ],
)
def test_a_failed_run_is_one_line(
    run: Command, made_service: Path, words: tuple[str, ...], config: str, code: int, text: str
) -> None:
    """`run_failed` at ERROR has the message, the kind of the error and the exit code."""
    run("monitor", "--now", START.isoformat())
    assert run_as_cron(made_service, *words, config=config) == code
    (line,) = log_lines(made_service)
    assert (line["event"], line["level"], line["exit_code"]) == ("run_failed", "ERROR", code)
    assert text in line["message"]


def test_a_wrong_option_is_logged_as_json(made_service: Path) -> None:
    """The usage text of an unknown option becomes `output`, line by line."""
    assert run_as_cron(made_service, "--nonsense") == 2
    lines = log_lines(made_service)
    assert {line["event"] for line in lines} == {"output"}
    assert any("--nonsense" in line["message"] for line in lines)


_NOISY_START = """
import sys, threading, warnings
from stillsafe import cli, service

def noisy(*arguments, **options):
    print("a library prints")
    sys.stderr.write("without a line end")
    warnings.warn("two\\nlines", UserWarning)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start(); thread.join()
    class Broken:
        def __del__(self):
            raise RuntimeError("in a destructor")
    Broken()
    raise KeyError("a defect")

service.monitor = noisy
cli.main()
"""


def test_prints_warnings_and_tracebacks_are_json_lines(made_service: Path) -> None:
    """A print, a warning, an error in a thread, one in a destructor and a defect leave only JSON in the file."""
    start = made_service / "noisy.py"
    start.write_text(_NOISY_START)
    assert run_as_cron(made_service, start=str(start)) == 1
    lines = log_lines(made_service)
    messages = [line["message"] for line in lines if line["event"] == "output"]
    assert "a library prints" in messages
    assert "without a line end" in messages
    assert any("ZeroDivisionError" in message for message in messages)
    assert any("in a destructor" in message for message in messages)
    (warning,) = [line for line in lines if line["event"] == "python_warning"]
    assert (warning["message"], warning["category"]) == ("two\nlines", "UserWarning")
    (failure,) = [line for line in lines if line["event"] == "run_failed"]
    assert (failure["kind"], failure["exit_code"]) == ("KeyError", 1)
    assert "a defect" in failure["exception"]


def test_a_person_gets_text(run: Command, made_service: Path) -> None:
    """Where standard output is not the log, the run is printed as text."""
    run("status")
    log_predictions(made_service, 100, START)
    _, out, errors = run("monitor", "--now", START.isoformat())
    assert out.startswith("Run 1")
    assert [line["event"] for line in read_lines(errors)] == ["run"]


def test_lines_are_wrapped_unless_they_are_json_objects() -> None:
    """Text becomes `output`; a JSON object stays; an incomplete line waits for its end; empty lines are dropped."""
    output = io.StringIO()
    stream = JsonLineStream(output)
    stream.write('{"event": "run"}\n\n[1]\nhalf')
    assert len(output.getvalue().splitlines()) == 2
    stream.write(' a line\n{"not": json}')
    stream.end_line()
    stream.flush()
    lines = read_lines(output.getvalue())
    assert lines[0] == {"event": "run"}
    assert [line["message"] for line in lines[1:]] == ["[1]", "half a line", '{"not": json}']
    assert stream.writable()


def test_streams_and_hooks_are_restored(capsys: pytest.CaptureFixture[str]) -> None:
    """After the block the process prints and warns as before."""
    old = (sys.stdout, sys.stderr, warnings.showwarning, sys.unraisablehook, threading.excepthook)
    handlers = logging.root.handlers[:]
    logs.set_up("INFO", service="a")
    with json_lines_only():
        assert isinstance(sys.stderr, JsonLineStream)
        sys.stderr.write("x\n")
    logging.root.handlers[:] = handlers
    assert (sys.stdout, sys.stderr, warnings.showwarning, sys.unraisablehook, threading.excepthook) == old
    (line,) = read_lines(capsys.readouterr().err)
    assert (line["event"], line["message"], line["service"]) == ("output", "x", "a")


def test_a_terminal_keeps_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal nothing is changed; a closed stream is none."""
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert is_terminal(stream)
        with json_lines_only():
            assert sys.stderr is stream
        assert not output_is_log()
    assert not is_terminal(stream)
    os.close(controller)


def test_one_file_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both outputs in one file are a log; two files are not."""
    with (tmp_path / "a").open("w") as first, (tmp_path / "a").open("a") as same, (tmp_path / "b").open("w") as other:
        monkeypatch.setattr(sys, "stdout", first)
        monkeypatch.setattr(sys, "stderr", same)
        assert output_is_log()
        monkeypatch.setattr(sys, "stderr", other)
        assert not output_is_log()
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        assert not output_is_log()
