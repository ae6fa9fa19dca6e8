"""The database of a service folder that a test made without the command `init`, and tables that accept nothing."""

from pathlib import Path

from sqlalchemy import Engine

from stillsafe import service, settings
from stillsafe.store import database


def with_store(folder: Path, url: str | None = None) -> Path:
    """The folder, once the database exists that the URL names, else that its settings and the environment name."""
    new_settings = service.settings_of(folder / settings.DEFAULT_FILE)
    if url is not None:
        section = new_settings.service.model_copy(update={"database": url})
        new_settings = new_settings.model_copy(update={"service": section})
    service.open_store(new_settings, create=True).dispose()
    return folder


REFUSE_INSERTS = {
    "sqlite": ["CREATE TRIGGER full_{0} BEFORE INSERT ON {0} BEGIN SELECT RAISE(ABORT, 'no room'); END"],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION full() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION USING ERRCODE = '{1}', MESSAGE = 'no room'; END $$",
        "CREATE TRIGGER full_{0} BEFORE INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION full()",
    ],
}
DISK_FULL, NO_PERMISSION = "53100", "42501"


def refuse_inserts(engine: Engine, *tables: str, code: str = DISK_FULL) -> None:
    """From now on tables accept no rows, as with a full disk or without the permission."""
    with database.writing(engine) as connection:
        for table in tables:
            for statement in REFUSE_INSERTS[engine.dialect.name]:
                connection.exec_driver_sql(statement.format(table, code))


def accept_inserts(engine: Engine, *tables: str) -> None:
    """Undo `refuse_inserts`."""
    with database.writing(engine) as connection:
        for table in tables:
            on_table = "" if engine.dialect.name == "sqlite" else f" ON {table}"
            connection.exec_driver_sql(f"DROP TRIGGER full_{table}{on_table}")
