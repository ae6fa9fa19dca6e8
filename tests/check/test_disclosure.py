"""What `check` says about files of older releases that show values of single rows."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stillsafe import settings as settings_files
from stillsafe.check.disclosure import disclosure_findings, older_copies
from stillsafe.check.findings import Verdict

KEPT_FOLDER = Path(__file__).parents[1] / "kept" / "loan"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder of an older release."""
    return Path(shutil.copytree(KEPT_FOLDER, tmp_path / "loan"))


def write_copy(folder: Path, revision: str, content: str) -> Path:
    """A copy of a database of some revision, as `db upgrade` leaves it."""
    copy = folder / f"stillsafe.db.before-{revision}"
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (content,))
        connection.commit()
    return copy


def test_nothing_is_said_of_the_reference_in_use(folder: Path) -> None:
    """Another check names it; without older files there is nothing to do."""
    (finding,) = disclosure_findings(settings_files.load(folder / "stillsafe.toml"))
    assert (finding.subject, finding.verdict) == ("personal data", Verdict.OK)


def test_an_older_reference_file_is_a_warning(folder: Path) -> None:
    """With the two remedies: delete it, or let a refresh remove the values."""
    shutil.copy(folder / "reference.json", folder / "reference-1.json")
    (finding,) = disclosure_findings(settings_files.load(folder / "stillsafe.toml"))
    assert finding.verdict is Verdict.WARNING
    assert "reference-1.json" in finding.message
    assert "Delete" in finding.message


def test_a_copy_of_the_database_from_before_the_redaction_is_a_warning(folder: Path) -> None:
    """Of a later one nothing is said, nor of a file that is no database."""
    copy = write_copy(folder, "0010", "0006")
    write_copy(folder, "0012", "0010")
    (folder / "stillsafe.db.before-9999").write_text("no database")
    settings = settings_files.load(folder / "stillsafe.toml")
    assert older_copies(settings) == [copy]
    (finding,) = disclosure_findings(settings)
    assert finding.verdict is Verdict.WARNING
    assert "stillsafe.db.before-0010" in finding.message
    copy.unlink()
    assert [each.verdict for each in disclosure_findings(settings)] == [Verdict.OK]
