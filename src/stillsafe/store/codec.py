"""Core values to JSON documents and back. The encoding is canonical: equal values give equal bytes."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError

from stillsafe.errors import StoreError

T = TypeVar("T")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_encode = msgspec.json.Encoder(order="sorted").encode


def dumps(document: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, no NaN or infinity.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def storable_json(document: Any) -> str:
    """Canonical JSON that every database accepts; see `storable`.

    Raises:
        ValueError: a number is not finite.
    """
    text = dumps(document)
    if "\\u0000" not in text and (text.isascii() or not _UNSTORABLE.search(text)):
        return text
    return dumps(_storable(json.loads(text)))


def storable_snapshot(row: Mapping[str, object]) -> str:
    """A row of plain, finite values as storable JSON with sorted keys. Fast, since every prediction stores one.

    Raises:
        ValueError: a number is not finite.
    """
    try:
        text = _encode(row).decode()
    except UnicodeEncodeError:
        return storable_json(row)
    # A null that was not None was NaN, and an escaped U+0000 is refused by PostgreSQL: both take the slow path.
    is_storable = text.count(":null") == [*row.values()].count(None) and "\\u0000" not in text
    return text if is_storable else storable_json(row)


def content_bytes(row: Mapping[str, object]) -> bytes:
    """The same bytes for rows with the same values; None is null. Only for hashes: no store may accept them."""
    try:
        return _encode(row)
    except UnicodeEncodeError:
        return storable_json(row).encode()


def storable(text: str) -> str:
    """The text with U+0000 and lone surrogates, which PostgreSQL refuses, each replaced by U+FFFD."""
    return text if text.isascii() and "\x00" not in text else _UNSTORABLE.sub(REPLACEMENT, text)


def _storable(document: Any) -> Any:
    if isinstance(document, str):
        return storable(document)
    if isinstance(document, dict):
        return {storable(key): _storable(item) for key, item in document.items()}
    return [_storable(item) for item in document] if isinstance(document, list) else document


def loads(text: str) -> Any:
    """The document of a stored JSON text.

    Raises:
        StoreError: the text is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreError(f"The database holds a document that is not JSON: {error}.") from error


def to_document(value: Any, time_text: Callable[[datetime], str] = datetime.isoformat) -> Any:
    """A core value as plain JSON types, with times as `time_text` writes them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_document(getattr(value, f.name), time_text) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_document(item, time_text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_document(item, time_text) for item in value]
    if isinstance(value, datetime):
        return time_text(value)
    return value


def from_document(kind: type[T], document: Any) -> T:
    """The core value of a document.

    Raises:
        pydantic.ValidationError: the document is not of that kind.
    """
    value: T = _adapter(kind).validate_python(document)  # type: ignore[arg-type] # a type is hashable
    return value


def record_from_row(kind: type[T], row: Any) -> T:
    """The record of a database row; each field of the dataclass has the name of its column."""
    return kind(**{name: getattr(row, name) for name in kind.__dataclass_fields__})  # type: ignore[attr-defined] # a dataclass


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def stored_value(kind: type[T], document: Any) -> T:
    """The core value of a stored document.

    Raises:
        StoreError: the document is not of that kind.
    """
    try:
        return from_document(kind, document)
    except ValidationError as error:
        problem = error.errors()[0]
        path = ".".join(str(part) for part in problem["loc"])
        cause = f"{path}: {problem['msg']}" if path else problem["msg"]
        name = getattr(kind, "__name__", str(kind)).lower()
        raise StoreError(f"The database holds a damaged {name} ({cause}).") from error
