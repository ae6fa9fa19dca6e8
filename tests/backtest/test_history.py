"""A table becomes plain values in time order, and labels become the model's classes."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stillsafe.backtest.history import datetime_of, read_history
from stillsafe.core.schema import Schema
from stillsafe.errors import ConfigurationError
from tests.backtest.histories import past
from tests.monitoring.conftest import START, settings


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    return settings(tmp_path).schema_of_features


def test_values_are_plain_json_values(schema: Schema) -> None:
    """Every missing value is None, numbers are Python numbers, and categories that were parsed as numbers are texts."""
    table = pd.DataFrame(
        {
            "size": [1.5, np.nan, np.inf],
            "floor": pd.array([1, None, 3], dtype="Int64"),
            "lift": pd.Series([True, None, False], dtype=object),
            "town": [7.0, np.nan, 9.5],
            "more": [1, 2, 3],
        }
    )
    history = read_history(table, schema)
    assert history.columns == {
        "size": [1.5, None, math.inf],
        "floor": [1, None, 3],
        "lift": [True, None, False],
        "town": ["7", None, "9.5"],
    }
    assert {type(value) for value in history.columns["floor"]} == {int, type(None)}
    assert (history.micros, history.labels, len(history)) == (None, None, 3)


def test_a_csv_file_gives_the_same_history_as_the_table(schema: Schema, tmp_path: Path) -> None:
    """Writing a table to CSV and reading it again changes nothing."""
    table = past(50, every_seconds=7)
    table.to_csv(tmp_path / "past.csv", index=False)
    from_csv, from_table = read_history(pd.read_csv(tmp_path / "past.csv"), schema), read_history(table, schema)
    assert (from_csv.columns, from_csv.labels) == (from_table.columns, from_table.labels)
    assert from_csv.micros is not None
    assert from_table.micros is not None
    assert from_csv.micros.tolist() == from_table.micros.tolist()


def test_rows_are_ordered_by_time_and_times_are_utc(schema: Schema) -> None:
    """Times are converted to UTC; rows with equal times keep their order; an index `timestamp` is used as a column."""
    table = past(3).assign(floor=[1, 2, 3])
    table.index = pd.Index(
        ["2026-03-01T02:00:00+01:00", "2026-03-01T00:00:00+00:00", "2026-03-01T01:00:00+01:00"], name="timestamp"
    )
    history = read_history(table, schema)
    assert history.columns["floor"] == [2, 3, 1]
    assert history.micros is not None
    assert datetime_of(history.micros[0]) == START


def test_numeric_timestamps_only_sort_the_rows(schema: Schema) -> None:
    """They define an order, but no times."""
    history = read_history(past(3).assign(floor=[1, 2, 3], timestamp=[30, 10, 20]), schema)
    assert (history.columns["floor"], history.micros) == ([2, 3, 1], None)


def test_the_label_column_has_a_default(schema: Schema) -> None:
    """A column `label` is used by default; another column only if it is named."""
    table = past(3).assign(late=[1, 0, 1])
    assert read_history(table, schema).labels == table["label"].tolist()
    assert read_history(table, schema, "late").labels == [1, 0, 1]
    assert read_history(table.drop(columns="label"), schema).labels is None


@pytest.mark.parametrize(
    ("change", "label", "message"),
    [
        (lambda t: t.drop(columns=["size", "town"]), None, "lacks columns that the service's schema names: size, town"),
        (lambda t: t.iloc[:0], None, "is empty"),
        (lambda t: t, "late", "no column 'late'. Columns besides the features: label"),
        (lambda t: t, "town", "'town' is a feature"),
        (lambda t: t.assign(timestamp="noon"), None, "has values that are not times"),
        (lambda t: t.assign(timestamp=["2026-01-01", None, "2026-01-02"]), None, "is empty in 1 rows"),
        (lambda t: pd.concat([t, t[["size"]]], axis=1), None, "occur twice: size"),
    ],
    ids=["columns", "empty", "label", "feature", "times", "gaps", "twice"],
)
def test_an_invalid_table_is_rejected(schema: Schema, change: object, label: str | None, message: str) -> None:
    """The message names the mistake and the remedy."""
    assert callable(change)
    with pytest.raises(ConfigurationError, match=message):
        read_history(change(past(3)), schema, label)
