"""A request's body as JSON, strictly: what two parsers might read differently is refused.

NaN and infinities, which Python's parser accepts and JSON lacks, become floats, so that the schema can name the
feature that holds one.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from json import scanner
from typing import Any, NoReturn, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from stillsafe.core.schema import Violation
from stillsafe.serving.problems import Problem, RefusedRequest, problem

T = TypeVar("T")

DEEPEST = 10
MOST_SECONDS = 30.0
BODY = "body"
SYNTHETIC_HEADER = "Stillsafe-Synthetic"
INFERENCE_HEADER = "Inference-Header-Content-Length"
"""Of the Open Inference Protocol: how long the JSON before binary tensors is."""
WHOLE = "stillsafe.whole"
"""What an ASGI scope has once the server has received the whole body."""
Headers = Iterable[tuple[bytes, bytes]]
_CONTAINERS = (dict, list)


class RepeatingObject(dict[str, Any]):
    """A JSON object that gave some keys more than once; `repeated_names` lists them."""

    repeated_names: tuple[str, ...] = ()


async def read_body(
    scope: Scope, receive: Receive, most_bytes: int, most_seconds: float = MOST_SECONDS, *, binary: bool = False
) -> bytes:
    """The whole body.

    Args:
        scope: of the request; its Content-Type is absent or JSON in UTF-8.
        receive: the source of the body.
        most_bytes: the longest body that is read, chunked or not.
        most_seconds: the longest time that the body may take to arrive.
        binary: whether bytes may follow the JSON, so that the Content-Type may be `application/octet-stream`.

    Raises:
        RefusedRequest: 415 for another content type, 413 for a longer body, 408 for a later one.
        ClientDisconnect: the client disconnected before the body ended.
    """
    _require_json(scope["headers"], most_bytes, binary=binary)
    if WHOLE in scope:  # nothing to wait for
        return await _receive_body(receive, most_bytes)
    try:
        async with asyncio.timeout(most_seconds):
            return await _receive_body(receive, most_bytes)
    except TimeoutError:
        raise RefusedRequest(_too_slow(most_seconds)) from None


def has_synthetic_header(headers: Headers) -> bool:
    """Whether the headers mark the request as synthetic.

    Raises:
        RefusedRequest: 422 for a value that is neither true nor false.
    """
    for name, value in headers:
        if name == b"stillsafe-synthetic":
            text = value.decode("latin-1").strip().lower()
            if text not in ("true", "false"):
                violation = Violation(SYNTHETIC_HEADER, "not_allowed", "neither true nor false", "true or false")
                raise RefusedRequest(problem(422, f"The header {SYNTHETIC_HEADER} cannot be read.", [violation]))
            return text == "true"
    return False


class _InterruptibleDecoder(json.JSONDecoder):
    """Decodes as its base class does, several times slower, and lets other threads run in between.

    The base class's decoder in C keeps the interpreter from all of them until a whole document is decoded.
    """

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=_object, parse_int=_ascii_number(int), parse_float=_ascii_number(float))
        # The stubs lack the decoder in Python, which the standard library itself falls back to.
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]


class _ForeignDigit(ValueError):
    """A number has digits of another script, which the decoder in Python takes and the one in C refuses."""


def _ascii_number(convert: Callable[[str], T]) -> Callable[[str], T]:
    def number(text: str) -> T:
        if not text.isascii():
            raise _ForeignDigit
        return convert(text)

    return number


def parse(content: bytes, *, interruptible: bool = False) -> Any:
    """JSON text in UTF-8 as Python values; an object with a repeated key becomes a `RepeatingObject`.

    Args:
        content: the text.
        interruptible: other threads can run while it is parsed, which then takes several times as long.

    Raises:
        RefusedRequest: 422 with the defect.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse("not_utf8", f"not UTF-8 at byte {error.start}", "JSON text in UTF-8")
    try:
        document = _decode(text, interruptible=interruptible)
    except RecursionError:
        _refuse_depth()
    except json.JSONDecodeError as error:
        _refuse("not_json", f"not JSON at line {error.lineno}, column {error.colno}", "one JSON object")
    except ValueError:
        _refuse("not_json", "a number has too many digits", "one JSON object")
    if content.count(b"[") + content.count(b"{") > DEEPEST and _is_deeper(document, DEEPEST):
        _refuse_depth()
    return document


def repeated_keys(value: object) -> tuple[str, ...]:
    """The keys that a JSON object gave more than once."""
    return value.repeated_names if isinstance(value, RepeatingObject) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    repeating = RepeatingObject(members)
    repeating.repeated_names = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return repeating


_INTERRUPTIBLE = _InterruptibleDecoder()


def _decode(text: str, *, interruptible: bool) -> Any:
    if interruptible:
        with suppress(_ForeignDigit):
            return _INTERRUPTIBLE.decode(text)
    return json.loads(text, object_pairs_hook=_object)


def _is_deeper(document: Any, most: int) -> bool:
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(most):
        if not level:
            return False
        level = [inner for outer in level for inner in _children(outer) if isinstance(inner, _CONTAINERS)]
    return bool(level)


def _children(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def inference_header_length(headers: Headers) -> int | None:
    """The bytes of the JSON before binary tensors, or None without the header, which is the protocol's.

    Raises:
        RefusedRequest: 422 for a value that is no length.
    """
    for name, value in headers:
        if name == b"inference-header-content-length":
            if value.isdigit() and len(value) < 20:
                return int(value)
            violation = Violation(INFERENCE_HEADER, "not_allowed", "no length", "a number of bytes")
            raise RefusedRequest(problem(422, f"The header {INFERENCE_HEADER} cannot be read.", [violation]))
    return None


def _require_json(headers: Headers, most_bytes: int, *, binary: bool = False) -> None:
    """Check by the headers that the body is uncompressed JSON, and no longer than allowed."""
    for name, value in headers:
        match name:
            case b"content-type" if value != b"application/json":
                media_type, _, parameters = value.decode("latin-1").lower().partition(";")
                if binary and media_type.strip() == "application/octet-stream":
                    continue
                charset = parameters.partition("charset=")[2].strip(' "')
                if media_type.strip() not in ("", "application/json") or charset not in ("", "utf-8"):
                    raise RefusedRequest(_not_json())
            case b"content-encoding" if value.lower() != b"identity":
                raise RefusedRequest(_not_json())
            case b"content-length" if value.isdigit() and len(value) < 20 and int(value) > most_bytes:
                raise RefusedRequest(_too_large(most_bytes))


async def _receive_body(receive: Receive, most_bytes: int) -> bytes:
    content, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        content += message.get("body", b"")
        if len(content) > most_bytes:
            raise RefusedRequest(_too_large(most_bytes))
        more = message.get("more_body", False)
    return bytes(content)


def _not_json() -> Problem:
    allowed = "application/json, in UTF-8, uncompressed"
    violation = Violation(BODY, "wrong_media_type", "not JSON by its headers", allowed)
    return problem(415, "The body must be application/json.", [violation], Accept="application/json")


def _too_large(most_bytes: int) -> Problem:
    violation = Violation(BODY, "too_large", "the body is too long", f"at most {most_bytes} bytes")
    return problem(413, f"The body must not exceed {most_bytes} bytes.", [violation])


def _too_slow(most_seconds: float) -> Problem:
    violation = Violation(BODY, "too_slow", "the body took too long to arrive", f"at most {most_seconds:g} seconds")
    # The rest of the body would be read as the next request, so the connection closes.
    return problem(408, f"The body must arrive within {most_seconds:g} seconds.", [violation], Connection="close")


def _refuse_depth() -> NoReturn:
    _refuse("too_deep", "nested too deeply", f"at most {DEEPEST} levels")


def _refuse(kind: str, defect: str, allowed: str) -> NoReturn:
    violation = Violation(BODY, kind, defect, allowed)
    raise RefusedRequest(problem(422, f"The body cannot be read: {defect}.", [violation]))
