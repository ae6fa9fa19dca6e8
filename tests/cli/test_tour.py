"""`tour` needs a person or `--yes`. `tests/test_tour.py` plays the real one."""

import io
import json
from pathlib import Path

import pytest

from .commands import Command


def test_the_tour_waits_for_a_person_only_at_a_terminal(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal and without `--yes` it says what to do, and does not wait for ever."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, out, errors = run("tour")
    assert (code, out, "Add --yes." in errors) == (2, "", True)


def test_a_foreign_folder_is_left_alone(run: Command, made_service: Path) -> None:
    """A folder that no demo made is not replaced; with `--json` the refusal is JSON."""
    settings = (made_service / "stillsafe.toml").read_text()
    code, out, errors = run("tour", "--yes", "--json", "--out", str(made_service))
    assert (code, out, json.loads(errors)["kind"]) == (1, "", "DemoFailed")
    assert (made_service / "stillsafe.toml").read_text() == settings
