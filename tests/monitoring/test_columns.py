"""Columns: each value of the log is read into its column, whatever the rows contain."""

import json
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.core.score import Score
from stillsafe.monitoring.columns import (
    ColumnBuilder,
    DictionaryColumn,
    RowOutcomes,
    columns_from_snapshots,
    numbers_or_nan,
    output_columns,
    prediction_numbers,
    read_columns,
    with_shadow_scores,
)
from stillsafe.store.read.requests import LogRows, WindowRows
from tests.monitoring.log_rows import SCHEMA, log_rows


@pytest.mark.parametrize(
    "snapshot",
    [
        *("not json", "{},{}", "[1]", '"text"', "null", '{"size": "five"}', '{"size": [1]}'),
        '{"size": 1' + "0" * 400 + "}",
    ],
)
def test_a_damaged_snapshot_is_missing_and_affects_no_other_row(snapshot: str) -> None:
    """The values of a row that cannot be read are missing; its neighbours are read as they are."""
    rows = read_columns(log_rows({"size": 1.0}, snapshot, {"size": 3.0}), SCHEMA)
    assert len(rows) == 3
    assert np.isnan(rows.numbers["size"]).tolist() == [False, True, False]


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53 + 1, 2**64, 10**400, 1, True, "1", "five", "\ud800", "\x00", "é\n", -0.0])
    | st.floats()
    | st.text(max_size=4)
)
COMPOUND = st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(max_size=2), PLAIN, max_size=2)
VALUES = PLAIN | COMPOUND | st.lists(COMPOUND, max_size=2)
NAMES = st.sampled_from([*(spec.name for spec in SCHEMA.features), "unknown"])
DOCUMENTS = st.builds(
    json.dumps,
    st.dictionaries(NAMES, VALUES, max_size=6),
    ensure_ascii=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
ODD = st.sampled_from(
    [
        *(
            "",
            " ",
            "null",
            "[]",
            "[{}]",
            "7",
            "NaN",
            '"text"',
            "{}{}",
            "{},{}",
            "{}\n{}",
            "{",
            "}",
            "\ufeff{}",
            "{}\x00",
        ),
        *('{"size": 1e400}', '{"size": -Infinity}', '{"size": 1e-999}', '{"size": 01}', '{"size": 1.}', '{"size": .5}'),
        *('{"size": 1, "size": 2}', '{"town": "A", "town": null}', '{"s\\u0069ze": 3}', '{"town": "\\ud800"}'),
        *(
            '{},{"size": 1',
            '"lift": true}',
            '{"town": "x',
            'y"}',
            '{"unknown": [{}',
            "{}]}",
            '{"town": "a\tb"}',
            " {} \n",
        ),
        *(
            '{"unknown": "\\x"}',
            '{"unknown": 01}',
            '{"unknown": [1,]}',
            '{"unknown": "\ud800"}',
            '{"town": "\\/\\u00e9"}',
        ),
    ]
)


@given(st.lists(DOCUMENTS | ODD | st.text(max_size=6), max_size=12))
def test_snapshots_are_read_one_by_one(texts: list[str]) -> None:
    """Whatever the log contains, each value is what the standard library's parser finds in its own row alone."""
    n = len(texts)
    outcomes = RowOutcomes(
        confidences=[0.5] * n, model_errors=[None] * n, fallback_used=[False] * n, predictions=["1"] * n
    )
    rows = read_columns(log_rows(*texts, confidence=0.5), SCHEMA)
    expected = columns_from_snapshots([_json_object(text) for text in texts], SCHEMA, outcomes)
    for name, column in expected.numbers.items():
        assert rows.numbers[name].tobytes() == column.tobytes()
    for name, category in expected.categories.items():
        assert list(map(repr, rows.categories[name].tolist())) == list(map(repr, category.tolist()))


def _json_object(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def test_a_text_is_never_a_number() -> None:
    """A row counts the same in every window, whatever other rows are in it."""
    one_row, more_rows = ('{"size": "5"}',), ('{"size": "5"}', '{"size": [1]}', '{"size": 2}')
    for texts in (one_row, more_rows):
        assert np.isnan(read_columns(log_rows(*texts), SCHEMA).numbers["size"][0])
    assert read_columns(log_rows(*more_rows), SCHEMA).numbers["size"][2] == 2


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)), max_size=8))
def test_rows_in_memory_are_read_like_those_of_the_log(values: list[Any]) -> None:
    """Of a number: what is none is NaN, and so is a number that no float can hold."""
    schema = Schema((FeatureSpec("size", FeatureType.NUMERIC, required=False),))
    count = len(values)
    outcomes = RowOutcomes(
        confidences=[0.5] * count,
        model_errors=[None] * count,
        fallback_used=[False] * count,
        predictions=["a"] * count,
        times=[0] * count,
    )
    numbers = columns_from_snapshots([{"size": value} for value in values], schema, outcomes).numbers["size"]
    expected = numbers_or_nan([value if isinstance(value, int | float) else None for value in values])
    np.testing.assert_array_equal(numbers, expected)


@pytest.mark.parametrize("name", ['a "b"', "a\\b", "a\tb"])
def test_a_feature_may_have_any_name(name: str) -> None:
    """Also one that JSON has to escape."""
    rows = read_columns(log_rows(json.dumps({name: 2})), Schema((FeatureSpec(name, FeatureType.NUMERIC),)))
    assert rows.numbers[name].tolist() == [2.0]


def test_two_broken_snapshots_make_no_whole_one() -> None:
    """Halves that would form a valid document are still two rows in which everything is missing."""
    rows = read_columns(log_rows('{},{"size": 1', '"town": "A"}'), SCHEMA)
    assert math.isnan(rows.numbers["size"].sum())
    assert rows.categories["town"].tolist() == [None, None]


def test_shadow_scores_replace_only_bypassed_rows() -> None:
    """Rows that the model answered keep their confidence; bypassed ones get the shadow's, failures become errors."""
    bypassed_rows = log_rows({"size": 1.0}, {"size": 2.0}, {"size": "broken"}, confidence=None, fallback=True)
    rows = with_shadow_scores(
        read_columns(bypassed_rows, SCHEMA),
        bypassed_rows.input_summaries,
        SCHEMA,
        lambda rows: [Score("yes", 0.9, None, None), Score(None, None, None, "raised ValueError")][: len(rows)],
    )
    assert rows.confidences[0] == 0.9
    assert math.isnan(rows.confidences[1])
    assert rows.model_errors.tolist() == [False, True, True]
    assert rows.predictions.tolist() == ["yes", None, None]
    model_rows = read_columns(log_rows({"size": 1.0}), SCHEMA)
    same_rows = with_shadow_scores(model_rows, [], SCHEMA, lambda rows: [Score("no", 0.1, None, None) for _ in rows])
    assert same_rows.confidences[0] == 0.8


def test_columns_from_batches_are_those_of_all_rows() -> None:
    """Batches in any order have the rows of the whole; fresh rows stay fresh."""
    texts = [
        f'{{"size": {i % 7}.5, "lift": {"true" if i % 3 else "false"}, "town": "{"ABC"[i % 3]}"}}' for i in range(50)
    ]
    log, builder, order = log_rows(*texts), ColumnBuilder(SCHEMA), [30, 0, 10, 40, 20]
    for start in order:
        batch = slice(start, start + 10)
        window_rows = WindowRows(
            log.ids[batch],
            [row >= 25 for row in range(50)[batch]],
            log.input_summaries[batch],
            log.predictions[batch],
            log.confidences[batch],
            log.fallback_used[batch],
            log.model_errors[batch],
        )
        builder.add(read_columns(window_rows, SCHEMA))
    rows, row_numbers = builder.columns(), [row for start in order for row in range(start, start + 10)]
    whole = read_columns(log, SCHEMA)
    for name, column in whole.numbers.items():
        assert np.array_equal(rows.numbers[name], column[row_numbers], equal_nan=True)
    for name, category in whole.categories.items():
        assert rows.categories[name].tolist() == category[row_numbers].tolist()
    assert rows.predictions.tolist() == whole.predictions[row_numbers].tolist()
    assert rows.fresh.tolist() == [row >= 25 for row in row_numbers]


def test_an_empty_window_has_every_feature() -> None:
    """A builder without rows has an empty column for each logged feature, as an empty log has."""
    rows, log = ColumnBuilder(SCHEMA).columns(), read_columns(log_rows(), SCHEMA)
    assert len(rows) == len(log) == 0
    assert rows.numbers.keys() == log.numbers.keys() == {"size", "lift"}
    assert rows.categories.keys() == log.categories.keys() == {"town", "name", "rent"}


@given(st.lists(st.sampled_from([None, "a", "b", "c", "d"])), st.lists(st.booleans()))
def test_a_dictionary_column_is_its_values(values: list[str | None], flags: list[bool]) -> None:
    """Read, counted or cut, it equals the list of texts that it was made of."""
    rows = (flags + [False] * len(values))[: len(values)]
    column, mask = DictionaryColumn.of(values), np.array(rows, dtype=np.bool_)
    selection = [value for value, row in zip(values, rows, strict=True) if row]
    assert column.tolist() == values
    assert column[mask].tolist() == selection
    assert column[mask].counts() == Counter(selection)
    assert column[1:3].tolist() == values[1:3]
    assert column.without(mask).tolist() == [None if row else each for each, row in zip(values, rows, strict=True)]


def test_a_selection_has_the_selected_rows_in_every_column() -> None:
    """By a mask or by a slice: timestamps, confidences, flags, numbers and categories of the same rows."""
    log = log_rows({"size": 1.0, "town": "A"}, {"size": 2.0, "town": "B"}, {"size": 3.0, "town": "C"})
    rows = replace(read_columns(log, SCHEMA), confidences=np.array([0.1, 0.2, 0.3]))
    for selection in (rows[np.array([False, True, True])], rows[1:]):
        assert len(selection) == 2
        assert list(selection.timestamps) == log.timestamps[1:]
        assert selection.confidences.tolist() == [0.2, 0.3]
        assert selection.numbers["size"].tolist() == [2.0, 3.0]
        assert selection.categories["town"].tolist() == ["B", "C"]
        assert selection.predictions.tolist() == ["1", "1"]


def test_a_prediction_of_the_fallback_is_none_of_the_model() -> None:
    """Rows that bypassed the model have no prediction; outputs exist only where the model has any."""
    rows = read_columns(log_rows({}, {}, confidence=None, fallback=True), SCHEMA)
    assert rows.predictions.tolist() == [None, None]
    assert output_columns(rows) == {}
    assert set(output_columns(read_columns(log_rows({}), SCHEMA))) == {"confidence", "prediction"}


def test_predictions_are_numbers_where_their_text_is_one() -> None:
    """Other text, and a missing prediction, is NaN."""
    numbers = prediction_numbers(DictionaryColumn.of(["1.5", "yes", None, "-2"]))
    assert numbers[[0, 3]].tolist() == [1.5, -2.0]
    assert np.isnan(numbers[[1, 2]]).all()


def test_what_no_float_can_hold_is_missing() -> None:
    """Texts, None and integers that are too large are NaN, whatever else is in the column."""
    numbers = numbers_or_nan([1, True, "2", None, 10**400, 0.5])
    assert np.isnan(numbers).tolist() == [False, False, True, True, True, False]


def test_a_confidence_that_is_no_number_is_missing() -> None:
    """Garbage in the confidence column does not affect the rows beside it."""
    log = log_rows({}, {})
    fields = [getattr(log, name) for name in LogRows.__dataclass_fields__]
    fields[[*LogRows.__dataclass_fields__].index("confidences")] = ["abc", 0.8]
    assert np.isnan(read_columns(LogRows(*fields), SCHEMA).confidences).tolist() == [True, False]
