"""`demo` reports a demo that does not show what it should. `tests/test_demo.py` plays the real one."""

import json
from pathlib import Path

from .commands import Command


def test_a_foreign_folder_makes_the_demo_fail(run: Command, made_service: Path) -> None:
    """The command exits with 1 and says what to do; the folder is unchanged."""
    settings = (made_service / "stillsafe.toml").read_text()
    code, _, errors = run("demo", "--out", str(made_service))
    assert code == 1
    assert "The demo failed" in errors
    assert "name another one with --out" in errors
    code, out, errors = run("demo", "--out", str(made_service), "--json")
    assert (code, out, json.loads(errors)["kind"]) == (1, "", "DemoFailed")
    assert (made_service / "stillsafe.toml").read_text() == settings


def test_an_unknown_act_is_refused(run: Command, tmp_path: Path) -> None:
    """The refusal names the acts."""
    code, _, error = run("demo", "--act", "love", "--out", str(tmp_path / "story"))
    assert code == 2
    assert "--act feed or --act concept" in error
