"""`init --refresh` prints what it added, and activates the new reference where the store allows it."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from stillsafe.cli.refresh import DEFAULT_FOLDER, config_of
from tests.stores import with_store

from ..init.test_refresh import KEPT_FOLDER, people
from .commands import Command, document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder of an older release, and a sample beside it."""
    people().to_csv(tmp_path / "sample.csv", index=False)
    return Path(shutil.copytree(KEPT_FOLDER, tmp_path / "loan"))


def refresh(run: Command, folder: Path, *words: str) -> tuple[int, str, str]:
    sample = str(folder.parent / "sample.csv")
    return run("init", "--refresh", "--sample", sample, "--label", "granted", "--out", str(folder), *words)


def test_it_prints_what_it_added_and_what_stays(run: Command, folder: Path) -> None:
    """Without a database yet, the new reference becomes active with it."""
    code, out, errors = refresh(run, folder)
    assert code == 0, errors
    for text in ("Added to [privacy]: min_count.", "otherwise unchanged", "becomes the active baseline when"):
        assert text in out
    assert not (folder / "stillsafe.db").exists()


def test_the_new_reference_is_active_at_once(run: Command, folder: Path) -> None:
    """In a store that is there, in place of the older reference."""
    with_store(folder)
    result = document(refresh(run, folder, "--json")[1])
    assert result["activation"] == f"{result['baseline_id']} is the active baseline now."
    with sqlite3.connect(folder / "stillsafe.db") as connection:
        (active,) = connection.execute("SELECT baseline_id FROM baseline_metrics WHERE active").fetchone()
    assert active == result["baseline_id"]
    assert result["added"]["privacy"] == {"min_count": 5}


def test_a_store_that_cannot_be_opened_is_said(run: Command, folder: Path) -> None:
    """The files are written all the same, and the message names the command for later."""
    (folder / "stillsafe.db").write_text("no database")
    code, out, errors = refresh(run, folder)
    assert code == 0, errors
    assert "The baseline is not active yet" in out.replace("\n", " ")
    assert "stillsafe baseline activate reference-49b4989a-" in out.replace("\n", " ")


def test_init_without_a_model_is_refused_unless_it_refreshes(run: Command, folder: Path) -> None:
    """The usage error names the option."""
    code, _, errors = run("init", "--sample", str(folder.parent / "sample.csv"))
    assert code == 2
    assert "--model" in errors


def test_the_service_to_refresh_is_found(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The named folder, else the settings that other commands take, else the folder that `init` writes."""
    assert config_of(folder) == folder / "stillsafe.toml"
    monkeypatch.chdir(folder)
    assert config_of(None) == Path("stillsafe.toml")
    monkeypatch.chdir(folder.parent)
    assert config_of(None) == DEFAULT_FOLDER / "stillsafe.toml"
