"""A database of an older version, made from one of this version: its rows in the tables of the first schema."""

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, func, insert, select

from stillsafe.store import database

LOST_TABLES = ("alembic_version", "llm_explanations")
"""Tables of the first schema whose rows are lost: the first is alembic's own, the other has changed since."""


def make_older(url: str) -> None:
    """Bring a database back to the first schema. Explanations, prunes and the names of services are lost."""
    engine = database.connect(url)
    with database.writing(engine) as connection:
        present = MetaData()
        present.reflect(connection)
        rows = {
            name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for name, table in present.tables.items()
        }
        present.drop_all(connection)
        config = Config()
        config.set_main_option("script_location", str(database.MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        older = MetaData()
        older.reflect(connection)
        for name in [table.name for table in older.sorted_tables if table.name not in LOST_TABLES]:
            records = rows[name]
            columns = set(older.tables[name].columns.keys())
            older_records = [{key: record[key] for key in record.keys() & columns} for record in records]
            if older_records:
                connection.execute(insert(older.tables[name]), older_records)
            if older_records and "id" in columns and connection.dialect.name == "postgresql":
                # The rows came with their ids, so the sequence of new ids still has to pass them.
                last_id = max(record["id"] for record in older_records)
                connection.execute(select(func.setval(func.pg_get_serial_sequence(name, "id"), last_id)))
    engine.dispose()
