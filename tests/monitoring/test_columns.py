"""Counting: every value lands in exactly one count, whatever the rows look like and however they are ordered."""

import json
import math
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.schema import FeatureSpec, FeatureType, Logged, Schema
from stillsafe.core.window import Tally
from stillsafe.monitoring import columns as columns_module
from stillsafe.monitoring.columns import (
    Columns,
    Gathered,
    Labels,
    codes,
    columns,
    from_snapshots,
    onehot,
    shadow_scored,
    tally,
    together,
)
from stillsafe.monitoring.profile import profile
from stillsafe.store.read.requests import LogRows, WindowRows

AT = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = Schema(
    (
        FeatureSpec("size", FeatureType.NUMERIC, required=False),
        FeatureSpec("lift", FeatureType.BOOLEAN, required=False),
        FeatureSpec("town", FeatureType.CATEGORY, required=False),
        FeatureSpec("name", FeatureType.CATEGORY, required=False, log=Logged.HASH),
        FeatureSpec("rent", FeatureType.NUMERIC, required=False, log=Logged.HASH),
        FeatureSpec("secret", FeatureType.NUMERIC, required=False, log=Logged.DROP),
    )
)


def log(*snapshots: Any, confidence: float | None = 0.8, fallback: bool = False, error: str | None = None) -> LogRows:
    n = len(snapshots)
    return LogRows(
        range(n),
        [AT + timedelta(seconds=i) for i in range(n)],
        [s if isinstance(s, str) else json.dumps(s) for s in snapshots],
        ["1"] * n,
        [confidence] * n,
        [fallback] * n,
        [error] * n,
    )


def baseline_of(found: Columns) -> Baseline:
    return Baseline(
        "b", "1", AT, BaselineSource.FIRST, len(found), 1, 0.8, 0.1, 0.7, 0.1, features=profile(found, SCHEMA)
    )


def test_each_value_is_counted_once() -> None:
    """Present plus missing is the number of rows, for every feature that is logged at all."""
    healthy = columns(log({"size": 1.0, "lift": True, "town": "A"}, {"size": 2, "lift": False, "town": "B"}), SCHEMA)
    now = columns(log({"size": 0.5, "town": "A"}, {"size": 9, "lift": True, "town": "Z"}, {"town": None}), SCHEMA)
    counted = tally(now, baseline_of(healthy), 4)
    assert counted.prediction_count == 3
    assert counted.refusal_count == 4
    size, town = counted.features["size"], counted.features["town"]
    assert (size.value_count, size.missing_count, size.below_count, size.above_count) == (2, 1, 1, 1)
    assert (town.value_count, town.missing_count, town.unseen_count) == (2, 1, 1)
    assert town.unseen_examples == {"Z": 1}
    assert "secret" not in counted.features


def test_a_hashed_feature_shows_only_what_a_hash_can() -> None:
    """A hashed category is compared as a category, a hashed number by its absence alone."""
    found = columns(log({"name": "aa", "rent": "bb"}, {"name": None, "rent": None}), SCHEMA)
    healthy = baseline_of(found)
    assert healthy.features["name"].category_counts == {"aa": 1}
    assert healthy.features["rent"].type is None
    assert healthy.features["rent"].missing_rate == 0.5
    now = tally(columns(log({"name": "new", "rent": "new"}), SCHEMA), healthy, 0)
    assert now.features["name"].unseen_count == 1
    assert now.features["rent"].unseen_count == 0


@pytest.mark.parametrize(
    "broken",
    [
        *("not json", "{},{}", "[1]", '"text"', "null", '{"size": "five"}', '{"size": [1]}'),
        '{"size": 1' + "0" * 400 + "}",
    ],
)
def test_a_damaged_snapshot_is_missing_and_costs_nobody_else(broken: str) -> None:
    """A row that cannot be read counts as missing values; its neighbours are counted as they are."""
    counted = tally(columns(log({"size": 1.0}, broken, {"size": 3.0}), SCHEMA), None, 0)
    assert counted.prediction_count == 3
    assert (counted.features["size"].value_count, counted.features["size"].missing_count) == (2, 1)


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53 + 1, 2**64, 10**400, 1, True, "1", "five", "\ud800", "\x00", "é\n", -0.0])
    | st.floats()
    | st.text(max_size=4)
)
NESTED = st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(max_size=2), PLAIN, max_size=2)
VALUES = PLAIN | NESTED | st.lists(NESTED, max_size=2)
NAMES = st.sampled_from([*(spec.name for spec in SCHEMA.features), "unknown"])
WRITTEN = st.builds(
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


@given(st.lists(WRITTEN | ODD | st.text(max_size=6), max_size=12))
def test_snapshots_are_read_as_they_stand(texts: list[str]) -> None:
    """Whatever lies in the log, each value is what the standard library's parser finds in its own row alone."""
    n = len(texts)
    rest: dict[str, Any] = {
        "confidences": [0.5] * n,
        "model_errors": [None] * n,
        "fallback_used": [False] * n,
        "predictions": ["1"] * n,
    }
    found = columns(log(*texts, confidence=0.5), SCHEMA)
    expected = from_snapshots([parsed(text) for text in texts], SCHEMA, **rest)
    for name, column in expected.numbers.items():
        assert found.numbers[name].tobytes() == column.tobytes()
    for name, labels in expected.categories.items():
        assert list(map(repr, found.categories[name].tolist())) == list(map(repr, labels.tolist()))


def parsed(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def test_a_text_is_never_a_number() -> None:
    """Whatever stands beside it: a row counts the same in every window that it is in."""
    alone, beside = ('{"size": "5"}',), ('{"size": "5"}', '{"size": [1]}', '{"size": 2}')
    for texts in (alone, beside):
        assert np.isnan(columns(log(*texts), SCHEMA).numbers["size"][0])
    assert columns(log(*beside), SCHEMA).numbers["size"][2] == 2


@pytest.mark.parametrize("name", ['a "b"', "a\\b", "a\tb"])
def test_a_feature_may_be_called_anything(name: str) -> None:
    """Also what JSON has to escape."""
    found = columns(log(json.dumps({name: 2})), Schema((FeatureSpec(name, FeatureType.NUMERIC),)))
    assert found.numbers[name].tolist() == [2.0]


def test_two_broken_snapshots_make_no_whole_one() -> None:
    """Halves of rows that would fit together are still two rows in which everything is missing."""
    found = columns(log('{},{"size": 1', '"town": "A"}'), SCHEMA)
    assert math.isnan(found.numbers["size"].sum())
    assert found.categories["town"].tolist() == [None, None]


@given(st.lists(st.tuples(*[st.sampled_from([-9.0, 0.0, 1.0, 2.0, 3.0, 99.0, None])] * 3), min_size=1, max_size=40))
def test_pairs_of_bins_are_counted_row_by_row(rows: list[tuple[float | None, ...]]) -> None:
    """How often two bins were seen together is what the table of ones and zeros says, however many rows at once."""
    healthy = FeatureBaseline(FeatureType.NUMERIC, 1, 0, bins=Bins((0.5, 1.5), -1.0, 4.0))
    features = [healthy, replace(healthy, bins=Bins((1.0,), 0.0, 3.0)), replace(healthy, bins=Bins((), 0.0, 1.0))]
    binned = [
        codes(np.array(column, dtype=np.float64), before)
        for column, before in zip(zip(*rows, strict=True), features, strict=True)
    ]
    table = onehot(features, binned, inside=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(columns_module, "COUNTED_AT_ONCE", 7)
        counted = together(features, binned)
    assert counted.tolist() == (table.T @ table).tolist()


def test_confidence_counts_only_what_is_there() -> None:
    """Rows without a confidence are no confidences of zero."""
    counted = tally(columns(log({}, {}, confidence=None), SCHEMA), None, 0)
    assert counted.confidence_count == 0
    assert counted.avg_confidence is None


def test_a_model_error_is_counted() -> None:
    """A loudly failed prediction is an error and a fallback answer."""
    counted = tally(columns(log({}, {}, confidence=None, fallback=True, error="raised"), SCHEMA), None, 0)
    assert (counted.model_error_count, counted.fallback_count) == (2, 2)


def test_shadow_scores_only_what_was_bypassed() -> None:
    """Rows that the model answered keep their confidence; bypassed ones get the shadow's, failures become errors."""
    given = log({"size": 1.0}, {"size": 2.0}, {"size": "broken"}, confidence=None, fallback=True)
    found = columns(given, SCHEMA)
    scored = shadow_scored(
        found,
        given.input_summaries,
        SCHEMA,
        lambda rows: [(0.9, "yes", None), (None, None, "raised ValueError")][: len(rows)],
    )
    assert scored.confidences[0] == 0.9
    assert math.isnan(scored.confidences[1])
    assert scored.model_errors.tolist() == [False, True, True]
    assert scored.answers.tolist() == ["yes", None, None]
    own = columns(log({"size": 1.0}), SCHEMA)
    assert shadow_scored(own, [], SCHEMA, lambda rows: [(0.1, "no", None) for _ in rows]).confidences[0] == 0.8


def test_a_window_gathered_from_parts_is_the_whole() -> None:
    """Rows that come some at a time, in any order, give the tally of all of them; what is fresh stays so."""
    rows = [
        {"size": i % 7 + 0.5, "lift": i % 3 == 0, "town": "ABC"[i % 3], "name": 1 if i % 2 else True} for i in range(50)
    ]
    whole = tally(columns(log(*rows), SCHEMA), None, 3)
    gathered = Gathered(SCHEMA)
    for first in (30, 0, 10, 40, 20):
        some = log(*rows[first : first + 10])
        part = [first + i >= 25 for i in range(10)]
        given = WindowRows(
            some.ids,
            part,
            some.input_summaries,
            some.predictions,
            some.confidences,
            some.fallback_used,
            some.model_errors,
        )
        gathered.add(columns(given, SCHEMA))
    found = gathered.columns()
    assert tally(found, None, 3) == whole
    assert tally(found, None, 0, found.fresh).prediction_count == 25


@given(st.lists(st.sampled_from([None, "a", "b", "c", "d"])), st.lists(st.booleans()))
def test_labels_are_their_values(values: list[str | None], flags: list[bool]) -> None:
    """Told again, counted or cut, a column of labels is the column of texts that it was made of."""
    rows = (flags + [False] * len(values))[: len(values)]
    labels, mask = Labels.of(values), np.array(rows, dtype=np.bool_)
    chosen = [value for value, row in zip(values, rows, strict=True) if row]
    assert labels.tolist() == values
    assert labels[mask].tolist() == chosen
    assert labels[mask].counts() == Counter(chosen)
    assert labels[1:3].tolist() == values[1:3]
    assert labels.without(mask).tolist() == [None if row else each for each, row in zip(values, rows, strict=True)]


def test_an_empty_window_has_every_feature() -> None:
    """Nothing gathered counts as nothing of each feature, as an empty log does."""
    found = Gathered(SCHEMA).columns()
    assert tally(found, None, 0) == tally(columns(log(), SCHEMA), None, 0)
    assert set(tally(found, None, 0).features) == {"size", "lift", "town", "name", "rent"}


def test_a_profile_keeps_range_and_categories() -> None:
    """A baseline knows the range of numbers and how often each category came."""
    features = profile(columns(log({"size": 3.0, "town": "A"}, {"size": 5.0, "town": "A"}, {}), SCHEMA), SCHEMA)
    assert (features["size"].minimum, features["size"].maximum) == (3.0, 5.0)
    assert features["town"].category_counts == {"A": 2}
    assert features["town"].missing_rate == pytest.approx(1 / 3)


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.one_of(st.none(), st.floats(-1e9, 1e9)), st.sampled_from(["A", "B", "Z", None])),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 2**32),
)
def test_the_order_of_rows_is_irrelevant(rows: list[tuple[float, float | None, str | None]], seed: int) -> None:
    """The same rows in another order give the very same tally, to the last bit."""

    def count(ordered: list[tuple[float, float | None, str | None]]) -> Tally:
        n = len(ordered)
        texts = [json.dumps({"size": size, "town": town}) for _, size, town in ordered]
        confidences = [confidence for confidence, _, _ in ordered]
        found = columns(
            LogRows(range(n), [AT] * n, texts, ["1"] * n, confidences, [False] * n, [None] * n),
            SCHEMA,
        )
        return tally(found, healthy, 0)

    healthy = baseline_of(columns(log({"size": 1.0, "town": "A"}, {"size": 2.0, "town": "B"}), SCHEMA))
    shuffled = rows.copy()
    random.Random(seed).shuffle(shuffled)
    assert count(rows) == count(shuffled)


def test_strange_categories_cost_nobody_else_anything() -> None:
    """A category that is a list is missing; one with half a character is counted under a name that can be stored."""
    found = columns(log({"town": ["A"]}, {"town": "\ud800"}, {"town": "A"}), SCHEMA)
    counted = tally(found, baseline_of(columns(log({"town": "A"}), SCHEMA)), 0).features["town"]
    assert (counted.value_count, counted.missing_count, counted.unseen_examples) == (2, 1, {"?": 1})


def test_a_confidence_that_is_none_is_no_confidence() -> None:
    """Garbage in the confidence column is neither a zero nor an error for the rows beside it."""
    rows = log({}, {})
    found = columns(LogRows(*rows_with(rows, confidences=["abc", 0.8])), SCHEMA)
    assert tally(found, None, 0).confidence_count == 1


def rows_with(rows: LogRows, **changed: Any) -> list[Any]:
    return [changed.get(name, getattr(rows, name)) for name in LogRows.__dataclass_fields__]
