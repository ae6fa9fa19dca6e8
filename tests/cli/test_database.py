"""`prune` and `db` from the outside: what they say, to people and to programs, and how they exit."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.older import make_older


def stillsafe(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stillsafe", *words, "--config", str(folder / "stillsafe.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.fixture
def aged(made_service: Path) -> Path:
    """A service whose log holds a hundred old rows and a new one."""
    assert stillsafe(made_service, "db", "upgrade").returncode == 0
    insert = (
        "INSERT INTO prediction_logs (timestamp, model_version, system_state, input_summary)"
        " VALUES (?, '1', 'NORMAL', '{}')"
    )
    with sqlite3.connect(made_service / "stillsafe.db") as connection:
        connection.executemany(insert, [("2020-01-01 00:00:00.000000",)] * 100)
        connection.execute(insert.replace("?", "strftime('%Y-%m-%d %H:%M:%S.000000', 'now')"))
    connection.close()
    return made_service


def test_prune_says_what_went_and_what_the_file_does(aged: Path) -> None:
    """A dry run, a real one with an archive, and the file's size that stays."""
    planned = stillsafe(aged, "prune", "--older-than", "90d", "--dry-run")
    assert (planned.returncode, "100 predictions and 0 refusals" in planned.stdout) == (0, True), planned.stderr
    done = stillsafe(aged, "prune", "--older-than", "90d", "--archive", "kept")
    assert done.returncode == 0, done.stderr
    assert "archived and deleted" in done.stdout
    assert "keeps its size" in done.stdout
    assert [file.name for file in (aged / "kept").iterdir()] == ["predictions-2020-01-01-1.parquet"]


def test_prune_tells_programs(aged: Path) -> None:
    """The counts as JSON, and the file gets smaller on request."""
    done = stillsafe(aged, "prune", "--older-than", "90d", "--vacuum", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["prediction_count"], told["vacuumed"]) == (0, 100, True)


@pytest.mark.parametrize("age", ["soon", "0s", "-3d", "9999999d", ""])
def test_what_is_no_age_is_misconfigured(aged: Path, age: str) -> None:
    """Nothing is deleted on a guess."""
    done = stillsafe(aged, "prune", "--older-than", age)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Write it as 90d" in done.stderr


def test_an_upgrade_copies_the_file_first(aged: Path) -> None:
    """The copy is the old database whole; nothing is copied where nothing is upgraded, or where nobody wants it."""
    newest = json.loads(stillsafe(aged, "db", "current", "--json").stdout)["stillsafe"]
    copy = aged / f"stillsafe.db.before-{newest}"
    assert "as it was before" in stillsafe(aged, "db", "upgrade").stdout
    assert not copy.exists()
    make_older(f"sqlite:///{aged / 'stillsafe.db'}")
    assert "stillsafe db upgrade" in stillsafe(aged, "status").stderr
    done = stillsafe(aged, "db", "upgrade", "--json")
    assert json.loads(done.stdout) == {"from": "0001", "to": newest, "backup": str(copy)}, done.stderr
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM prediction_logs").fetchone() == (101,)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    connection.close()
    make_older(f"sqlite:///{aged / 'stillsafe.db'}")
    again = stillsafe(aged, "db", "upgrade")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert "0001" in stillsafe(aged, "db", "current").stdout
    assert stillsafe(aged, "db", "upgrade", "--no-backup").returncode == 0


def test_a_backup_is_one_file(aged: Path) -> None:
    """It holds what the database holds, and is never written over another."""
    done = stillsafe(aged, "db", "backup", "copy.db", "--json")
    assert json.loads(done.stdout) == {"backup": "copy.db", "bytes": (aged / "copy.db").stat().st_size}, done.stderr
    again = stillsafe(aged, "db", "backup", "copy.db")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)


def test_an_archive_is_read_beside_the_log(aged: Path) -> None:
    """Without the log it says nothing; a folder without one is refused."""
    alone = stillsafe(aged, "replay", "--archive", "kept")
    assert (alone.returncode, "Add --from-logs" in alone.stderr) == (2, True)
    nothing = stillsafe(aged, "replay", "--from-logs", "--archive", "kept")
    assert (nothing.returncode, "holds no archive" in nothing.stderr) == (1, True)
    assert stillsafe(aged, "prune", "--older-than", "90d", "--archive", "kept").returncode == 0
    assert stillsafe(aged, "replay", "--from-logs", "--archive", "kept").returncode == 0


def test_an_archive_is_a_history(made_service: Path, healthy_rows: list[dict[str, float]]) -> None:
    """`backtest` judges what was pruned as any history; values that were never logged in clear it cannot."""
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
    assert stillsafe(made_service, "prune", "--older-than", "90d", "--archive", "kept").returncode == 0
    judged = stillsafe(made_service, "backtest", "kept", "--rows-per-run", "100", "--json", "-")
    assert judged.returncode == 0, judged.stderr
    runs = json.loads(judged.stdout)["runs"]
    assert len(runs) == 3
    assert (runs[0]["data_from"][:10], len(rows)) == ("2020-01-01", 284)
    settings = made_service / "stillsafe.toml"
    settings.write_text('log = "hash"'.join(settings.read_text().rsplit('log = "keep"', 1)))
    refused = stillsafe(made_service, "backtest", "kept")
    assert (refused.returncode, "never held worst area in clear" in refused.stderr) == (2, True), refused.stderr
