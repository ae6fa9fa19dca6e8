"""An upgrade, a backup and a prune of a database in use do not fail any request."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert, text

from stillsafe.monitoring import archive
from stillsafe.store import database
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.tables import prediction_logs
from tests.faults.api import BODY, Api, Load, missing_and_duplicate_counts
from tests.faults.conftest import repetitions
from tests.faults.figures import Figure
from tests.store.older import make_older


def execute(api: Api, *statements: str) -> None:
    engine = database.connect(api.database)
    with database.writing(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def add_old_rows(api: Api, count: int) -> list[int]:
    """Add rows of three days, a month ago; return their ids."""
    first, version = datetime.now(UTC) - timedelta(days=33), api.get("/v1/model")["version"]
    row = {"model_version": version, "system_state": "NORMAL", "input_summary": BODY, "fallback_used": False}
    rows = [row | {"timestamp": first + timedelta(days=3 * number / count)} for number in range(count)]
    engine = database.connect(api.database)
    with database.writing(engine) as connection:
        ids = connection.execute(insert(prediction_logs).returning(prediction_logs.c.id), rows).scalars().all()
    engine.dispose()
    return list(ids)


def store(api: Api) -> str:
    return "PostgreSQL" if api.database.startswith("postgresql") else "SQLite"


def test_an_upgrade_keeps_what_was_acknowledged(on_either: Api, figure: Figure) -> None:
    """A database of the first schema is refused, then upgraded; every row is still there, and the service goes on."""
    with Load(on_either) as load:
        load.wait_for_answers(50)
    on_either.terminate()
    make_older(on_either.database)
    assert "stillsafe db upgrade" in on_either.command("status").stderr
    process = on_either.command("db", "upgrade")
    assert process.returncode == 0, process.stderr
    on_either.start()
    with Load(on_either) as later_load:
        later_load.wait_for_answers(50)
    prediction_ids = load.prediction_ids | later_load.prediction_ids
    counts = missing_and_duplicate_counts(prediction_ids, on_either.prediction_log())
    failures = [*load.failures, *later_load.failures]
    figure(
        f"schema upgraded, {store(on_either)}: requests failed; missing / doubled",
        f"{len(failures)} of {len(prediction_ids)}; {counts[0]} / {counts[1]}",
    )
    assert (failures, counts) == ([], (0, 0))
    assert on_either.command("status").returncode == 0


def test_pruning_a_log_in_use(on_either: Api, tmp_path: Path, figure: Figure) -> None:
    """Old rows are archived under load; no request fails, and each row is either in the log or in the archive."""
    old = add_old_rows(on_either, repetitions(12_000, 200_000))
    with Load(on_either) as load:
        load.wait_for_answers(50)
        process = on_either.command("prune", "--older-than", "1d", "--archive", str(tmp_path / "kept"))
        assert process.returncode == 0, process.stderr
        load.wait_for_answers(50)
    rows = on_either.prediction_log()
    counts = missing_and_duplicate_counts(load.prediction_ids, rows)
    figure(
        f"{len(old)} rows pruned under load, {store(on_either)}: requests failed; missing / doubled",
        f"{len(load.failures)} of {len(load.answers)}; {counts[0]} / {counts[1]}",
    )
    assert (load.failures, counts) == ([], (0, 0))
    assert sorted(archive.archived_ids(tmp_path / "kept", RequestTable.PREDICTIONS)) == old
    assert not {row.id for row in rows} & set(old)


def test_a_backup_of_a_database_in_use_can_be_restored(on_sqlite: Api, tmp_path: Path) -> None:
    """The backup has every row acknowledged before it began, and a service can use it."""
    with Load(on_sqlite) as load:
        load.wait_for_answers(50)
        copied_ids = set(load.prediction_ids)
        process = on_sqlite.command("db", "backup", str(tmp_path / "copy.db"))
        assert process.returncode == 0, process.stderr
        load.wait_for_answers(50)
    on_sqlite.terminate()
    place = on_sqlite.folder / "stillsafe.db"
    for file in place.parent.glob("stillsafe.db*"):
        file.unlink()
    shutil.copy(tmp_path / "copy.db", place)
    on_sqlite.start()
    assert on_sqlite.predict()["decided_by"] == "model"
    assert missing_and_duplicate_counts(copied_ids, on_sqlite.prediction_log()) == (0, 0)
    assert on_sqlite.command("replay", "--from-logs").returncode == 0


def test_a_server_refuses_another_schema_version(on_either: Api) -> None:
    """An older or newer schema is refused at the start, with the remedy."""
    on_either.terminate()
    for change, message in (
        ("UPDATE alembic_version SET version_num = '0001'", "run `stillsafe db upgrade`"),
        ("UPDATE alembic_version SET version_num = '9999'", "upgrade the package"),
    ):
        execute(on_either, change)
        process = on_either.command("serve", "--port", "0")
        assert process.returncode != 0
        assert message in process.stderr
