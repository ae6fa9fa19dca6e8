"""Rows are inserted in order, whatever their number, with the values that the driver gets, on both stores."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, insert, select

from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.tables import request_ids
from stillsafe.store.write.row_insertion import ROWS_A_STATEMENT, insert_rows

COLUMNS = ("service_id", "id", "body_hash", "prediction_id", "timestamp", "answer")
INSERTION = insert(request_ids)
AT = datetime(2026, 3, 1, tzinfo=UTC)


def row(engine: Engine, number: int, text: str = "") -> tuple[object, ...]:
    bind = request_ids.c.timestamp.type.dialect_impl(engine.dialect).bind_processor(engine.dialect)
    return 1, f"id-{number:04}", "hash", f"p{number}", AT if bind is None else bind(AT), f'{{"reason": "{text}"}}'


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
    text = "%s 100% ? ' %(id)s"
    with database.writing(engine) as connection:
        insert_rows(connection, INSERTION, COLUMNS, [row(engine, 1, text)])
    with database.reading(engine) as connection:
        assert connection.execute(select(request_ids.c.answer)).scalar_one() == {"reason": text}
