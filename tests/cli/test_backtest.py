"""`backtest` prints what the rules would have done on a history."""

import json
import sqlite3
from pathlib import Path

import pytest

from .commands import Command, document, stillsafe

FAULT_OPTIONS = ("--rows-per-run", "50", "--inject", "nulls:worst area", "--from", "0.25")


def test_a_backtest_is_printed_as_text_and_as_json(run: Command, history: Path) -> None:
    """The text has the runs, the totals and the files; the JSON agrees with `stillsafe.backtest`."""
    import pandas as pd

    import stillsafe

    words = ["backtest", "history.csv", "--label", "benign", *FAULT_OPTIONS, "--html", "report.html"]
    code, out, errors = run(*words, "--json", "result.json")
    assert (code, errors) == (0, "")
    for text in ("DEGRADED", "fallback", "Faults injected from run 3 on: nulls:worst area", "accuracy", "Wrote"):
        assert text in out
    result = json.loads((history.parent / "result.json").read_text())
    code, printed_json, _ = run(*words, "--json", "-")
    assert (code, json.loads(printed_json)) == (0, result)
    api = stillsafe.backtest(
        history.parent / "stillsafe.toml",
        pd.read_csv(history),
        label="benign",
        rows_per_run=50,
        inject=["nulls:worst area"],
        inject_from=0.25,
    )
    assert [one["state"] for one in result["runs"]] == [one.state for one in api.runs]
    assert [one["severity"] for one in result["runs"]] == [one.severity for one in api.runs]
    assert (result["alarm_rate"], result["metric"]) == (api.alarm_rate, "accuracy")
    page = (history.parent / "report.html").read_text()
    assert "stillsafe backtest history.csv --label benign --rows-per-run 50" in page
    assert str(history.parent) not in page


def test_a_backtest_from_elsewhere_shows_no_folders(run: Command, history: Path) -> None:
    """The report can be passed on: the command in it names files without the folders of this machine."""
    code, _, errors = run("backtest", str(history), "--config", str(history.parent / "stillsafe.toml"), "--html", "r")
    assert (code, errors) == (0, "")
    assert str(history.parent) not in (history.parent / "r").read_text()


def test_many_runs_share_few_rows(run: Command, history: Path) -> None:
    """Consecutive runs with the same outcome share a row."""
    out = run("backtest", "history.csv", "--rows-per-run", "5")[1]
    assert "1-80" in out


def test_check_knows_the_result_of_a_backtest_with_labels(run: Command, history: Path) -> None:
    """Where the fallback would have answered, `check` compares it with the model from then on."""
    run("backtest", "history.csv", *FAULT_OPTIONS)
    assert not (history.parent / "price.json").exists()  # no label was named
    run("backtest", "history.csv", "--label", "benign", *FAULT_OPTIONS)
    findings = {finding["subject"]: finding["told"] for finding in document(run("check", "--json")[1])}
    assert "On history.csv with injected faults (nulls:worst area), over the" in findings["fallback price"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--label", "nothing"], "no column 'nothing'"),
        (["--label", "worst area"], "is a feature"),
        (["--inject", "nonsense"], "not a valid injection"),
        (["--inject", "nulls:worst area", "--from", "1"], "not a position in the history"),
        (["--html", "nowhere/report.html"], "cannot be written"),
        (["--json", "nowhere/result.json"], "cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_impossible_backtest_is_refused(run: Command, history: Path, words: list[str], sentence: str) -> None:
    """One clear sentence on standard error, and exit code 2."""
    code, out, errors = run("backtest", "history.csv", *words)
    assert (code, out) == (2, "")
    assert sentence in errors
    assert "Traceback" not in errors


def test_a_history_of_other_columns_is_refused(run: Command, history: Path) -> None:
    """Missing columns are named, and a file without rows is refused."""
    history.write_text("colour,shape\n" + "red,round\n" * 60)
    code, _, errors = run("backtest", "history.csv")
    assert (code, "mean radius, mean texture" in errors) == (2, True)
    history.write_text("")
    assert run("backtest", "history.csv")[0] == 2


def test_an_archive_is_a_history(made_service: Path, healthy_rows: list[dict[str, float]]) -> None:
    """`backtest` reads pruned rows as a history, unless a feature was never logged in clear."""
    assert stillsafe(made_service, "db", "upgrade").returncode == 0
    insert = (
        "INSERT INTO prediction_logs (timestamp, model_version, system_state, input_summary)"
        " VALUES (?, '1', 'NORMAL', ?)"
    )
    rows = [
        (f"2020-01-0{1 + number % 2} 00:00:{number % 60:02}.000000", row) for number, row in enumerate(healthy_rows)
    ]
    with sqlite3.connect(made_service / "stillsafe.db") as connection:
        connection.executemany(insert, [(at, json.dumps(row)) for at, row in rows])
    connection.close()
    assert stillsafe(made_service, "prune", "--older-than", "90d", "--archive", "archive").returncode == 0
    process = stillsafe(made_service, "backtest", "archive", "--rows-per-run", "100", "--json", "-")
    assert process.returncode == 0, process.stderr
    runs = json.loads(process.stdout)["runs"]
    assert len(runs) == 3
    assert (runs[0]["data_from"][:10], len(rows)) == ("2020-01-01", 284)
    settings = made_service / "stillsafe.toml"
    settings.write_text('log = "hash"'.join(settings.read_text().rsplit('log = "keep"', 1)))
    masked_process = stillsafe(made_service, "backtest", "archive")
    assert (masked_process.returncode, "never held worst area in clear" in masked_process.stderr) == (2, True), (
        masked_process.stderr
    )
