"""Tables of an owner's program become the values that a request would carry."""

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.model.frame_rows import plain_row, plain_rows, rows_of

SCHEMA = Schema(
    (
        FeatureSpec("age", FeatureType.NUMERIC, required=False),
        FeatureSpec("visits", FeatureType.INTEGER),
        FeatureSpec("member", FeatureType.BOOLEAN, required=False),
        FeatureSpec("zip", FeatureType.CATEGORY, required=False),
        FeatureSpec("since", FeatureType.DATE, required=False),
    )
)


def test_cells_become_plain_values() -> None:
    """Missing values of each kind are None, numbers of a text feature are text, and times are ISO 8601."""
    table = pd.DataFrame(
        {
            "age": [1.5, np.nan],
            "visits": np.array([3, 4], np.int32),
            "member": pd.array([True, None], dtype="boolean"),
            "zip": [8001.0, None],
            "since": pd.Series([pd.Timestamp("2026-01-02"), pd.NaT]),
            "other": [1, 2],
        }
    )
    first, second = rows_of(SCHEMA, table)
    assert first == {"age": 1.5, "visits": 3, "member": True, "zip": "8001", "since": "2026-01-02T00:00:00"}
    assert second == {"age": None, "visits": 4, "member": None, "zip": None, "since": None}
    assert all(type(value) in (float, int, bool, str, type(None)) for value in (*first.values(), *second.values()))
    assert isinstance(SCHEMA.validate(first), dict)


def test_a_feature_without_a_column_is_in_no_row() -> None:
    """The schema decides whether it may be missing."""
    assert rows_of(SCHEMA, pd.DataFrame({"visits": [1]})) == [{"visits": 1}]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        *((np.float64(2.5), 2.5), (np.int64(2), 2), (np.bool_(True), True), (np.str_("a"), "a"), (float("nan"), None)),
        *(
            (Decimal("2.5"), 2.5),
            (Decimal(2), 2),
            (Decimal("2E+400"), float("inf")),
            (Decimal("9E+999999"), float("inf")),
        ),
        *((Decimal("NaN"), None), (Decimal("sNaN"), None), (Decimal("-Infinity"), -float("inf")), (pd.NA, None)),
    ],
)
def test_scalars_of_numpy_are_those_of_python(value: Any, plain: Any) -> None:
    """In a mapping and in a row of pandas."""
    row: Any = plain_row({"x": value})
    assert row == {"x": plain}
    assert type(row["x"]) is type(plain)
    assert plain_row(pd.Series({"x": value}, dtype=object)) == {"x": plain}


def test_columns_of_decimals_and_columns_that_occur_twice() -> None:
    """A decimal is a number, also of a feature of texts; two columns of one feature are refused."""
    table = pd.DataFrame({"age": [Decimal("1.5"), None], "zip": [Decimal(8001), pd.NA], "visits": [1, 2]}, dtype=object)
    assert rows_of(SCHEMA, table) == [{"age": 1.5, "visits": 1, "zip": "8001"}, {"age": None, "visits": 2, "zip": None}]
    with pytest.raises(ValueError, match="the column 'age' 2 times"):
        rows_of(SCHEMA, table[["age", "age", "visits"]])
    assert rows_of(SCHEMA, table.set_axis(["visits", "x", "x"], axis=1)[["visits", "x"]][:0]) == []


def test_what_is_no_row_is_left_to_the_schema() -> None:
    """A table that is none is the caller's mistake."""
    assert plain_row([1]) == [1]
    assert plain_row({"x": pd.NaT}) == {"x": None}
    assert plain_row({"x": date(2026, 1, 2)}) == {"x": "2026-01-02"}
    assert plain_rows(SCHEMA, [{"visits": np.int64(1)}, 7]) == [{"visits": 1}, 7]
    for table in ("rows", 7, {"visits": 1}):
        with pytest.raises(TypeError, match="neither a data frame nor a list"):
            plain_rows(SCHEMA, table)
