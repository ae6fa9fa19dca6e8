"""Strict JSON: what two parsers might read differently is refused."""

import asyncio
from typing import Any

import pytest

from stillsafe.serving.body.json_body import DEEPEST, parse, read_body, repeated_keys
from stillsafe.serving.problems import RefusedRequest


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"{'a': 1}", "not_json"),
        (b'{"a": 1} {}', "not_json"),
        (b"\xff\xfe{}", "not_utf8"),
        (b'{"a": "\xe9"}', "not_utf8"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not_json"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
    ],
)
def test_what_is_not_json_is_refused_with_the_reason(content: bytes, kind: str) -> None:
    """422, whatever the bytes."""
    with pytest.raises(RefusedRequest) as refusal:
        parse(content)
    assert refusal.value.problem.status == 422
    assert [wrong.kind for wrong in refusal.value.problem.violations] == [kind]


def test_nesting_is_allowed_to_the_limit() -> None:
    """The limit itself is no surprise."""
    assert parse(b"[" * DEEPEST + b"]" * DEEPEST)


def test_a_repeated_key_is_remembered() -> None:
    """The object still parses, so that only the instance that repeats a key is refused."""
    document = parse(b'{"a": {"b": 1, "b": 2, "c": 3}, "d": {}}')
    assert repeated_keys(document["a"]) == ("b",)
    assert repeated_keys(document) == repeated_keys(document["d"]) == repeated_keys(3) == ()


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    """408 and a closed connection, though its client keeps it open."""

    async def silence() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(RefusedRequest) as refusal:
        asyncio.run(read_body({"type": "http", "method": "POST", "headers": []}, silence, 1000, 0.05))
    document = refusal.value.problem
    assert (document.status, document.headers["Connection"]) == (408, "close")
    assert [wrong.kind for wrong in document.violations] == ["too_slow"]
