"""`schedule` prints, installs, shows and removes the crontab entry."""

from pathlib import Path

import pytest

from stillsafe.monitoring import schedule

from .commands import Command


def test_an_entry_is_printed_without_being_installed(run: Command, made_service: Path) -> None:
    """`install --print` prints a line that starts this service's monitor."""
    code, out, _ = run("schedule", "install", "--print")
    assert code == 0
    assert f"monitor --config {made_service / 'stillsafe.toml'}" in " ".join(out.split())


def test_an_entry_that_is_not_installed_is_a_failure(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """`show` exits with 1 without an entry and with 0 with one; `remove` says whether there was one."""
    monkeypatch.setattr(schedule, "show", lambda _config: None)
    monkeypatch.setattr(schedule, "remove", lambda _config: False)
    code, out, _ = run("schedule", "show")
    assert (code, "No crontab entry" in out) == (1, True)
    assert "no entry to remove" in run("schedule", "remove")[1]
    monkeypatch.setattr(schedule, "show", lambda _config: "*/10 * * * * [stillsafe]")
    code, out, _ = run("schedule", "show")
    assert (code, "[stillsafe]" in out) == (0, True)
