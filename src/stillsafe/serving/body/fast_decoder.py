"""The usual body, decoded and checked in one go by a decoder that is made from the schema.

What it reads, `json_body.parse` and `Schema.validate` accept too, with the same rows. Whatever else comes in, it leaves
to those two, who take their time and say what is wrong.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stillsafe.core.schema import LARGEST_INTEGER, FeatureSpec, FeatureType, Row, Schema

QUOTE, BACKSLASH = b'"', b"\\"
NOTHING = Annotated[str, Meta(pattern="(?!)")]  # no text matches this


class TypedBody:
    """Reads usual bodies of one schema.

    Args:
        schema: the features.
        most: most instances in a batch.
    """

    def __init__(self, schema: Schema, most: int) -> None:
        self._names = schema.names
        try:
            instance = _struct(schema.names, [_field(spec) for spec in schema.features])
        except ValueError:  # a name that JSON has to escape, as no usual body does
            instance = NOTHING
        batch = Annotated[list[instance], Meta(min_length=1, max_length=most)]  # type: ignore[valid-type]
        self._one = msgspec.json.Decoder(_struct(["features"], [(instance, msgspec.NODEFAULT)]))
        self._many = msgspec.json.Decoder(_struct(["instances"], [(batch, msgspec.NODEFAULT)]))

    def one(self, content: bytes) -> Row | None:
        """The clean row of `{"features": {...}}`, or None where it takes a closer look."""
        try:
            rows, texts = self._rows([self._one.decode(content).f0])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        return rows[0] if _nothing_was_lost(content, texts) else None

    def many(self, content: bytes) -> list[Row] | None:
        """The clean rows of `{"instances": [...]}`, or None where any of it takes a closer look."""
        try:
            rows, texts = self._rows(self._many.decode(content).f0)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        return rows if _nothing_was_lost(content, texts) else None

    def _rows(self, instances: Iterable[Struct]) -> tuple[list[Row], int]:
        """The rows, and how many texts, names and values, their bodies held; with the name around them."""
        rows, texts = [], 1
        for instance in instances:
            values = msgspec.structs.astuple(instance)
            kinds = [*map(type, values)]
            absent = kinds.count(UnsetType)
            texts += len(values) - absent + kinds.count(str)
            told = [None if value is UNSET else value for value in values] if absent else values
            rows.append(dict(zip(self._names, told, strict=True)))
        return rows, texts


def _nothing_was_lost(content: bytes, texts: int) -> bool:
    """Whether the body holds these texts and no more: of a name given twice the decoder keeps the last.

    Without an escape, each quote begins or ends a text.
    """
    return content.count(QUOTE) == 2 * texts and BACKSLASH not in content


def _struct(names: Iterable[str], fields: Iterable[tuple[Any, Any]]) -> Any:
    """A type with these fields under numbered names of its own: a feature's need be no identifier."""
    numbered = {f"f{number}": name for number, name in enumerate(names)}
    return msgspec.defstruct(
        "Body",
        [(field, kind, default) for field, (kind, default) in zip(numbered, fields, strict=True)],
        rename=numbered,
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _field(spec: FeatureSpec) -> tuple[Any, Any]:
    """A feature's type and its default."""
    kind = _kind(spec)
    return (kind, msgspec.NODEFAULT) if spec.required else (kind | None | UnsetType, UNSET)


def _kind(spec: FeatureSpec) -> Any:
    """What the decoder takes for a feature. A JSON number is finite, and text without escapes can be stored."""
    match spec.type:
        case FeatureType.NUMERIC:
            return Annotated[float, Meta(ge=spec.minimum, le=spec.maximum)]
        case FeatureType.INTEGER:
            lowest = -LARGEST_INTEGER if spec.minimum is None else max(-LARGEST_INTEGER, math.ceil(spec.minimum))
            highest = LARGEST_INTEGER if spec.maximum is None else min(LARGEST_INTEGER, math.floor(spec.maximum))
            return Annotated[int, Meta(ge=lowest, le=highest)]
        case FeatureType.BOOLEAN:
            return bool
        case FeatureType.CATEGORY:
            if spec.categories is None:
                return Annotated[str, Meta(max_length=spec.max_length)]
            fitting = tuple(each for each in spec.categories if len(each) <= spec.max_length)
            return Literal[fitting] if fitting else NOTHING
