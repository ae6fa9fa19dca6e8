"""`prune` and `db`: their text, their JSON and their exit codes."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.store.older import make_older

from .commands import Command, document, stillsafe


def test_the_revision_is_shown(run: Command, made_service: Path) -> None:
    """`db current` shows a database without tables, `db upgrade` creates them, and a newer revision is refused."""
    (made_service / "stillsafe.db").unlink()
    assert document(run("db", "current", "--json")[1])["database"] is None
    assert run("db", "upgrade")[0] == 0
    current = document(run("db", "current", "--json")[1])
    assert current["database"] == current["stillsafe"]
    connection = sqlite3.connect(made_service / "stillsafe.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    code, _, errors = run("status")
    assert code == 2
    assert "newer version" in errors


def test_prune_reports_the_rows_and_the_size_of_the_file(old_service: Path) -> None:
    """A dry run deletes nothing; a real run archives and deletes, and the file keeps its size."""
    dry_run = stillsafe(old_service, "prune", "--older-than", "90d", "--dry-run")
    assert (dry_run.returncode, "100 predictions and 0 refusals" in dry_run.stdout) == (0, True), dry_run.stderr
    process = stillsafe(old_service, "prune", "--older-than", "90d", "--archive", "archive")
    assert process.returncode == 0, process.stderr
    assert "archived and deleted" in process.stdout
    assert "keeps its size" in process.stdout
    assert [file.name for file in (old_service / "archive").iterdir()] == ["predictions-2020-01-01-1.parquet"]


def test_prune_prints_json(old_service: Path) -> None:
    """The JSON has the counts; `--vacuum` shrinks the file."""
    process = stillsafe(old_service, "prune", "--older-than", "90d", "--vacuum", "--json")
    result = json.loads(process.stdout)
    assert (process.returncode, result["prediction_count"], result["vacuumed"]) == (0, 100, True)


@pytest.mark.parametrize("age", ["soon", "0s", "-3d", "9999999d", ""])
def test_an_impossible_age_is_misconfigured(old_service: Path, age: str) -> None:
    """An age that cannot be read deletes nothing."""
    process = stillsafe(old_service, "prune", "--older-than", age)
    assert (process.returncode, process.stdout) == (2, "")
    assert "Write it as 90d" in process.stderr


def test_an_upgrade_copies_the_file_first(old_service: Path) -> None:
    """The copy is the whole old database; nothing is copied without an upgrade or with `--no-backup`."""
    newest = json.loads(stillsafe(old_service, "db", "current", "--json").stdout)["stillsafe"]
    copy = old_service / f"stillsafe.db.before-{newest}"
    assert "as it was before" in stillsafe(old_service, "db", "upgrade").stdout
    assert not copy.exists()
    make_older(f"sqlite:///{old_service / 'stillsafe.db'}")
    assert "stillsafe db upgrade" in stillsafe(old_service, "status").stderr
    process = stillsafe(old_service, "db", "upgrade", "--json")
    report = {"from": "0001", "to": newest, "backup": str(copy), "redacted_baselines": []}
    assert json.loads(process.stdout) == report, process.stderr
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM prediction_logs").fetchone() == (101,)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    connection.close()
    make_older(f"sqlite:///{old_service / 'stillsafe.db'}")
    again = stillsafe(old_service, "db", "upgrade")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert "0001" in stillsafe(old_service, "db", "current").stdout
    assert stillsafe(old_service, "db", "upgrade", "--no-backup").returncode == 0


def test_a_backup_is_one_file(old_service: Path) -> None:
    """The backup has the whole database, and an existing file is never overwritten."""
    process = stillsafe(old_service, "db", "backup", "copy.db", "--json")
    assert json.loads(process.stdout) == {"backup": "copy.db", "bytes": (old_service / "copy.db").stat().st_size}, (
        process.stderr
    )
    again = stillsafe(old_service, "db", "backup", "copy.db")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)


def old_row_count(folder: Path) -> int:
    """Old rows of the service that the settings name."""
    process = stillsafe(folder, "prune", "--older-than", "90d", "--dry-run", "--json")
    return int(json.loads(process.stdout)["prediction_count"])


def test_a_renamed_service_keeps_its_rows(old_service: Path) -> None:
    """After a change of the name in the settings, `db rename` gives the log of the old name to the new one."""
    file = old_service / "stillsafe.toml"
    assert old_row_count(old_service) == 100
    file.write_text(file.read_text().replace('name = "tumours"', 'name = "growths"', 1))
    unknown = stillsafe(old_service, "db", "rename", "nobody")
    assert (unknown.returncode, "no service 'nobody'" in unknown.stderr) == (1, True)
    process = stillsafe(old_service, "db", "rename", "tumours", "--json")
    assert json.loads(process.stdout) == {"from": "tumours", "to": "growths"}, process.stderr
    assert old_row_count(old_service) == 100
    again = stillsafe(old_service, "db", "rename", "tumours")
    assert again.returncode == 1


def test_prune_applies_the_retention_of_the_settings(old_service: Path) -> None:
    """Without an age and without `[retention]` nothing is deleted, and the command says what is missing."""
    process = stillsafe(old_service, "prune", "--dry-run")
    assert process.returncode == 2
    assert "[retention]" in process.stderr
    file = old_service / "stillsafe.toml"
    file.write_text(file.read_text().replace("[retention]\n", '[retention]\npredictions = "90d"\nlabels = "1d"\n'))
    result = document(stillsafe(old_service, "prune", "--json").stdout)
    assert (result["prediction_count"], result["label_count"], result["text_count"]) == (100, 0, 0)
