"""A table that is checked by column: the outcome of each row is that of the row rules, with the same words."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.schema import LARGEST_INTEGER, FeatureSpec, FeatureType, Row, Schema, Violation
from stillsafe.model.column_check import check_columns, columns_of
from stillsafe.model.frame_rows import rows_of
from stillsafe.serving.body.instances import check_instance

SCHEMA = Schema(
    (
        FeatureSpec("age", FeatureType.NUMERIC, minimum=0, maximum=120.5),
        FeatureSpec("worth", FeatureType.NUMERIC, required=False),
        FeatureSpec("class", FeatureType.INTEGER, minimum=-2.5, maximum=99),
        FeatureSpec("visits", FeatureType.INTEGER, required=False),
        FeatureSpec("member", FeatureType.BOOLEAN),
        FeatureSpec("paid", FeatureType.BOOLEAN, required=False, omittable=False),
        FeatureSpec("size", FeatureType.CATEGORY, categories=("S", "XL", "far too long"), max_length=5),
        FeatureSpec("town", FeatureType.TEXT, required=False, max_length=8),
        FeatureSpec("day", FeatureType.DATE, required=False, max_length=12),
    )
)
NUMBERS = [0, -0.0, 1, 120.5, 120.50001, -3, 99, 5.5, 1e22, -1e300, 10**400, LARGEST_INTEGER, LARGEST_INTEGER + 1]
TEXTS = ["S", "XL", "far too long", "", "12", "\0", "\ud800", "Ulm", "2026-02-29", "2024-02-29", b"S"]
OTHERS = [None, np.nan, np.inf, True, np.float32(0.1), np.int8(7), np.bool_(True), pd.Timestamp(0), pd.NaT, pd.NA, ()]
CELLS = st.sampled_from([*NUMBERS, *TEXTS, *OTHERS])
RIGHT: dict[str, list[Any]] = {
    "age": [0.0, 120.5, 17.25],
    "worth": [None, -0.0, 1e300],
    "class": [1, 99, -2],
    "visits": [None, 3, LARGEST_INTEGER - 1],
    "member": [True, False],
    "paid": [True, None],
    "size": ["S", "XL"],
    "town": [None, "Köln", ""],
    "day": [None, "2024-02-29"],
}
DTYPES = ["float64", "float32", "int64", "uint64", "bool", "Int64", "boolean", "string", "category", "object"]


@st.composite
def columns(draw: Any, name: str, count: int) -> Any:
    """A column of mostly right cells, or of any, in one of the types that hold them."""
    cells = st.sampled_from(RIGHT[name]) if draw(st.booleans()) else st.sampled_from(RIGHT[name]) | CELLS
    values = draw(st.lists(cells, min_size=count, max_size=count))
    try:
        return pd.Series(values, dtype=draw(st.sampled_from(DTYPES)))
    except (TypeError, ValueError, OverflowError, RuntimeWarning, IndexError):
        return pd.Series(values, dtype=object)


@st.composite
def tables(draw: Any) -> pd.DataFrame:
    """A table, which may lack columns of the schema and have others."""
    count = draw(st.integers(0, 6))
    names = [name for name in SCHEMA.names if draw(st.integers(0, 9))]
    return pd.DataFrame({"other": range(count), **{name: draw(columns(name, count)) for name in names}})


def same(left: Row, right: Row) -> bool:
    """Equal in values, types and signs of zero, in the same order."""
    return repr(left) == repr(right)


@settings(max_examples=120, deadline=None)
@given(tables())
def test_outcomes_and_words_are_those_of_the_rows(table: pd.DataFrame) -> None:
    """Whatever the table's types are: each row is clean or refused as it is by itself, with the same values."""
    outcome = check_columns(SCHEMA, columns_of(SCHEMA, table), len(table), lambda row: check_instance(SCHEMA, row))
    clean = iter(outcome.rows)
    for place, features in enumerate(rows_of(SCHEMA, table)):
        expected = check_instance(SCHEMA, features)
        if isinstance(expected, tuple):
            assert outcome.refusals[place] == expected
        else:
            assert place not in outcome.refusals
            assert same(next(clean), expected)
    assert next(clean, None) is None


@pytest.mark.parametrize("name", SCHEMA.names)
def test_each_kind_of_value_in_a_right_table(name: str) -> None:
    """Every cell in every column, alone in a row that is right otherwise."""
    cells = [None, np.nan, np.inf, True, *NUMBERS[:-3], LARGEST_INTEGER, "S", "", "12", "\ud800", "2026-02-29", b"S"]
    table = pd.DataFrame({key: [values[-1]] * len(cells) for key, values in RIGHT.items()}).astype(object)
    table[name] = pd.Series(cells, dtype=object)
    outcome = check_columns(SCHEMA, columns_of(SCHEMA, table), len(table), lambda row: check_instance(SCHEMA, row))
    checks = [check_instance(SCHEMA, features) for features in rows_of(SCHEMA, table)]
    assert dict(outcome.refusals) == {place: each for place, each in enumerate(checks) if isinstance(each, tuple)}
    assert [*map(repr, outcome.rows)] == [repr(each) for each in checks if isinstance(each, dict)]


def test_only_rows_in_doubt_are_checked_by_themselves() -> None:
    """So a table that is right costs no call of the row rules."""
    table = pd.DataFrame({key: [values[0]] * 3 for key, values in RIGHT.items()})
    calls: list[Any] = []

    def check_row(row: Any) -> Row | tuple[Violation, ...]:
        calls.append(row)
        return check_instance(SCHEMA, row)

    assert len(check_columns(SCHEMA, columns_of(SCHEMA, table), 3, check_row).rows) == 3
    assert not calls
    table.loc[1, "age"] = -1.0
    assert [*check_columns(SCHEMA, columns_of(SCHEMA, table), 3, check_row).refusals] == [1]
    assert len(calls) == 1
