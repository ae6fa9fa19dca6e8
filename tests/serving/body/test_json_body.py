"""Strict JSON: what two parsers might read differently is refused."""

import asyncio
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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


PIECES = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"a"',
    '"b"',
    '"\\u0661"',
    "1",
    "-0.5e3",
    "1\u0662",
    "0.\u0663",
    "NaN",
    "null",
    " ",
]


def _outcome(content: bytes, *, interruptible: bool) -> str:
    try:
        document = parse(content, interruptible=interruptible)
    except RefusedRequest as refusal:
        return repr(refusal.problem)
    return f"{document!r} {repeated_keys(document)}"


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=20))
@example('{"a": 1\u0662}')
@example('{"a": [0.\u0663]}')
@example('{"a": ' + "9" * 5_000 + "}")
@example('{"a": ' + "[" * 2_000 + "]" * 2_000 + "}")
def test_both_decoders_take_the_same_texts(text: str) -> None:
    """The interruptible decoder gives the values, the repeated keys and the refusals of the ordinary one."""
    content = text.encode("utf-8", "surrogatepass")
    assert _outcome(content, interruptible=True) == _outcome(content, interruptible=False)
