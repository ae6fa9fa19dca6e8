"""Ids of requests in bodies and headers."""

import pytest

from stillsafe.core.schema import Row
from stillsafe.serving.body.request_id import (
    batch_ids,
    id_violation,
    idempotency_key,
    identity_of,
    is_request_id,
    single_id,
)
from stillsafe.serving.problems import RefusedRequest


@pytest.mark.parametrize("text", ["a", "x" * 200, "order 7/ü#€", "7"])
def test_a_short_printable_text_is_an_id(text: str) -> None:
    """Whatever its alphabet."""
    assert is_request_id(text)
    assert id_violation(text) is None


@pytest.mark.parametrize(
    ("value", "kind"), [("", "not_allowed"), ("x" * 201, "not_allowed"), ("a\t", "not_allowed"), (7, "wrong_type")]
)
def test_other_values_are_violations(value: object, kind: str) -> None:
    """Which never quote the value."""
    violation = id_violation(value)
    assert violation is not None
    assert (violation.feature, violation.kind) == ("id", kind)


def test_the_header_is_read_with_and_without_quotes() -> None:
    """RFC drafts write it as a quoted string, and most clients do not."""
    assert idempotency_key([(b"a", b"b")]) is None
    assert (
        idempotency_key([(b"idempotency-key", b' "k 1" ')]) == idempotency_key([(b"idempotency-key", b"k 1")]) == "k 1"
    )
    with pytest.raises(RefusedRequest):
        idempotency_key([(b"idempotency-key", b'""')])


def test_a_request_has_one_id() -> None:
    """From the body or the header; two are refused."""
    assert (single_id(None, None), single_id("a", None), single_id(None, "a"), single_id("a", "a")) == (
        None,
        "a",
        "a",
        "a",
    )
    with pytest.raises(RefusedRequest):
        single_id("a", "b")


def test_a_batch_numbers_its_key() -> None:
    """Except where an instance has an id."""
    assert batch_ids([None, "x", None], "k") == ["k#0", "x", "k#2"]
    assert batch_ids([None, "x"], None) == [None, "x"]


def test_the_hash_is_keyed_and_of_the_content() -> None:
    """Salt, values and the mark as synthetic change it; the order of the keys does not."""
    row: Row = {"a": 1.0, "b": "x"}
    first = identity_of("t", row, "salt", synthetic=False)
    assert first == identity_of("t", dict(reversed(row.items())), "salt", synthetic=False)
    others = [
        identity_of("t", row, "other", synthetic=False),
        identity_of("t", row, "salt", synthetic=True),
        identity_of("t", {**row, "b": None}, "salt", synthetic=False),
        identity_of("t", {**row, "a": 2.0}, "salt", synthetic=False),
    ]
    assert first is not None
    assert len({first.body_hash, *(each.body_hash for each in others if each)}) == 5
    assert identity_of(None, row, "salt", synthetic=False) is None
