"""The file of a SQLite database: who creates it, and which one an engine reads."""

from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine

from stillsafe.errors import StoreUnavailable
from stillsafe.store import database
from stillsafe.store.database_file import file_of


def test_the_file_of_a_database(tmp_path: Path) -> None:
    """A server and a database in memory have none."""
    assert file_of(database.connect(f"sqlite:///{tmp_path / 'log.db'}")) == tmp_path / "log.db"
    assert file_of(create_engine("sqlite://")) is None
    assert file_of(database.connect("postgresql://nobody@127.0.0.1:9/none")) is None


@pytest.mark.parametrize("name", ["log.db", "a b?mode=rwc&x#y%20.db", "größe.db"])
def test_only_an_upgrade_creates_the_file(tmp_path: Path, name: str) -> None:
    """Reading and writing fail with the file's name, whatever characters it has; nothing appears on the disk."""
    engine = database.connect(URL.create("sqlite", database=str(tmp_path / name)).render_as_string())
    for use in (database.reading, database.writing):
        with pytest.raises(StoreUnavailable, match=r"there is no file .*/") as error, use(engine):
            pass
        assert error.value.reason == "the database cannot be opened"
    assert database.revision(engine) is None
    assert list(tmp_path.iterdir()) == []
    database.upgrade(engine)
    database.require_current(engine)
    engine.dispose()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_an_engine_does_not_replace_a_file_that_was_moved_away(tmp_path: Path) -> None:
    """While the service runs the file goes away and comes back: meanwhile every use fails, then it is read again."""
    file = tmp_path / "log.db"
    engine = database.connect(f"sqlite:///{file}")
    database.upgrade(engine)
    for each in tmp_path.glob("log.db*"):
        each.rename(tmp_path / f"away-{each.name}")
    with pytest.raises(StoreUnavailable), database.reading(engine):
        pass
    assert not file.exists()
    for each in tmp_path.glob("away-*"):
        each.rename(tmp_path / each.name.removeprefix("away-"))
    database.require_current(engine)
    engine.dispose()
