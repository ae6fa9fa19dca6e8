"""The command line as a person and a program meet it: output, exit codes, and errors that say what to do."""

import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stillsafe.cli import main

START = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(made_service: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command in this process, in a fresh service: its exit code, output and complaints."""
    monkeypatch.chdir(made_service)
    before = logging.root.handlers[:]

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stillsafe", *words])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    yield command
    logging.root.handlers[:] = before


def log_predictions(folder: Path, count: int, until: datetime, *, area: float | None = 880.0) -> None:
    """Write rows as the mission's schema has them, by hand."""
    version = json.loads((folder / "reference.json").read_text())["baseline"]["model_version"]
    connection = sqlite3.connect(folder / "stillsafe.db")
    rows = []
    for i in range(count):
        at = until - timedelta(minutes=9) + timedelta(minutes=9) * (i / count)
        features = {"mean radius": 12 + i % 5, "mean texture": 19.0, "mean smoothness": 0.09, "worst area": area}
        rows.append(
            (at.strftime("%Y-%m-%d %H:%M:%S.%f"), version, "NORMAL", json.dumps(features), "1", 0.95 + 0.01 * (i % 4))
        )
    connection.executemany(
        "INSERT INTO prediction_logs"
        " (timestamp, model_version, system_state, input_summary, prediction, confidence_score)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        rows,
    )
    connection.commit()
    connection.close()


def degrade(run: Run, folder: Path, runs: int = 3) -> datetime:
    """A feature gets lost for some runs; returns the time of the last one."""
    run("status")
    now = START
    for _ in range(runs):
        log_predictions(folder, 100, now, area=None)
        code, _, errors = run("monitor", "--now", now.isoformat())
        assert code == 0, errors
        now += timedelta(minutes=10)
    return now


def document(printed: str) -> Any:
    return json.loads(printed)


@pytest.mark.parametrize(
    "words",
    [
        *("", "init", "check", "serve", "demo", "monitor", "replay", "hold", "release", "status", "windows", "explain"),
        *("backtest", "baseline", "incidents", "schedule", "db", "baseline create", "schedule install"),
    ],
)
def test_help_is_on_everything(run: Run, words: str) -> None:
    """Every command explains itself."""
    code, out, _ = run(*words.split(), "--help")
    assert code == 0
    assert "Usage:" in out


def test_a_run_is_told_to_people_and_programs(run: Run, made_service: Path) -> None:
    """`monitor` prints what it concluded, and the same as JSON."""
    run("status")
    log_predictions(made_service, 100, START, area=None)
    code, out, _ = run("monitor", "--now", START.isoformat())
    assert code == 0
    assert "worst area is missing in 100.0% of 100 predictions" in out
    code, out, _ = run("monitor", "--now", START.isoformat(), "--json")
    assert (code, document(out)) == (0, {"outcome": "already done"})


def test_the_states_of_a_story(run: Run, made_service: Path) -> None:
    """Three severe runs lead to DEGRADED, and status, windows, incidents and explain all tell of it."""
    degrade(run, made_service)
    code, out, _ = run("status", "--json")
    told = document(out)
    assert (code, told["state"], told["watched"], told["stale"]) == (0, "DEGRADED", True, True)
    assert told["incident"]["severity"] == "CRITICAL"
    windows = document(run("windows", "--json")[1])
    assert [window["state_after"] for window in windows] == ["DEGRADED", "WARNING", "NORMAL"]
    (incident,) = document(run("incidents", "list", "--json")[1])
    shown = document(run("incidents", "show", incident["incident_id"], "--json")[1])
    assert [e["incident_status"] for e in shown["explanations"]] == ["opened", "escalated"]
    for words in (
        ["status"],
        ["windows"],
        ["incidents", "list"],
        ["explain"],
        ["baseline", "list"],
        ["baseline", "show"],
    ):
        code, out, errors = run(*words)
        assert code == 0, errors
        assert out.strip()


def test_replay_finds_what_was_changed(run: Run, made_service: Path) -> None:
    """`replay` exits 0 on what it recomputes, and 1 with the first difference otherwise."""
    degrade(run, made_service)
    code, out, _ = run("replay", "--from-logs")
    assert code == 0
    assert "No difference" in out
    connection = sqlite3.connect(made_service / "stillsafe.db")
    connection.execute("UPDATE current_window_metrics SET severity = 'NORMAL' WHERE severity = 'CRITICAL'")
    connection.commit()
    connection.close()
    code, out, _ = run("replay", "--json")
    assert code == 1
    assert document(out)["difference"]["what"] == "severity"


def test_hold_and_release(run: Run, made_service: Path) -> None:
    """The kill switch works from the command line and leaves its trace."""
    assert run("hold", "--reason", "looks wrong", "--by", "Ada")[0] == 0
    told = document(run("status", "--json")[1])
    assert (told["state"], told["held"]["by"], told["held"]["reason"]) == ("DEGRADED", "Ada", "looks wrong")
    assert "Held" in run("status")[1]
    code, _, errors = run("hold", "--reason", "again")
    assert code == 1
    assert "Held already by Ada" in errors
    code, _, errors = run("release", "--reason", "  ")
    assert code == 2
    assert "A reason is needed" in errors
    assert run("release", "--reason", "mended")[0] == 0
    assert document(run("status", "--json")[1])["state"] == "NORMAL"


def test_a_hold_in_observe_mode_says_that_it_bypasses_nothing(run: Run, made_service: Path) -> None:
    """Nobody is told that the fallback answers where it does not."""
    file = made_service / "stillsafe.toml"
    file.write_text(file.read_text().replace('mode = "enforce"', 'mode = "observe"'))
    assert "the model still answers" in run("hold", "--reason", "looks wrong")[1]


def test_a_monitor_that_never_ran_is_told(run: Run) -> None:
    """Before the first run `status` says that nobody is watching."""
    code, out, _ = run("status")
    assert code == 0
    assert "The monitor is not running" in out


def test_check_finds_what_would_fail(run: Run, made_service: Path) -> None:
    """`check` exits 0 on a sound service with its warnings told, and 2 where something would fail."""
    code, out, _ = run("check", "--json")
    verdicts = {finding["subject"]: finding["verdict"] for finding in document(out)}
    assert code == 0
    assert verdicts["model"] == "ok"
    assert verdicts["monitor"] == "warning"
    model = next(made_service.glob("model.*"))
    model.write_bytes(model.read_bytes() + b" ")
    code, out, _ = run("check")
    assert code == 2
    assert "hash" in out or "sha256" in out


@pytest.mark.parametrize(
    ("words", "code", "told"),
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
def test_errors_say_what_to_do(run: Run, words: list[str], code: int, told: str) -> None:
    """One clear sentence on standard error, nothing on standard output, and the right exit code."""
    found, out, errors = run(*words)
    assert (found, out) == (code, "")
    assert told in errors
    assert "Traceback" not in errors


@pytest.fixture
def history(made_service: Path) -> Path:
    """Four hundred healthy tumours with their truth, beside the settings."""
    from sklearn.datasets import load_breast_cancer

    tumours = load_breast_cancer(as_frame=True)
    table = tumours.data[["mean radius", "mean texture", "mean smoothness", "worst area"]].assign(benign=tumours.target)
    file = made_service / "history.csv"
    table.sample(400, random_state=4).to_csv(file, index=False)
    return file


BREAK = ("--rows-per-run", "50", "--inject", "nulls:worst area", "--from", "0.25")


def test_a_backtest_is_told_to_people_and_programs(run: Run, history: Path) -> None:
    """The runs, what they amount to, and where it was written; JSON says the same as `stillsafe.backtest`."""
    import pandas as pd

    import stillsafe

    words = ["backtest", "history.csv", "--label", "benign", *BREAK, "--html", "report.html"]
    code, out, errors = run(*words, "--json", "found.json")
    assert (code, errors) == (0, "")
    for told in ("DEGRADED", "fallback", "Broken on purpose from run 3 on: nulls:worst area", "accuracy", "Wrote"):
        assert told in out
    found = json.loads((history.parent / "found.json").read_text())
    code, printed, _ = run(*words, "--json", "-")
    assert (code, json.loads(printed)) == (0, found)
    api = stillsafe.backtest(
        history.parent / "stillsafe.toml",
        pd.read_csv(history),
        label="benign",
        rows_per_run=50,
        inject=["nulls:worst area"],
        inject_from=0.25,
    )
    assert [one["state"] for one in found["runs"]] == [one.state for one in api.runs]
    assert [one["severity"] for one in found["runs"]] == [one.severity for one in api.runs]
    assert (found["alarm_rate"], found["metric"]) == (api.alarm_rate, "accuracy")
    page = (history.parent / "report.html").read_text()
    assert "stillsafe backtest history.csv --label benign --rows-per-run 50" in page
    assert str(history.parent) not in page


def test_a_backtest_from_elsewhere_shows_no_folders(run: Run, history: Path) -> None:
    """The report can be passed on: the command in it names files without the folders of this machine."""
    code, _, errors = run("backtest", str(history), "--config", str(history.parent / "stillsafe.toml"), "--html", "r")
    assert (code, errors) == (0, "")
    assert str(history.parent) not in (history.parent / "r").read_text()


def test_many_runs_are_told_in_few_lines(run: Run, history: Path) -> None:
    """Runs that go on alike share a line."""
    out = run("backtest", "history.csv", "--rows-per-run", "5")[1]
    assert "1-80" in out
    assert "Runs of 5 rows conclude nothing" in out


def test_a_backtest_with_labels_leaves_a_price_for_check(run: Run, history: Path) -> None:
    """Where the fallback would have answered, `check` knows from then on what it was worth."""
    run("backtest", "history.csv", *BREAK)
    assert not (history.parent / "price.json").exists()  # no label was named
    run("backtest", "history.csv", "--label", "benign", *BREAK)
    findings = {finding["subject"]: finding["told"] for finding in document(run("check", "--json")[1])}
    assert "On history.csv, broken on purpose by nulls:worst area, over the" in findings["fallback price"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--label", "nothing"], "no column 'nothing'"),
        (["--label", "worst area"], "is a feature"),
        (["--inject", "nonsense"], "no injection"),
        (["--inject", "nulls:worst area", "--from", "1"], "no place in the history"),
        (["--html", "nowhere/report.html"], "cannot be written"),
        (["--json", "nowhere/found.json"], "cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_backtest_that_cannot_be_is_told(run: Run, history: Path, words: list[str], told: str) -> None:
    """One clear sentence on standard error, and exit code 2."""
    code, out, errors = run("backtest", "history.csv", *words)
    assert (code, out) == (2, "")
    assert told in errors
    assert "Traceback" not in errors


def test_a_history_of_something_else_is_told(run: Run, history: Path) -> None:
    """Columns that are missing are named; a file without rows is none."""
    history.write_text("colour,shape\n" + "red,round\n" * 60)
    code, _, errors = run("backtest", "history.csv")
    assert (code, "mean radius, mean texture" in errors) == (2, True)
    history.write_text("")
    assert run("backtest", "history.csv")[0] == 2


def test_a_broken_setting_names_its_line(run: Run, made_service: Path) -> None:
    """A mistake in the settings is told with file, line and remedy, and exit code 2."""
    file = made_service / "stillsafe.toml"
    lines = file.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("mode"))
    lines[place] = 'mode = "maybe"'
    file.write_text("\n".join(lines))
    code, _, errors = run("monitor")
    assert code == 2
    assert f"line {place + 1}" in errors


def test_the_database_tells_its_revision(run: Run, made_service: Path) -> None:
    """`db current` knows a database without tables, `db upgrade` makes them, and a newer one is refused."""
    assert document(run("db", "current", "--json")[1])["database"] is None
    assert run("db", "upgrade")[0] == 0
    told = document(run("db", "current", "--json")[1])
    assert told["database"] == told["stillsafe"]
    connection = sqlite3.connect(made_service / "stillsafe.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    code, _, errors = run("status")
    assert code == 2
    assert "newer version" in errors


def test_the_module_is_the_command(made_service: Path) -> None:
    """`python -m stillsafe` is what the crontab entry calls; it works from any folder."""
    done = subprocess.run(
        [sys.executable, "-m", "stillsafe", "monitor", "--config", str(made_service / "stillsafe.toml"), "--json"],
        capture_output=True,
        text=True,
        cwd="/",
        check=True,
    )
    assert document(done.stdout)["outcome"] == "done"
    (line,) = [json.loads(each) for each in done.stderr.splitlines()]
    assert (line["event"], line["evidence"]) == ("run", "INSUFFICIENT")
