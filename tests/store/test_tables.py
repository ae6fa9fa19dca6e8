"""Column types: the same value comes back from every database, and what cannot be stored is replaced or refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, make_url, select

from stillsafe.store.tables import Name, UtcDateTime, metadata, operator_actions

SQLITE = make_url("sqlite://").get_dialect()()
POSTGRESQL = make_url("postgresql+psycopg://").get_dialect()()
MOMENT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def test_sqlite_stores_naive_utc() -> None:
    """A time of any zone becomes UTC; SQLite has no zones, so it is stored without one and read with one."""
    column, dialect = UtcDateTime(), SQLITE
    local = MOMENT.astimezone(timezone(timedelta(hours=5)))
    assert column.process_bind_param(local, dialect) == MOMENT.replace(tzinfo=None)
    assert column.process_bind_param(local, POSTGRESQL) == MOMENT
    assert column.process_result_value(MOMENT.replace(tzinfo=None), dialect) == MOMENT
    assert column.process_bind_param(None, dialect) is column.process_result_value(None, dialect) is None


def test_a_time_without_a_zone_is_refused() -> None:
    """No zone is assumed."""
    with pytest.raises(ValueError, match="without a time zone"):
        UtcDateTime().process_bind_param(MOMENT.replace(tzinfo=None), SQLITE)


def test_text_that_a_database_refuses_is_replaced() -> None:
    """U+0000 and lone surrogates become U+FFFD on every database."""
    assert Name().process_bind_param("a\x00b\ud800", SQLITE) == "a\ufffdb\ufffd"
    assert Name().process_bind_param(None, SQLITE) is None


def test_names_are_sorted_by_code_points(connection: Connection) -> None:
    """The order is the same on every server, whatever its language."""
    for name in ("b", "Ä", "a", "B"):
        values = {"at": MOMENT, "action": "hold", "by": name, "reason": "why"}
        connection.execute(operator_actions.insert().values(values))
    names = connection.execute(select(operator_actions.c.by).order_by(operator_actions.c.by)).scalars().all()
    assert names == ["B", "a", "b", "Ä"]


def test_every_table_has_a_primary_key() -> None:
    """Each row can be identified."""
    assert all(table.primary_key.columns for table in metadata.tables.values())
