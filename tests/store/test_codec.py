"""Core values as documents: each value is read back equal, and equal values have equal bytes."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.decide import decide
from stillsafe.core.policy import Policy
from stillsafe.core.schema import FeatureType
from stillsafe.core.state import Hold, Memory, State, Streak
from stillsafe.core.window import FeatureTally, Tally, Window
from stillsafe.errors import StoreError
from stillsafe.store.codec import (
    content_bytes,
    dumps,
    from_document,
    loads,
    storable_json,
    storable_snapshot,
    to_document,
)
from tests.store.conftest import baseline, window

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**53)
NAMES = st.text(max_size=8)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))])
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=ZONES)
FEATURE_BASELINES = st.builds(
    FeatureBaseline,
    type=st.none() | st.sampled_from(FeatureType),
    value_count=COUNTS,
    missing_count=COUNTS,
    minimum=st.none() | NUMBERS,
    maximum=st.none() | NUMBERS,
    category_counts=st.dictionaries(NAMES, COUNTS, max_size=3),
)
BASELINES = st.builds(
    Baseline,
    baseline_id=NAMES,
    model_version=NAMES,
    created_at=MOMENTS,
    source=st.sampled_from(BaselineSource),
    sample_size=COUNTS,
    confidence_count=COUNTS,
    avg_confidence=st.none() | NUMBERS,
    confidence_sd=st.none() | NUMBERS,
    low_confidence_threshold=st.none() | NUMBERS,
    low_confidence_rate=st.none() | NUMBERS,
    refusal_count=COUNTS,
    model_error_count=COUNTS,
    features=st.dictionaries(NAMES, FEATURE_BASELINES, max_size=2),
    variation=st.dictionaries(NAMES, NUMBERS, max_size=2),
    longest_pause_seconds=st.none() | NUMBERS,
    prediction_counts=st.dictionaries(NAMES, COUNTS, max_size=2),
)
FEATURE_TALLIES = st.builds(
    FeatureTally,
    value_count=COUNTS,
    missing_count=COUNTS,
    unseen_count=COUNTS,
    below_count=COUNTS,
    above_count=COUNTS,
    unseen_examples=st.dictionaries(NAMES, COUNTS, max_size=2),
)
TALLIES = st.builds(
    Tally,
    prediction_count=COUNTS,
    confidence_count=COUNTS,
    confidence_sum=NUMBERS,
    confidence_square_sum=NUMBERS,
    low_confidence_count=COUNTS,
    model_error_count=COUNTS,
    fallback_count=COUNTS,
    refusal_count=COUNTS,
    features=st.dictionaries(NAMES, FEATURE_TALLIES, max_size=2),
    prediction_counts=st.dictionaries(NAMES, COUNTS, max_size=2),
)
WINDOWS = st.builds(
    Window,
    start=MOMENTS,
    end=MOMENTS,
    model_version=NAMES,
    total=TALLIES,
    fresh=TALLIES,
    shadow=st.booleans(),
    silent_seconds=st.none() | NUMBERS,
)
MEMORIES = st.builds(
    Memory,
    state=st.sampled_from(State),
    since=st.none() | MOMENTS,
    streaks=st.dictionaries(NAMES, st.builds(Streak, COUNTS, COUNTS), max_size=3),
    calm_runs=COUNTS,
    relapses=COUNTS,
    runs_since_recovery=st.none() | COUNTS,
    last_run_at=st.none() | MOMENTS,
    last_conclusive_at=st.none() | MOMENTS,
    model_version=st.none() | NAMES,
    baseline_id=st.none() | NAMES,
    incident_id=st.none() | NAMES,
    damaged_features=st.lists(NAMES, max_size=3).map(tuple),
    hold=st.none() | st.builds(Hold, NAMES, NAMES, MOMENTS),
)
POLICIES = st.builds(
    Policy,
    window_seconds=NUMBERS,
    min_predictions=COUNTS,
    false_alarm_rate=NUMBERS,
    low_confidence_threshold=st.none() | NUMBERS,
    silence_seconds=st.none() | NUMBERS,
)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("kind", "values"), [(Baseline, BASELINES), (Window, WINDOWS), (Memory, MEMORIES), (Policy, POLICIES)]
)
def test_a_value_is_read_back_equal(kind: type[Any], values: st.SearchStrategy[Any]) -> None:
    """For any value: from its document, and from the document's text."""

    @given(values)
    @settings(max_examples=60, deadline=None)
    def law(value: Any) -> None:
        assert from_document(kind, to_document(value)) == value
        assert from_document(kind, loads(dumps(to_document(value)))) == value

    law()


def test_readings_become_documents() -> None:
    """Readings become plain JSON with the field names of the core."""
    decision = decide(Policy(), baseline(), window(1, unseen_rate=0.5), Memory())
    documents = to_document(decision.readings)
    (deviating,) = [document for document in documents if document["evidence"] == "BAD"]
    assert (deviating["signal"], deviating["feature"], deviating["level"]) == ("unseen_category_rate", "town", "SEVERE")
    assert deviating["value"] == 0.5
    assert json.loads(dumps(documents)) == documents


@given(DOCUMENTS)
def test_equal_documents_have_equal_bytes(document: Any) -> None:
    """The text does not depend on the order of the keys."""
    assert dumps(document) == dumps(_with_reversed_keys(document))
    assert loads(dumps(document)) == document


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("nest", [lambda n: n, lambda n: [n], lambda n: {"a": {"b": [1.0, n]}}])
def test_numbers_that_json_lacks_are_refused(number: float, nest: Callable[[float], Any]) -> None:
    """NaN and infinity are never written, at any depth."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(nest(number))


@pytest.mark.parametrize("document", [None, 7, "x", [], {}, {"state": "CALM"}, {"calm_runs": "many"}])
def test_a_document_of_another_kind_is_refused(document: Any) -> None:
    """It never becomes a value of the wrong kind."""
    kind = Memory if document != {} else Hold  # an empty document is a valid memory
    with pytest.raises(ValidationError):
        from_document(kind, document)


def test_damaged_text_is_a_store_error() -> None:
    """A stored text that is not JSON is reported in one sentence."""
    with pytest.raises(StoreError, match=r"^The database holds a document that is not JSON: .*\.$"):
        loads('{"state": ')


def _with_reversed_keys(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _with_reversed_keys(value) for key, value in reversed(document.items())}
    return [_with_reversed_keys(item) for item in document] if isinstance(document, list) else document


VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | NAMES | st.just(":null")


@settings(max_examples=500, deadline=None, derandomize=True)
@given(row=st.dictionaries(NAMES | st.just(":null"), VALUES, max_size=6))
def test_a_snapshot_equals_the_slow_encoding(row: dict[str, Any]) -> None:
    """It is read back as `storable_json` writes it, with the same order of keys, and the same rows are refused."""
    try:
        expected = loads(storable_json(row))
    except ValueError:
        with pytest.raises(ValueError, match="not JSON compliant"):
            storable_snapshot(row)
        return
    assert repr(loads(storable_snapshot(row))) == repr(expected)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)),
    )
)
def test_rows_with_the_same_values_have_the_same_content(row: dict[str, Any]) -> None:
    """Whatever the order of their names, also with texts that no store accepts; another value gives another content."""
    assert content_bytes(dict(reversed(row.items()))) == content_bytes(row)
    assert content_bytes({**row, "x": "one"}) != content_bytes({**row, "x": "two"})
    assert content_bytes({**row, "x": "\ud800"}) != content_bytes({**row, "x": "two"})
