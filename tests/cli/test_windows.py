"""`windows` lists the last runs."""

from pathlib import Path

from stillsafe.cli.windows import LARGE_DOCUMENTS

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
