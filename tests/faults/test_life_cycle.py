"""What an operator does to a database that is in use: upgrade it, copy it, prune it. Nobody's request notices."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert, text

from stillsafe.monitoring import archive
from stillsafe.store import database
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.tables import prediction_logs
from tests.faults.api import BODY, Api, Load, missing_and_doubled
from tests.faults.conftest import often
from tests.faults.figures import Figure
from tests.store.older import make_older


def execute(api: Api, *statements: str) -> None:
    engine = database.connect(api.database)
    with database.writing(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def add_old_rows(api: Api, count: int) -> list[int]:
    """Rows of three days, a month ago; their ids."""
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


def test_an_upgrade_of_a_database_in_use(on_either: Api, figure: Figure) -> None:
    """A database of the first schema is brought to this one under load: no request fails, no row is lost."""
    with Load(on_either) as load:
        load.more(50)
        make_older(on_either.database)
        load.more(50)
        done = on_either.command("db", "upgrade")
        assert done.returncode == 0, done.stderr
        load.more(50)
    lost = missing_and_doubled(load.ids, on_either.logged())
    figure(
        f"schema upgraded under load, {store(on_either)}: requests failed; missing / doubled",
        f"{len(load.failed)} of {len(load.acknowledged)}; {lost[0]} / {lost[1]}",
    )
    assert (load.failed, lost) == ([], (0, 0))
    assert on_either.command("status").returncode == 0


def test_pruning_a_log_in_use(on_either: Api, tmp_path: Path, figure: Figure) -> None:
    """Old rows go to the archive under load: no request fails, and each row is in exactly one of the two places."""
    old = add_old_rows(on_either, often(12_000, 200_000))
    with Load(on_either) as load:
        load.more(50)
        done = on_either.command("prune", "--older-than", "1d", "--archive", str(tmp_path / "kept"))
        assert done.returncode == 0, done.stderr
        load.more(50)
    rows = on_either.logged()
    lost = missing_and_doubled(load.ids, rows)
    figure(
        f"{len(old)} rows pruned under load, {store(on_either)}: requests failed; missing / doubled",
        f"{len(load.failed)} of {len(load.acknowledged)}; {lost[0]} / {lost[1]}",
    )
    assert (load.failed, lost) == ([], (0, 0))
    assert sorted(archive.ids_in(tmp_path / "kept", RequestTable.PREDICTIONS)) == old
    assert not {row.id for row in rows} & set(old)


def test_a_copy_of_a_database_in_use_is_put_back(on_sqlite: Api, tmp_path: Path) -> None:
    """What was acknowledged before the copy began is in it, and a service goes on from it."""
    with Load(on_sqlite) as load:
        load.more(50)
        known = set(load.ids)
        done = on_sqlite.command("db", "backup", str(tmp_path / "copy.db"))
        assert done.returncode == 0, done.stderr
        load.more(50)
    on_sqlite.terminate()
    place = on_sqlite.folder / "stillsafe.db"
    for file in place.parent.glob("stillsafe.db*"):
        file.unlink()
    shutil.copy(tmp_path / "copy.db", place)
    on_sqlite.start()
    assert on_sqlite.predict()["decided_by"] == "model"
    assert missing_and_doubled(known, on_sqlite.logged()) == (0, 0)
    assert on_sqlite.command("replay", "--from-logs").returncode == 0


def test_a_server_starts_on_no_schema_but_its_own(on_either: Api) -> None:
    """An older schema and a newer one are refused at the start, with the command that mends it."""
    on_either.terminate()
    for change, told in (
        ("UPDATE alembic_version SET version_num = '0001'", "run `stillsafe db upgrade`"),
        ("UPDATE alembic_version SET version_num = '9999'", "upgrade the package"),
    ):
        execute(on_either, change)
        refused = on_either.command("serve", "--port", "0")
        assert refused.returncode != 0
        assert told in refused.stderr
