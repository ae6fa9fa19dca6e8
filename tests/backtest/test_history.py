"""A user's table becomes requests: plain values, in the order of time, with labels in the model's own words."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stillsafe.backtest.history import moment, read_history, true_answers
from stillsafe.core.schema import Schema
from stillsafe.errors import ConfigurationError
from tests.backtest.pasts import past
from tests.monitoring.conftest import START, settings


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    return settings(tmp_path).schema_of_features


def test_values_are_those_that_json_would_bring(schema: Schema) -> None:
    """Missing is None however the table says it, numbers are plain, and texts that a file read as numbers are texts."""
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


def test_a_csv_file_says_the_same_as_the_table(schema: Schema, tmp_path: Path) -> None:
    """What was written to CSV and read again is the same history."""
    table = past(50, every_seconds=7)
    table.to_csv(tmp_path / "past.csv", index=False)
    read, made = read_history(pd.read_csv(tmp_path / "past.csv"), schema), read_history(table, schema)
    assert (read.columns, read.labels) == (made.columns, made.labels)
    assert read.micros is not None
    assert made.micros is not None
    assert read.micros.tolist() == made.micros.tolist()


def test_rows_are_ordered_by_time_and_times_are_utc(schema: Schema) -> None:
    """Other zones are turned into UTC; rows of the same time keep their order; an index of times counts as a column."""
    table = past(3).assign(floor=[1, 2, 3])
    table.index = pd.Index(
        ["2026-03-01T02:00:00+01:00", "2026-03-01T00:00:00+00:00", "2026-03-01T01:00:00+01:00"], name="timestamp"
    )
    history = read_history(table, schema)
    assert history.columns["floor"] == [2, 3, 1]
    assert history.micros is not None
    assert moment(history.micros[0]) == START


def test_numbers_are_an_order_and_no_times(schema: Schema) -> None:
    """A numeric timestamp sorts the rows and leaves them without times."""
    history = read_history(past(3).assign(floor=[1, 2, 3], timestamp=[30, 10, 20]), schema)
    assert (history.columns["floor"], history.micros) == ([2, 3, 1], None)


def test_the_label_is_found_or_named(schema: Schema) -> None:
    """A column `label` is taken unasked; another one only where it is named."""
    table = past(3).assign(late=[1, 0, 1])
    assert read_history(table, schema).labels == table["label"].tolist()
    assert read_history(table, schema, "late").labels == [1, 0, 1]
    assert read_history(table.drop(columns="label"), schema).labels is None


@pytest.mark.parametrize(
    ("change", "label", "told"),
    [
        (lambda t: t.drop(columns=["size", "town"]), None, "lacks columns that the service's schema names: size, town"),
        (lambda t: t.iloc[:0], None, "is empty"),
        (lambda t: t, "late", "no column 'late'. It has besides the features: label"),
        (lambda t: t, "town", "'town' is a feature"),
        (lambda t: t.assign(timestamp="noon"), None, "holds no times"),
        (lambda t: t.assign(timestamp=["2026-01-01", None, "2026-01-02"]), None, "is empty in 1 rows"),
        (lambda t: pd.concat([t, t[["size"]]], axis=1), None, "occur twice: size"),
    ],
    ids=["columns", "empty", "label", "feature", "times", "gaps", "twice"],
)
def test_a_table_that_is_no_history_is_told(schema: Schema, change: object, label: str | None, told: str) -> None:
    """One sentence with what is wrong and what to do."""
    assert callable(change)
    with pytest.raises(ConfigurationError, match=told):
        read_history(change(past(3)), schema, label)


def test_labels_are_told_in_the_words_of_the_model() -> None:
    """A file says True for true and 1.0 for 1; what is no class is unknown."""
    assert true_answers([1.0, None, 0, 7, True], (0, 1)) == [1, None, 0, None, 1]
    assert true_answers(["yes", "no", "maybe"], ("no", "yes")) == ["yes", "no", None]
    assert true_answers(["True", "false"], (False, True)) == [True, False]
    assert true_answers([1, 2.5, None], ()) == [1.0, 2.5, None]


@pytest.mark.parametrize(("labels", "classes"), [(["a", "b"], (0, 1)), (["a"], ()), ([None], (0, 1))])
def test_labels_of_another_model_are_told(labels: list[object], classes: tuple[int, ...]) -> None:
    """Labels none of which the model could answer are a mistake."""
    with pytest.raises(ConfigurationError, match="No value of the label column"):
        true_answers(labels, classes)
