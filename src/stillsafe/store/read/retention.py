"""Queries for labels and explanations that are older than their retention."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, func, select

from stillsafe.store import database
from stillsafe.store.read.incidents import has_table
from stillsafe.store.tables import explanation_failures, labels, llm_explanations, metadata, prunes


class AgedTable(StrEnum):
    """The names of the tables, besides those of requests, whose rows have an age of their own."""

    LABELS = "labels"
    """From their arrival."""
    EXPLANATIONS = "llm_explanations"
    """From their generation."""
    FAILURES = "explanation_failures"
    """From the attempt."""


_TIMES = {
    AgedTable.LABELS: labels.c.arrived_at,
    AgedTable.EXPLANATIONS: llm_explanations.c.generated_at,
    AgedTable.FAILURES: explanation_failures.c.at,
}


def archived_prunes(connection: Connection) -> list[tuple[datetime, datetime]]:
    """Of each prune that archived rows: its time, and the time before which these rows are."""
    is_own = prunes.c.service_id == database.service_id(connection), prunes.c.archive.isnot(None)
    return [(row.at, row.before) for row in connection.execute(select(prunes.c.at, prunes.c.before).where(*is_own))]


def aged_row_count(connection: Connection, kind: AgedTable, end: datetime) -> int:
    """Rows from before a time; 0 where the owner has dropped the table."""
    table = metadata.tables[kind]
    if not has_table(connection, table):
        return 0
    is_own = table.c.service_id == database.service_id(connection)
    query = select(func.count()).select_from(table).where(is_own, _TIMES[kind] < end)
    return int(connection.execute(query).scalar_one())


def aged_row_ids(connection: Connection, kind: AgedTable, end: datetime, limit: int) -> Sequence[int]:
    """The ids of the oldest of them."""
    table = metadata.tables[kind]
    is_own = table.c.service_id == database.service_id(connection)
    query = select(table.c.id).where(is_own, _TIMES[kind] < end).order_by(table.c.id).limit(limit)
    return connection.execute(query).scalars().all()
