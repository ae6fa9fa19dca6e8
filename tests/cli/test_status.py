"""`status` shows the state, and whether the monitor runs."""

import re
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from stillsafe.cli.status import exit_code
from stillsafe.settings import DATABASE_VARIABLE
from stillsafe.store import database
from stillsafe.store.write.services import register_service

from .commands import START, Command, degrade, document, log_predictions


def test_a_monitor_that_never_ran_is_reported(run: Command) -> None:
    """Before the first run `status` reports that the monitor is not running."""
    code, out, _ = run("status")
    assert code == 0
    assert "The monitor is not running" in out
    assert "last run: never" in out


def test_a_degraded_service_is_shown_with_its_incident(run: Command, made_service: Path) -> None:
    """DEGRADED is shown with its reason, its streaks, and the way to recovery, as text and as JSON."""
    degrade(run, made_service)
    code, out, _ = run("status", "--json")
    status = document(out)
    assert (code, status["state"], status["watched"], status["stale"]) == (0, "DEGRADED", True, True)
    assert status["incident"]["severity"] == "CRITICAL"
    text = run("status")[1]
    assert "DEGRADED" in text
    assert "estimated_accuracy_loss: deviating for 3 runs, severe for 3" in text
    assert f"Calm runs: 0 of {status['recovery_runs_needed']} needed to recover" in text
    assert "see `stillsafe explain`" in text


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({}, 0),
        ({"state": "WARNING"}, 3),
        ({"state": "DEGRADED"}, 4),
        ({"state": "DEGRADED", "stale": True}, 4),
        ({"stale": True}, 5),
        ({"judged": False}, 5),
        ({"watched": False}, 5),
        ({"state": "WARNING", "stale": True}, 5),
    ],
)
def test_the_exit_code_tells_the_state(facts: dict[str, object], code: int) -> None:
    """DEGRADED is told whatever else is true; a WARNING or NORMAL that nobody vouches for is neither."""
    assert exit_code({"state": "NORMAL", "stale": False, "judged": True, "watched": True} | facts) == code


def test_the_exit_code_is_asked_for(run: Command, made_service: Path) -> None:
    """Without `--exit-code` a status that could be read is a success, whatever the state is."""
    assert run("status", "--exit-code")[0] == 5
    degrade(run, made_service)
    assert run("status")[0] == 0
    code, out, _ = run("status", "--exit-code", "--json")
    assert (code, document(out)["state"]) == (4, "DEGRADED")


def test_features_that_are_not_watched_are_named(run: Command, made_service: Path) -> None:
    """`status` and its JSON name the features with `watch = false`, and limits of single features."""
    assert "not watched" not in run("status")[1]
    config = made_service / "stillsafe.toml"
    text = config.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^(name = "mean texture".*)$', r"\1\nwatch = false", text)
    text = re.sub(r'(?m)^(name = "worst area".*)$', r"\1\nlimits = {missing_rate = 0.1}", text)
    config.write_text(text, encoding="utf-8")
    assert "Features not watched: mean texture (`watch = false`); limits of their own:" in run("status")[1]
    status = document(run("status", "--json")[1])
    assert status["unwatched_features"] == ["mean texture"]
    assert "missing_rate:worst area 0.1" in status["watch"]


def test_a_database_that_is_out_leaves_the_state_unknown(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its database server `status` shows no state, which is not NORMAL, and exits with 1."""
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://nobody@127.0.0.1:9/none")
    code, out, _ = run("status", "--json")
    status = document(out)
    assert (code, status["state"], status["spooled_rows"]) == (1, None, 0)
    assert status["store"].startswith("out: ")
    code, out, _ = run("status")
    assert code == 1
    assert "state unknown" in out


def test_the_reason_stays_and_progress_stands_beside_it(run: Command, made_service: Path) -> None:
    """While a degradation recovers the reason is what caused it, and the progress tells the calm runs."""
    now = degrade(run, made_service)
    cause = document(run("status", "--json")[1])["reason"]
    log_predictions(made_service, 100, now)
    assert run("monitor", "--now", now.isoformat())[0] == 0
    status = document(run("status", "--json")[1])
    assert (status["state"], status["reason"]) == ("DEGRADED", cause)
    assert "DEGRADED ends after 3 consecutive calm runs" in status["progress"]
    assert status["progress"] in run("status")[1]


def test_rows_that_the_last_run_left_out_are_counted(run: Command, made_service: Path) -> None:
    """Late, never judged and synthetic rows stand in the JSON, and in the text where there are any."""
    run("status")
    log_predictions(made_service, 100, START)
    run("monitor", "--now", START.isoformat())
    status = document(run("status", "--json")[1])
    assert (status["late_count"], status["never_judged_count"], status["synthetic_count"]) == (0, 0, 0)
    assert "Rows of the last run" not in run("status")[1]
    log_predictions(made_service, 30, START - timedelta(minutes=1))
    later = START + timedelta(minutes=10)
    log_predictions(made_service, 60, later)
    with sqlite3.connect(made_service / "stillsafe.db") as connection:
        connection.execute("UPDATE prediction_logs SET synthetic = 1 WHERE id > 180")
    connection.close()
    assert run("monitor", "--now", later.isoformat())[0] == 0
    status = document(run("status", "--json")[1])
    assert (status["late_count"], status["synthetic_count"]) == (30, 10)
    assert "Rows of the last run: 30 late, 10 synthetic" in run("status")[1]


def test_every_service_of_the_database_gets_a_line(run: Command, made_service: Path) -> None:
    """`--all` shows each service with its versions, its state and whether it is judged, as text and as JSON."""
    degrade(run, made_service)
    engine = database.connect(f"sqlite:///{made_service / 'stillsafe.db'}", "prices")
    with database.writing(engine) as connection:
        register_service(connection)
    engine.dispose()
    services = {each["service"]: each for each in document(run("status", "--all", "--json")[1])}
    assert list(services) == ["prices", "tumours"]
    assert (services["prices"]["state"], services["prices"]["versions"]) == ("NORMAL", [])
    assert services["tumours"]["state"] == "DEGRADED"
    lines = run("status", "--all")[1].splitlines()
    assert lines[0] == "prices: NORMAL, judged, versions none, last request never"
    assert lines[1].startswith("tumours: DEGRADED, ")
