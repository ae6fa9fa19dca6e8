"""Keys are read in the order in which they were made, of one service alone, revoked or not."""

from datetime import timedelta

from sqlalchemy import Engine

from stillsafe.store import database
from stillsafe.store.read.keys import KeyRecord, stored_keys
from stillsafe.store.write.keys import insert_key, revoke_key
from tests.store.conftest import START
from tests.store.write.test_services import register, service_of


def test_a_key_comes_back_as_it_was_stored(engine: Engine) -> None:
    """Name, digest, scopes, rate and times; a revoked one only where all are asked for."""
    with database.writing(engine) as connection:
        insert_key(connection, "web", "d1", scopes=["predict", "read"], rate_per_minute=60, at=START)
        insert_key(connection, "ops", "d2", scopes=["operate"], rate_per_minute=None, at=START)
        revoke_key(connection, "web", at=START + timedelta(hours=1))
    with database.reading(engine) as connection:
        web, ops = stored_keys(connection)
        assert stored_keys(connection, valid_only=True) == [ops]
    assert web == KeyRecord(web.id, "web", "d1", ("predict", "read"), 60, START, START + timedelta(hours=1))
    assert ops == KeyRecord(ops.id, "ops", "d2", ("operate",), None, START)
    assert web.id < ops.id


def test_a_service_reads_its_own_keys(engine: Engine) -> None:
    """A key of one service in a shared database opens no other."""
    register(engine, "loans", "prices")
    for name in ("loans", "prices"):
        with database.writing(service_of(engine, name)) as connection:
            insert_key(connection, "web", f"digest of {name}", scopes=["read"], rate_per_minute=None, at=START)
    with database.reading(service_of(engine, "prices")) as connection:
        assert [key.digest for key in stored_keys(connection)] == ["digest of prices"]
