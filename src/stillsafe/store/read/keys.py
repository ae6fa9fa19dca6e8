"""Queries for the keys that clients present. A key itself is stored nowhere: only its digest is."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, select

from stillsafe.store import database
from stillsafe.store.codec import record_from_row
from stillsafe.store.tables import api_keys


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key of a service.

    Attributes:
        id: unique, never used again.
        name: who uses it; unique among the keys that are not revoked.
        digest: the SHA-256 of the key, in hexadecimal digits.
        scopes: what it may be used for.
        rate_per_minute: most requests a minute in each process, or None for any number.
        created_at: aware UTC.
        revoked_at: aware UTC, or None while it is valid.
    """

    id: int
    name: str
    digest: str
    scopes: tuple[str, ...]
    rate_per_minute: int | None
    created_at: datetime
    revoked_at: datetime | None = None


def stored_keys(connection: Connection, *, valid_only: bool = False) -> list[KeyRecord]:
    """The service's keys in the order in which they were made; all, or those that are not revoked."""
    statement = select(api_keys).where(api_keys.c.service_id == database.service_id(connection))
    if valid_only:
        statement = statement.where(api_keys.c.revoked_at.is_(None))
    rows = connection.execute(statement.order_by(api_keys.c.id))
    return [replace(record_from_row(KeyRecord, row), scopes=tuple(row.scopes)) for row in rows]
