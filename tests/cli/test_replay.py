"""`replay` recomputes what the monitor decided."""

import sqlite3
from pathlib import Path

from stillsafe.core.policy import RULES_VERSION

from .commands import Command, degrade, document, stillsafe


def test_replay_reports_the_first_difference(run: Command, made_service: Path) -> None:
    """`replay` exits with 0 where every decision is recomputed, and with 1 and the first difference otherwise."""
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


def test_replay_counts_the_runs_of_other_rules(run: Command, made_service: Path) -> None:
    """Runs of other rules are counted by version; replay exits with 0 while their states agree."""
    degrade(run, made_service)
    newer = RULES_VERSION + 1
    connection = sqlite3.connect(made_service / "stillsafe.db")
    connection.execute("UPDATE current_window_metrics SET rules_version = ? WHERE id <= 2", (newer,))
    connection.execute("UPDATE current_window_metrics SET rules_version = 99 WHERE severity = 'CRITICAL'")
    connection.commit()
    connection.close()
    code, out, _ = run("replay")
    assert code == 0
    assert f"levels of 2 runs decided by rules {newer} not recomputed; their states agree" in out
    assert "levels of 1 run decided by rules 99 not recomputed; its state agrees" in out
    assert document(run("replay", "--json")[1])["not_recomputed"] == {str(newer): 2, "99": 1}


def test_an_archive_is_read_with_the_log(old_service: Path) -> None:
    """An archive needs `--from-logs`; a folder without an archive is refused."""
    alone_with_archive = stillsafe(old_service, "replay", "--archive", "archive")
    assert (alone_with_archive.returncode, "Add --from-logs" in alone_with_archive.stderr) == (2, True)
    empty_archive = stillsafe(old_service, "replay", "--from-logs", "--archive", "archive")
    assert (empty_archive.returncode, "holds no archive" in empty_archive.stderr) == (1, True)
    assert stillsafe(old_service, "prune", "--older-than", "90d", "--archive", "archive").returncode == 0
    assert stillsafe(old_service, "replay", "--from-logs", "--archive", "archive").returncode == 0
