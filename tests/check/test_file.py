"""The permissions of a service's files."""

import os
import stat
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from stillsafe import service
from stillsafe.check.file import file_findings
from stillsafe.check.findings import Verdict
from stillsafe.settings import load
from stillsafe.store import database
from stillsafe.store.spool import Entry
from tests.init.services import init_service, people


def verdicts(folder: Path) -> list[tuple[Verdict, str]]:
    return [(each.verdict, each.message) for each in file_findings(load(folder / "stillsafe.toml"))]


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_new_service_is_private(made_service: Path) -> None:
    """Nothing that `init` writes can be read by other users, and `check` finds nothing to do."""
    assert {mode(file) & 0o077 for file in made_service.iterdir()} == {0}
    ((verdict, _),) = verdicts(made_service)
    assert verdict is Verdict.OK


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_every_file_of_a_running_service_is_private(made_service: Path, umask: int) -> None:
    """Write-ahead log, spool and backup too, whatever the umask of the process allows."""
    old_umask = os.umask(umask)
    try:
        settings = load(made_service / "stillsafe.toml")
        engine = service.open_store(settings)
        with database.writing(engine) as connection:
            connection.exec_driver_sql("UPDATE services SET name = name")
        spool = service.spool_of(settings)
        spool.append([Entry("prediction", {})])
        database.back_up(engine, made_service / "copy.db")
        names = {"stillsafe.db", "stillsafe.db-wal", "stillsafe.db-shm", "stillsafe.spool.db", "copy.db"}
        assert {name: mode(made_service / name) for name in names} == dict.fromkeys(names, 0o600)
        spool.close()
        engine.dispose()
        (made_service / "stillsafe.db").unlink()
        service.open_store(settings, create=True).dispose()
        assert mode(made_service / "stillsafe.db") == 0o600
    finally:
        os.umask(old_umask)


def test_the_owner_s_permissions_stay(tmp_path: Path) -> None:
    """A group that may read the settings still may after `init --force`; the files that this writes are private."""
    table = people()[["age", "visits", "stays"]]
    model = LogisticRegression().fit(table[["age", "visits"]], table["stays"])
    init_service(model, table, tmp_path, label="stays")
    folder = tmp_path / "out"
    (folder / "stillsafe.toml").chmod(0o640)
    init_service(model, table, tmp_path, label="stays", force=True)
    assert [mode(folder / name) for name in ("stillsafe.toml", "stillsafe-1.toml")] == [0o640, 0o640]
    assert mode(folder / "reference-2.json") == 0o600


@pytest.mark.parametrize("name", ["stillsafe.db", "stillsafe.db-wal", "stillsafe.db.monitor-0.lock", "."])
def test_a_file_that_nobody_can_write_is_named(made_service: Path, name: str) -> None:
    """Root could write it all the same, and the service, which is not root, could not."""
    file = made_service / name
    file.touch()
    old_mode = mode(file)
    file.chmod(0o555 if file.is_dir() else 0o444)
    (verdict, message), *_ = verdicts(made_service)
    assert verdict is Verdict.ERROR
    assert str(file.resolve()) in message
    file.chmod(old_mode | 0o200)
    assert [each for each, _ in verdicts(made_service)] != [Verdict.ERROR]


@pytest.mark.parametrize("name", ["stillsafe.toml", "stillsafe.db"])
def test_a_file_that_everybody_can_read_is_named(made_service: Path, name: str) -> None:
    """Folders of earlier releases have such files: a warning, with the command."""
    (made_service / name).chmod(0o644)
    ((verdict, message),) = verdicts(made_service)
    assert verdict is Verdict.WARNING
    assert f"chmod 600 {name}" in message
