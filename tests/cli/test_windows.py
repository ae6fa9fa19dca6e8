"""`windows` lists the last runs, and `windows show` explains one of them to the digit."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stillsafe.cli.windows import LARGE_DOCUMENTS
from tests.monitoring.formulas import check_reading

from .commands import Command, degrade, document


def test_the_newest_run_comes_first(run: Command, made_service: Path) -> None:
    """Runs are listed newest first, up to a limit, without their large documents."""
    degrade(run, made_service)
    windows = document(run("windows", "--json")[1])
    assert [window["state_after"] for window in windows] == ["DEGRADED", "WARNING", "NORMAL"]
    assert not LARGE_DOCUMENTS & set(windows[0])
    assert len(document(run("windows", "--limit", "1", "--json")[1])) == 1
    text = run("windows")[1]
    assert text.index("DEGRADED") < text.index("WARNING")


def test_without_runs_there_is_a_remedy(run: Command) -> None:
    """Before the first run the command names the command that does one."""
    code, out, _ = run("windows")
    assert (code, "Start it with `stillsafe monitor`" in out) == (0, True)


def show(run: Command, *words: str) -> Any:
    """The document that `windows show --json` prints."""
    code, out, errors = run("windows", "show", *words, "--json")
    assert code == 0, errors
    return document(out)


def test_a_run_is_shown_in_full(run: Command, made_service: Path) -> None:
    """Every reading has its value, reference, noise, both limits, streak and sentence; the command keeps old keys."""
    degrade(run, made_service)
    summary = document(run("windows", "--json")[1])[0]
    detail = show(run, "last")
    assert summary.keys() <= detail.keys()
    assert detail == show(run, str(summary["id"])) == show(run, summary["window_end"])
    readings = {reading["key"]: reading for reading in detail["readings"]}
    reading = readings["missing_rate:worst area"]
    assert (reading["deviating_runs"], reading["severe_runs"], reading["level"]) == (3, 0, "MODERATE")
    assert reading["moderate_limit"] >= reading["noise"] > 0
    assert reading["sentence"].startswith("worst area is missing in 100.0% of 100 predictions (baseline 0.0%, limit")
    assert "derivation" not in reading


def test_why_shows_how_readings_came_about(run: Command, made_service: Path) -> None:
    """Of one reading, of a signal or of a feature: each number can be computed again from the steps and the log."""
    degrade(run, made_service)
    whole = show(run, "last")
    connection = sqlite3.connect(made_service / "stillsafe.db")
    log = pd.read_sql_query("SELECT timestamp, input_summary, confidence_score FROM prediction_logs", connection)
    connection.close()
    rows = pd.DataFrame(log["input_summary"].map(json.loads).tolist())[-100:]
    (reading,) = show(run, "last", "--why", "missing_rate:worst area")["readings"]
    steps = check_reading(reading["derivation"], reading)
    assert steps["event_count"] == rows["worst area"].isna().sum()
    (confidence,) = show(run, "last", "--why", "avg_confidence")["readings"]
    steps = check_reading(confidence["derivation"], confidence)
    assert steps["confidence_sum"] == pytest.approx(log["confidence_score"][-100:].sum())
    of_signal, of_feature = (show(run, "last", "--why", why)["readings"] for why in ("missing_rate", "worst area"))
    assert {each["signal"] for each in of_signal} == {"missing_rate"}
    assert {each["feature"] for each in of_feature} == {"worst area"}
    for each in [*of_signal, *of_feature]:
        check_reading(each["derivation"], each)
    assert len(whole["readings"]) > len(of_signal)


def test_the_text_names_every_reading_and_every_step(run: Command, made_service: Path) -> None:
    """What the JSON has, a person can read: no reading and no number is left out."""
    degrade(run, made_service, runs=1)
    text = " ".join(run("windows", "show", "1")[1].split())
    for reading in show(run, "1")["readings"]:
        assert reading["key"] in text
    assert "Deviating run 1 of 2: WARNING after 1 more in a row." in text
    (reading,) = show(run, "1", "--why", "avg_confidence")["readings"]
    why = run("windows", "show", "1", "--why", "avg_confidence")[1]
    for step in reading["derivation"]:
        assert step["name"] in why
    assert reading["sentence"] in " ".join(why.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("77",), "There is no run '77'"),
        (("2020-01-01T00:00:00Z",), "There is no run"),
        (("1", "--why", "mising_rate"), "has no reading 'mising_rate'. It has: avg_confidence"),
    ],
)
def test_what_is_not_there_is_said(run: Command, made_service: Path, words: tuple[str, ...], message: str) -> None:
    """An unknown run or signal fails with a message that helps."""
    degrade(run, made_service, runs=1)
    code, _, errors = run("windows", "show", *words)
    assert (code, message in " ".join(errors.split())) == (1, True)


def test_without_runs_show_says_so(run: Command) -> None:
    """Before the first run there is nothing to show."""
    code, _, errors = run("windows", "show")
    assert (code, "The monitor has never run." in errors) == (1, True)


def test_a_run_of_older_rules_is_shown_as_it_was_stored(run: Command, made_service: Path) -> None:
    """The numbers of other rules cannot be derived, and the command says so; the readings are shown."""
    degrade(run, made_service, runs=1)
    with sqlite3.connect(made_service / "stillsafe.db") as connection:
        connection.execute("UPDATE current_window_metrics SET rules_version = 1")
    connection.close()
    (reading,) = show(run, "1", "--why", "missing_rate:worst area")["readings"]
    assert (reading["derivation"], reading["level"]) == ([], "MODERATE")
    assert "other rules than the installed ones" in run("windows", "show", "1", "--why", "avg_confidence")[1]


def test_the_plot_has_confidence_deviations_and_states(run: Command, made_service: Path) -> None:
    """`--plot` draws the runs from the oldest to the newest; before the first run it names the remedy."""
    assert "Start it with `stillsafe monitor`" in run("windows", "--plot")[1]
    degrade(run, made_service)
    text = run("windows", "--plot")[1]
    for words in ("Mean confidence", "Largest deviation (1 is its limit)", "From 2026-02-01T12:00:00Z", "3 runs."):
        assert words in text
    assert re.search(r"·\s+▲\s+█\n", text)
    assert document(run("windows", "--plot", "--json")[1])[0]["state_after"] == "DEGRADED"
