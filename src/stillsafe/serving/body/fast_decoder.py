"""The fast body decoder: decodes and checks an ordinary body in one pass.

The decoder is generated from the schema. It accepts only bodies that `json_body.parse` and `Schema.validate` accept
with the same rows. It rejects every other body without a reason; those two then find the violations.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stillsafe.core.schema import LARGEST_INTEGER, TEXT_TYPES, FeatureSpec, FeatureType, Row, Schema
from stillsafe.model.feature_columns import FeatureColumns
from stillsafe.serving.body.request_id import MOST_CHARACTERS, REQUEST_ID

QUOTE, BACKSLASH = b'"', b"\\"
PLAIN_DATE = (
    r"(?a)^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"
    r"([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{3}(\d{3})?)?)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)?)?\Z"
)
"""Dates in ASCII that need no calendar: the strict parser checks the days from 29 to 31, and every other form."""
REQUEST_ID_TEXT = Annotated[str, Meta(min_length=1, max_length=MOST_CHARACTERS)] | UnsetType
NOTHING = Annotated[str, Meta(pattern="(?!)")]  # no text matches this


class FastBodyDecoder:
    """Decodes the ordinary bodies of one schema.

    Args:
        schema: the features.
        most: most instances in a batch.
    """

    def __init__(self, schema: Schema, most: int) -> None:
        self._schema, self._names = schema, schema.names
        try:
            instance = _struct(schema.names, [_field(spec) for spec in schema.features])
        except ValueError:  # msgspec rejects a name that JSON escapes; no ordinary body holds an escape
            instance = NOTHING
        batch = Annotated[list[instance], Meta(min_length=1, max_length=most)]  # type: ignore[valid-type]
        self._single_decoder = msgspec.json.Decoder(_struct(["features"], [(instance, msgspec.NODEFAULT)]))
        self._batch_decoder = msgspec.json.Decoder(_struct(["instances"], [(batch, msgspec.NODEFAULT)]))
        envelope = _struct(["features", REQUEST_ID], [(instance, msgspec.NODEFAULT), (REQUEST_ID_TEXT, UNSET)])
        # A type that exists at run time only, as the one above.
        envelopes = Annotated[list[envelope], Meta(min_length=1, max_length=most)]  # type: ignore[valid-type]
        self._identified_decoder = msgspec.json.Decoder(envelope)
        self._identified_batch_decoder = msgspec.json.Decoder(_struct(["instances"], [(envelopes, msgspec.NODEFAULT)]))
        self._has_envelopes = "features" not in schema.names

    def decode_single(self, content: bytes) -> Row | None:
        """The clean row of `{"features": {...}}`, or None if the body needs the strict parser."""
        try:
            rows, text_count = self._rows([self._single_decoder.decode(content).f0])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        return rows[0] if is_complete(content, text_count) else None

    def decode_batch(self, content: bytes) -> FeatureColumns | None:
        """The clean rows of `{"instances": [...]}`, or None if the body needs the strict parser."""
        try:
            instances = self._batch_decoder.decode(content).f0
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        columns, text_count = self._columns(instances)
        return FeatureColumns(self._schema, columns, len(instances)) if is_complete(content, text_count) else None

    def decode_identified(self, content: bytes) -> tuple[Row, str | None] | None:
        """The clean row and the id of `{"id": ..., "features": {...}}`, or None if the body needs the strict parser."""
        try:
            body = self._identified_decoder.decode(content)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        rows, text_count = self._rows([body.f0])
        if body.f1 is UNSET:
            return (rows[0], None) if is_complete(content, text_count) else None
        return (rows[0], body.f1) if is_complete(content, text_count + 2) and body.f1.isprintable() else None

    def decode_identified_batch(self, content: bytes) -> tuple[list[Row], list[str | None]] | None:
        """The clean rows and ids of a batch whose instances are `{"id": ..., "features": {...}}`, or None."""
        if not self._has_envelopes:
            return None
        try:
            bodies = self._identified_batch_decoder.decode(content).f0
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        return self._identified_rows(bodies, content)

    def _identified_rows(self, bodies: Sequence[Any], content: bytes) -> tuple[list[Row], list[str | None]] | None:
        """The rows and ids of the envelopes of a batch."""
        rows, text_count = self._rows(body.f0 for body in bodies)
        ids = [None if body.f1 is UNSET else body.f1 for body in bodies]
        text_count += len(bodies) + 2 * sum(each is not None for each in ids)
        if not is_complete(content, text_count) or not all(each is None or each.isprintable() for each in ids):
            return None
        return rows, ids

    def _columns(self, instances: Sequence[Struct]) -> tuple[dict[str, Sequence[Any]], int]:
        """The rows by column, and the number of texts in their body."""
        columns: dict[str, Sequence[Any]] = {}
        text_count = 1
        values = zip(*map(msgspec.structs.astuple, instances), strict=True)
        for spec, cells in zip(self._schema.features, values, strict=False):
            column: Sequence[Any] = cells
            text_count += len(cells)
            if spec.omittable and not spec.required:
                text_count -= cells.count(UNSET)
                column = [None if value is UNSET else value for value in cells]
            if spec.type in TEXT_TYPES:
                text_count += len(column) - column.count(None)
            columns[spec.name] = column
        return columns, text_count

    def _rows(self, instances: Iterable[Struct]) -> tuple[list[Row], int]:
        """The rows, and the number of texts in their body: every name and every text value."""
        rows, text_count = [], 1  # the name of the envelope's key
        for instance in instances:
            values = msgspec.structs.astuple(instance)
            kinds = [*map(type, values)]
            absent_count = kinds.count(UnsetType)
            text_count += len(values) - absent_count + kinds.count(str)
            cells = [None if value is UNSET else value for value in values] if absent_count else values
            rows.append(dict(zip(self._names, cells, strict=True)))
        return rows, text_count


def is_complete(content: bytes, text_count: int) -> bool:
    """Whether the body holds just these texts. The decoder keeps the last of a repeated name, which loses texts.

    In a body without an escape, each quote begins or ends a text.
    """
    return content.count(QUOTE) == 2 * text_count and BACKSLASH not in content


def _struct(names: Iterable[str], fields: Iterable[tuple[Any, Any]]) -> Any:
    """A struct type with these fields. Its attributes are numbered, since a feature's name may be no identifier."""
    names_by_attribute = {f"f{number}": name for number, name in enumerate(names)}
    return msgspec.defstruct(
        "Body",
        [(field, kind, default) for field, (kind, default) in zip(names_by_attribute, fields, strict=True)],
        rename=names_by_attribute,
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _field(spec: FeatureSpec) -> tuple[Any, Any]:
    """A feature's type and its default."""
    kind = value_type(spec)
    if spec.required or not spec.omittable:
        return (kind if spec.required else kind | None), msgspec.NODEFAULT
    return kind | None | UnsetType, UNSET


def value_type(spec: FeatureSpec) -> Any:
    """A feature's type for the decoder. JSON numbers are finite, and every database stores text without escapes."""
    match spec.type:
        case FeatureType.NUMERIC:
            return Annotated[float, Meta(ge=spec.minimum, le=spec.maximum)]
        case FeatureType.INTEGER:
            lowest = -LARGEST_INTEGER if spec.minimum is None else max(-LARGEST_INTEGER, math.ceil(spec.minimum))
            highest = LARGEST_INTEGER if spec.maximum is None else min(LARGEST_INTEGER, math.floor(spec.maximum))
            return Annotated[int, Meta(ge=lowest, le=highest)]
        case FeatureType.BOOLEAN:
            return bool
        case FeatureType.DATE if spec.date_format is None:
            return Annotated[str, Meta(max_length=spec.max_length, pattern=PLAIN_DATE)]
        case FeatureType.CATEGORY | FeatureType.TEXT | FeatureType.IDENTIFIER | FeatureType.DATE:
            if spec.categories is None:
                return Annotated[str, Meta(max_length=spec.max_length)]
            categories = tuple(each for each in spec.categories if len(each) <= spec.max_length)
            return Literal[categories] if categories else NOTHING
