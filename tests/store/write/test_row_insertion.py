"""Rows are inserted in order, whatever their number, with the values that the driver gets, on both stores."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select, text

from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.tables import request_ids
from stillsafe.store.write.row_insertion import ROWS_A_STATEMENT, array_literal, insert_rows

COLUMNS = ("service_id", "id", "body_hash", "prediction_id", "timestamp", "answer")
INSERTION = insert(request_ids)
AT = datetime(2026, 3, 1, tzinfo=UTC)


def row(engine: Engine, number: int, words: str = "") -> tuple[object, ...]:
    bind = request_ids.c.timestamp.type.dialect_impl(engine.dialect).bind_processor(engine.dialect)
    return 1, f"id-{number:04}", "hash", f"p{number}", AT if bind is None else bind(AT), f'{{"reason": "{words}"}}'


@pytest.mark.parametrize("count", [0, 1, 2, ROWS_A_STATEMENT, ROWS_A_STATEMENT + 1, 3 * ROWS_A_STATEMENT])
def test_any_number_of_rows_is_inserted(engine: Engine, count: int) -> None:
    """The returned number is that of the rows that the table has."""
    with database.writing(engine) as connection:
        assert insert_rows(connection, INSERTION, COLUMNS, [row(engine, number) for number in range(count)]) == count
    with database.reading(engine) as connection:
        stored = connection.execute(select(request_ids).order_by(request_ids.c.id)).all()
    assert [each.prediction_id for each in stored] == [f"p{number}" for number in range(count)]
    assert {each.timestamp for each in stored} <= {AT}


def test_rows_in_conflict_are_left_out_and_not_counted(engine: Engine) -> None:
    """As the statement says; without such words nothing of the transaction is stored."""
    ending = "ON CONFLICT (service_id, id) DO NOTHING"
    with database.writing(engine) as connection:
        assert insert_rows(connection, INSERTION, COLUMNS, [row(engine, 1)], ending) == 1
        assert insert_rows(connection, INSERTION, COLUMNS, [row(engine, 1), row(engine, 2)], ending) == 1
    with pytest.raises(StoreError), database.writing(engine) as connection:
        insert_rows(connection, INSERTION, COLUMNS, [row(engine, 3), row(engine, 1)])
    with database.reading(engine) as connection:
        assert set(connection.execute(select(request_ids.c.id)).scalars()) == {"id-0001", "id-0002"}


def test_signs_of_the_driver_are_text_in_values(engine: Engine) -> None:
    """A percent sign, a question mark and a quote are stored as they are."""
    words = "%s 100% ? ' %(id)s {NULL,} \\\\ \x1f"
    with database.writing(engine) as connection:
        insert_rows(connection, INSERTION, COLUMNS, [row(engine, 1, words.replace("\x1f", "\\u001f"))])
    with database.reading(engine) as connection:
        assert connection.execute(select(request_ids.c.answer)).scalar_one() == {"reason": words.replace("\\\\", "\\")}


TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
TIMES = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))
ARRAYS: dict[str, st.SearchStrategy[Any]] = {
    "TEXT": TEXTS | st.sampled_from(["NULL", "null", "", "{}", '"', "\\", "\x1f", "a,b", " a "]),
    "DOUBLE PRECISION": st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 0.1 + 0.2]),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "BOOLEAN": st.booleans(),
    "TIMESTAMP WITH TIME ZONE": TIMES,
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_comes_back_as_it_was(postgres_url: str, kind: str) -> None:
    """Whatever the texts, numbers and times, and where some or all are missing."""
    engine = database.connect(postgres_url)
    query = text(f"SELECT * FROM unnest(CAST(:values AS {kind}[]))")  # noqa: S608 - a kind of this test

    @given(st.lists(ARRAYS[kind] | st.none(), min_size=1, max_size=8) | st.lists(ARRAYS[kind], min_size=1, max_size=8))
    def is_unchanged(values: Sequence[Any]) -> None:
        with database.reading(engine) as connection:
            stored = connection.execute(query, {"values": array_literal(values)}).scalars().all()
        assert [*map(exactly, stored)] == [*map(exactly, values)]

    is_unchanged()
    engine.dispose()


def exactly(value: object) -> object:
    """The value, told from others that are equal to it."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value.hex()
    return (type(value), value)


def test_a_time_of_another_zone_is_the_same_moment(postgres_url: str) -> None:
    """Arrays have times with their offset."""
    engine = database.connect(postgres_url)
    zone = timezone(timedelta(hours=5, minutes=45))
    query = text("SELECT * FROM unnest(CAST(:values AS TIMESTAMP WITH TIME ZONE[]))")
    with database.reading(engine) as connection:
        values = array_literal([AT.astimezone(zone), AT])
        assert set(connection.execute(query, {"values": values}).scalars()) == {AT}
    engine.dispose()
