"""Core values as JSON documents and back, canonically: the same value gives the same bytes everywhere."""

import dataclasses
import json
import re
from collections.abc import Mapping
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
        ValueError: for a number that JSON lacks.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def storable_json(document: Any) -> str:
    """Canonical JSON that every database takes; see `storable`.

    Raises:
        ValueError: for a number that JSON lacks.
    """
    told = dumps(document)
    if "\\u0000" not in told and (told.isascii() or not _UNSTORABLE.search(told)):
        return told
    return dumps(_storable(json.loads(told)))


def storable_snapshot(row: Mapping[str, object]) -> str:
    """A row of plain, finite values as storable JSON, sorted. Fast: one is written with every answer.

    Raises:
        ValueError: for a number that JSON lacks.
    """
    try:
        told = _encode(row).decode()
    except UnicodeEncodeError:
        return storable_json(row)
    # A null that was no None was a NaN; and what is escaped may be what databases refuse.
    certain = told.count(":null") == [*row.values()].count(None) and "\\u0000" not in told
    return told if certain else storable_json(row)


def storable(text: str) -> str:
    """The text without what not every database can hold: U+0000 and halves of surrogate pairs, each replaced."""
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
        StoreError: somebody has damaged it.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreError(f"The database holds a document that is not JSON: {error}.") from error


def to_document(value: Any) -> Any:
    """A frozen core value as plain JSON types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_document(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_document(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def from_document(kind: type[T], document: Any) -> T:
    """The core value of a document.

    Raises:
        pydantic.ValidationError: where the document is not one of that kind.
    """
    value: T = _adapter(kind).validate_python(document)  # type: ignore[arg-type] # a type is hashable
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def stored_value(kind: type[T], document: Any) -> T:
    """A stored value. What is no longer one is as bad as a database that cannot be read, and is told so."""
    try:
        return from_document(kind, document)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        told = f"{place}: {problem['msg']}" if place else problem["msg"]
        name = getattr(kind, "__name__", str(kind)).lower()
        raise StoreError(f"The database holds a damaged {name} ({told}).") from error
