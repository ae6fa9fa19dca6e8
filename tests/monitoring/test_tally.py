"""Tallies: every value is in exactly one count, whatever the rows contain and however they are ordered."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.window import Tally
from stillsafe.monitoring import tally as tally_module
from stillsafe.monitoring.columns import read_columns
from stillsafe.monitoring.profile import profile_features
from stillsafe.monitoring.tally import EXAMPLE_LENGTH, EXAMPLES, MOST_CLASSES, frequent_numbers, tally
from stillsafe.store.read.requests import LogRows
from tests.monitoring.log_rows import AT, SCHEMA, baseline_of, log_rows


def test_each_value_is_counted_once() -> None:
    """Present plus missing is the number of rows, for every logged feature."""
    healthy = log_rows({"size": 1.0, "lift": True, "town": "A"}, {"size": 2, "lift": False, "town": "B"})
    now = log_rows({"size": 0.5, "town": "A"}, {"size": 9, "lift": True, "town": "Z"}, {"town": None})
    counts = tally(read_columns(now, SCHEMA), baseline_of(read_columns(healthy, SCHEMA)), 4)
    assert counts.prediction_count == 3
    assert counts.refusal_count == 4
    size, town = counts.features["size"], counts.features["town"]
    assert (size.value_count, size.missing_count, size.below_count, size.above_count) == (2, 1, 1, 1)
    assert (town.value_count, town.missing_count, town.unseen_count) == (2, 1, 1)
    assert town.unseen_examples == {"Z": 1}
    assert "secret" not in counts.features


def test_a_mask_selects_the_counted_rows() -> None:
    """Only its rows are counted, in every count."""
    rows = read_columns(log_rows({"size": 1.0}, {"size": 2.0}, {"size": 9.0}), SCHEMA)
    counts = tally(rows, baseline_of(rows[:2]), 0, np.array([False, True, True]))
    size = counts.features["size"]
    assert (counts.prediction_count, size.value_count, size.above_count) == (2, 2, 1)
    assert sum(size.bin_counts) == 2


def test_a_hashed_feature_shows_only_what_a_hash_can() -> None:
    """A hashed category is compared as a category, a hashed number only by its missing values."""
    rows = read_columns(log_rows({"name": "aa", "rent": "bb"}, {"name": None, "rent": None}), SCHEMA)
    healthy = baseline_of(rows)
    assert healthy.features["name"].category_counts == {"aa": 1}
    assert healthy.features["rent"].type is None
    assert healthy.features["rent"].missing_rate == 0.5
    counts = tally(read_columns(log_rows({"name": "new", "rent": "new"}), SCHEMA), healthy, 0)
    assert counts.features["name"].unseen_count == 1
    assert counts.features["rent"].unseen_count == 0


def test_confidence_counts_only_where_there_is_one() -> None:
    """Rows without a confidence are no confidences of zero."""
    counts = tally(read_columns(log_rows({}, {}, confidence=None), SCHEMA), None, 0)
    assert counts.confidence_count == 0
    assert counts.avg_confidence is None


def test_a_model_error_is_counted() -> None:
    """A failed prediction is a model error and a fallback answer."""
    rows = read_columns(log_rows({}, {}, confidence=None, fallback=True, error="raised"), SCHEMA)
    counts = tally(rows, None, 0)
    assert (counts.model_error_count, counts.fallback_count) == (2, 2)


def test_a_profile_keeps_range_and_categories() -> None:
    """A baseline has the range of numbers and how often each category occurred."""
    rows = read_columns(log_rows({"size": 3.0, "town": "A"}, {"size": 5.0, "town": "A"}, {}), SCHEMA)
    features = profile_features(rows, SCHEMA)
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
def test_the_order_of_rows_is_irrelevant(values: list[tuple[float, float | None, str | None]], seed: int) -> None:
    """The same rows in another order give the very same tally, to the last bit."""

    def count(values: list[tuple[float, float | None, str | None]]) -> Tally:
        snapshots = log_rows(*({"size": size, "town": town} for _, size, town in values)).input_summaries
        confidences, n = [confidence for confidence, _, _ in values], len(values)
        log = LogRows(range(n), [AT] * n, snapshots, ["1"] * n, confidences, [False] * n, [None] * n)
        return tally(read_columns(log, SCHEMA), healthy, 0)

    healthy = baseline_of(read_columns(log_rows({"size": 1.0, "town": "A"}, {"size": 2.0, "town": "B"}), SCHEMA))
    other_order = values.copy()
    random.Random(seed).shuffle(other_order)
    assert count(values) == count(other_order)


def test_strange_categories_affect_no_other_value() -> None:
    """A category that is a list is missing; one with half a character is counted under a name that can be stored."""
    rows = read_columns(log_rows({"town": ["A"]}, {"town": "\ud800"}, {"town": "A"}), SCHEMA)
    town = tally(rows, baseline_of(read_columns(log_rows({"town": "A"}), SCHEMA)), 0).features["town"]
    assert (town.value_count, town.missing_count, town.unseen_examples) == (2, 1, {"?": 1})


def test_examples_of_unseen_categories_are_few_and_short() -> None:
    """All unseen categories are counted; the most frequent ones are kept, cut to a length."""
    towns = ["A", *("Z" * 100 for _ in range(3)), *(f"town {i}" for i in range(20))]
    rows = read_columns(log_rows(*({"town": town} for town in towns)), SCHEMA)
    town = tally(rows, baseline_of(rows[:1]), 0).features["town"]
    assert town.unseen_count == 23
    assert len(town.unseen_examples) == EXAMPLES
    assert next(iter(town.unseen_examples.items())) == ("Z" * EXAMPLE_LENGTH, 3)


def test_examples_that_begin_alike_are_counted_together() -> None:
    """What is shown of a category has the count of all categories of which that is shown, in whatever order."""
    start = "Z" * EXAMPLE_LENGTH
    towns = [*(start for _ in range(9)), *(f"{start}{i}" for i in range(7)), "town", "town"]
    for order in (towns, towns[::-1]):
        rows = read_columns(log_rows({"town": "A"}, *({"town": town} for town in order)), SCHEMA)
        town = tally(rows, baseline_of(rows[:1]), 0).features["town"]
        assert list(town.unseen_examples.items()) == [(start, 16), ("town", 2)]
        assert town.unseen_count == 18


def test_frequent_numbers_come_first() -> None:
    """The most frequent number first, the lesser one of equally frequent ones."""
    numbers = np.array([3.0, 1.0, 2.0, 2.0, 3.0, 5.0])
    assert frequent_numbers(numbers, 3) == ((2.0, 2), (3.0, 2), (1.0, 1))
    assert frequent_numbers(np.empty(0), 1) == ()


@pytest.mark.parametrize("classes", [1, MOST_CLASSES, MOST_CLASSES + 1])
def test_predictions_are_counted_where_they_are_classes(classes: int) -> None:
    """Each class with its rows; nothing where there are too many different predictions to be classes."""
    log, texts = log_rows(*({} for _ in range(2 * classes))), [f"c{i:02}" for i in range(classes)]
    rows = read_columns(
        LogRows(
            log.ids,
            log.timestamps,
            log.input_summaries,
            texts * 2,
            log.confidences,
            log.fallback_used,
            log.model_errors,
        ),
        SCHEMA,
    )
    expected = dict.fromkeys(texts, 2) if classes <= MOST_CLASSES else {}
    assert tally(rows, None, 0).prediction_counts == expected


def test_a_sum_does_not_depend_on_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large and small confidences add up to the same last bit, in whatever blocks and order they come."""
    confidences = [0.1, 1e16, 0.3, -1e16, 0.7, 1e-9, 0.2]
    rows = read_columns(log_rows(*({"size": 1.0} for _ in confidences)), SCHEMA)
    sums = set()
    for size in (1, 3, 100):
        for numbers in (confidences, confidences[::-1]):
            monkeypatch.setattr(tally_module, "_BLOCK_ROWS", size)
            counts = tally(replace(rows, confidences=np.array(numbers)), None, 0)
            sums.add((counts.confidence_sum, counts.confidence_square_sum))
    assert sums == {(math.fsum(confidences), math.fsum(each**2 for each in confidences))}
