"""`status` shows the state, and whether the monitor runs."""

from pathlib import Path

import pytest

from stillsafe.settings import DATABASE_VARIABLE

from .commands import Command, degrade, document


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
