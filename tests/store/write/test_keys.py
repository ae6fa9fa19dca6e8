"""A name has one valid key at a time, and a revocation is for good."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from stillsafe.errors import RefusedError, StoreError
from stillsafe.store import database
from stillsafe.store.read.keys import stored_keys
from stillsafe.store.tables import api_keys
from stillsafe.store.write.keys import insert_key, revoke_key
from tests.store.conftest import START


def insert(engine: Engine, name: str, digest: str) -> None:
    """Store a key that may read."""
    with database.writing(engine) as connection:
        insert_key(connection, name, digest, scopes=["read"], rate_per_minute=None, at=START)


def revoke(engine: Engine, name: str) -> None:
    """Revoke a key."""
    with database.writing(engine) as connection:
        revoke_key(connection, name, at=START)


def test_a_name_has_one_valid_key(engine: Engine) -> None:
    """A second one is refused until the first is revoked; then both are on record."""
    insert(engine, "web", "d1")
    with pytest.raises(RefusedError, match="already"):
        insert(engine, "web", "d2")
    revoke(engine, "web")
    insert(engine, "web", "d2")
    with database.reading(engine) as connection:
        assert [(key.digest, key.revoked_at) for key in stored_keys(connection)] == [("d1", START), ("d2", None)]


def test_only_a_valid_key_is_revoked(engine: Engine) -> None:
    """The refusal names the valid ones."""
    insert(engine, "web", "d1")
    insert(engine, "old", "d2")
    revoke(engine, "old")
    for name in ("old", "nobody"):
        with pytest.raises(RefusedError, match="Valid keys: web"):
            revoke(engine, name)


def test_the_database_itself_allows_no_second_valid_key(engine: Engine) -> None:
    """Two commands at once cannot both store one: neither by name, nor by digest."""
    insert(engine, "web", "d1")
    row = {"scopes": [], "created_at": START}
    for name, digest in (("web", "d2"), ("other", "d1")):
        with pytest.raises(StoreError) as failure, database.writing(engine) as connection:
            connection.execute(api_keys.insert().values(name=name, digest=digest, **row))
        assert isinstance(failure.value.__cause__, IntegrityError)
