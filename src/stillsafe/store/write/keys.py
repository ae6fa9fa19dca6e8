"""INSERT and UPDATE of `api_keys`. A key is never deleted: its name stays known to whoever reads the log."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, update

from stillsafe.errors import RefusedError
from stillsafe.store import database
from stillsafe.store.read.keys import stored_keys
from stillsafe.store.tables import api_keys


def insert_key(
    connection: Connection,
    name: str,
    digest: str,
    *,
    scopes: Sequence[str],
    rate_per_minute: int | None,
    at: datetime,
) -> None:
    """Store a new key by its digest.

    Args:
        connection: a transaction that writes.
        name: who uses the key.
        digest: the SHA-256 of the key, in hexadecimal digits.
        scopes: what it may be used for.
        rate_per_minute: most requests a minute in each process, or None for any number.
        at: the time now, aware UTC.

    Raises:
        RefusedError: a valid key has that name.
    """
    database.lock(connection, "keys")
    if any(key.name == name for key in stored_keys(connection, valid_only=True)):
        raise RefusedError(f"There is a key {name!r} already: choose another name, or revoke that key first.")
    values = {
        "service_id": database.service_id(connection),
        "name": name,
        "digest": digest,
        "scopes": list(scopes),
        "rate_per_minute": rate_per_minute,
        "created_at": at,
    }
    connection.execute(insert(api_keys).values(values))


def revoke_key(connection: Connection, name: str, *, at: datetime) -> None:
    """Revoke the valid key of a name, for good.

    Raises:
        RefusedError: there is none.
    """
    valid_keys = stored_keys(connection, valid_only=True)
    key = next((each for each in valid_keys if each.name == name), None)
    if key is None:
        names = ", ".join(each.name for each in valid_keys) or "none"
        raise RefusedError(f"There is no valid key {name!r}. Valid keys: {names}.")
    connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(revoked_at=at))
