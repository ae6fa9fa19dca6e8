"""`monitor` prints what a run concluded."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .commands import START, Command, document, log_predictions


def test_a_run_is_printed_as_text_and_as_json(run: Command, made_service: Path) -> None:
    """`monitor` prints the reason of a run; a second start at the same time has nothing to do."""
    run("status")
    log_predictions(made_service, 100, START, area=None)
    code, out, _ = run("monitor", "--now", START.isoformat())
    assert code == 0
    assert "worst area is missing in 100.0% of 100 predictions" in out
    code, out, _ = run("monitor", "--now", START.isoformat(), "--json")
    assert (code, document(out)) == (0, {"outcome": "already done"})


def test_the_json_of_a_run_is_complete(run: Command, made_service: Path) -> None:
    """The JSON holds the window, the decision and every reading."""
    run("status")
    log_predictions(made_service, 100, START)
    run_document = document(run("monitor", "--now", START.isoformat(), "--json")[1])
    assert list(run_document) == [
        *("outcome", "run", "window_start", "window_end", "prediction_count", "late_count", "never_judged_count"),
        *("synthetic_count", "unjudged_since", "progress", "fresh_prediction_count", "evidence"),
        *("severity", "state_before", "state", "reason", "incident_id", "readings", "shadow_score_problem"),
    ]
    assert (run_document["prediction_count"], run_document["state"]) == (100, "NORMAL")
    assert run_document["readings"]


def test_a_trial_judges_and_writes_nothing(run: Command, made_service: Path) -> None:
    """`--try` prints one line and exits with 0, or with 2 and the error that a run would have."""
    code, out, _ = run("monitor", "--try")
    assert (code, out.count("\n"), "The monitor can run" in out) == (0, 1, True)
    assert "database sqlite, readable" in out
    next(made_service.glob("model.*")).unlink()
    code, _, errors = run("monitor", "--try")
    assert (code, "The model cannot be read" in errors) == (2, True)


def test_the_exit_code_names_the_state_where_that_is_wanted(run: Command, made_service: Path) -> None:
    """0 NORMAL, 3 WARNING, 4 DEGRADED, also of a start with nothing to do; without the option a run is 0."""
    run("status")
    log_predictions(made_service, 100, START)
    assert run("monitor", "--now", START.isoformat(), "--exit-code")[0] == 0
    codes = []
    for number in range(1, 4):
        now = START + timedelta(minutes=10 * number)
        log_predictions(made_service, 100, now, area=None)
        codes.append(run("monitor", "--now", now.isoformat(), "--exit-code")[0])
    assert codes[0] == 3
    assert codes[-1] == 4
    assert run("monitor", "--now", now.isoformat(), "--exit-code")[0] == 4
    assert run("monitor", "--now", now.isoformat())[0] == 0


def test_a_model_that_cannot_be_loaded_is_known_before_it_is_bypassed(run: Command, made_service: Path) -> None:
    """From the second severe run on, output and status say it; a run that must score bypassed rows fails with it."""
    problems = []
    run("status")
    model = next(made_service.glob("model.*"))
    content = model.read_bytes()
    model.unlink()
    for number in range(3):
        now = START + timedelta(minutes=10 * number)
        log_predictions(made_service, 100, now, area=None)
        problems.append(document(run("monitor", "--now", now.isoformat(), "--json")[1])["shadow_score_problem"])
    assert problems[0] is None
    assert all("The model cannot be read" in problem for problem in problems[1:])
    assert document(run("status", "--json")[1])["shadow_score_problem"] == problems[-1]
    assert "No recovery once the model is bypassed" in run("status")[1]
    now = START + timedelta(minutes=30)
    log_predictions(made_service, 100, now)
    with closing(sqlite3.connect(made_service / "stillsafe.db")) as connection, connection:
        connection.execute("UPDATE prediction_logs SET fallback_used = 1 WHERE id > 300")
    code, _, errors = run("monitor", "--now", now.isoformat())
    assert code == 1
    assert "must score the rows that the fallback answered" in errors
    model.write_bytes(content)
    assert document(run("monitor", "--now", now.isoformat(), "--json")[1])["shadow_score_problem"] is None


def test_a_time_ahead_of_the_clock_is_refused(run: Command, made_service: Path) -> None:
    """A year ahead is misconfigured and writes nothing, unless `--ahead` insists; the past needs no flag."""
    run("status")
    ahead = (datetime.now(UTC) + timedelta(days=365)).isoformat()
    code, _, errors = run("monitor", "--now", ahead)
    assert (code, "--ahead" in errors) == (2, True)
    assert document(run("windows", "--json")[1]) == []
    assert run("monitor", "--now", START.isoformat())[0] == 0
    assert run("monitor", "--now", ahead, "--ahead")[0] == 0


def test_runs_of_a_wrong_clock_are_discarded(run: Command, made_service: Path) -> None:
    """`--discard-after` supersedes the runs on record, and the monitor runs again in the present."""
    run("status")
    run("monitor", "--now", START.isoformat())
    ahead = START + timedelta(days=365)
    assert run("monitor", "--now", ahead.isoformat(), "--ahead")[0] == 0
    later = (START + timedelta(minutes=10)).isoformat()
    code, _, errors = run("monitor", "--now", later)
    assert (code, "--discard-after" in errors) == (1, True)
    code, _, errors = run("monitor", "--discard-after", START.isoformat())
    assert (code, "reason is needed" in errors) == (2, True)
    words = ("monitor", "--discard-after", START.isoformat(), "--reason", "the clock was a year ahead", "--by", "ann")
    code, out, errors = run(*words, "--json")
    assert code == 0, errors
    result = document(out)
    assert (result["outcome"], len(result["runs"]), result["state"]) == ("discarded", 1, "NORMAL")
    assert result["checked_at"].startswith(START.isoformat()[:10])
    code, _, errors = run(*words)
    assert (code, "no run whose window ends after" in errors) == (1, True)
    assert run("monitor", "--now", later)[0] == 0
    assert len(document(run("windows", "--json")[1])) == 2
