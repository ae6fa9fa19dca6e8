"""A database of an older version, made from one of this version: what later schemas added is taken away again."""

from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, Text, UniqueConstraint, text

from stillsafe.store import database

_NAME = String().with_variant(String(collation="C"), "postgresql")
_TABLES = MetaData()
Table(
    "llm_explanations",
    _TABLES,
    Column("id", Integer, primary_key=True),
    Column("incident_id", _NAME, nullable=False),
    Column("generated_at", DateTime(timezone=True), nullable=False),
    Column("summary", Text, nullable=False),
    Column("recommendations", Text, nullable=False),
    Column("llm_model", _NAME, nullable=False),
    Column("incident_status", _NAME),
    UniqueConstraint("incident_id", "incident_status", name="uq_llm_explanations_incident_id_incident_status"),
)


def make_older(url: str) -> None:
    """Bring a database that may be in use back to the first schema. Explanations and prunes are lost."""
    engine = database.connect(url)
    with database.writing(engine) as connection:
        for table in ("prunes", "explanation_failures", "llm_explanations"):
            connection.execute(text(f"DROP TABLE {table}"))
        for column in ("rules_version", "wording_version"):
            connection.execute(text(f"ALTER TABLE current_window_metrics DROP COLUMN {column}"))
        _TABLES.create_all(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
