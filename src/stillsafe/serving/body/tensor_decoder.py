"""The tensor decoder: decodes and checks an ordinary request of one row in one pass.

As the fast body decoder, it is generated from the schema, accepts only bodies that `tensors` and `Schema.validate`
accept with the same row, and leaves every other body to those two.
"""

from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.serving.body.fast_decoder import is_complete, value_type
from stillsafe.serving.body.tensors import PYTHON_TYPES, InferenceRequest

ONE_ROW = Annotated[list[Literal[1]], Meta(min_length=1, max_length=2)]
"""The shape of a feature's tensor with one row: [1] or [1, 1]."""
INPUT_TEXTS = 6
"""Texts of an input beside its value: four names of members, its own name and its datatype."""


class TensorDecoder:
    """Decodes requests of one row of one schema: an input for each feature, and an id.

    Args:
        schema: the features.
    """

    def __init__(self, schema: Schema) -> None:
        self._specs = schema.features
        self._names: dict[type[Struct], str] = {}
        self._decoder: msgspec.json.Decoder[Any] | None = None
        try:
            kinds = tuple(_input_type(number, spec) for number, spec in enumerate(schema.features))
            any_kind: Any = Union[kinds]  # noqa: UP007 - made at run time
            inputs = Annotated[list[any_kind], Meta(min_length=1, max_length=len(kinds))]
            members: list[tuple[str, Any, Any]] = [
                ("inputs", inputs, msgspec.NODEFAULT),
                ("id", str | UnsetType, UNSET),
            ]
            self._decoder = msgspec.json.Decoder(msgspec.defstruct("Request", members, forbid_unknown_fields=True))
        except (TypeError, ValueError):  # a name, or a type, that msgspec has no decoder for
            return
        self._names = {kind: spec.name for kind, spec in zip(kinds, schema.features, strict=True)}

    def decode_row(self, content: bytes) -> tuple[InferenceRequest, Row] | None:
        """The request, without its inputs, and their clean row; or None if the body needs the strict parser."""
        if self._decoder is None:
            return None
        try:
            body = self._decoder.decode(content)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        names = self._names
        cells = {names[type(each)]: each.data[0] for each in body.inputs}
        text_count = 1 + INPUT_TEXTS * len(body.inputs) + [*map(type, cells.values())].count(str)
        request_id = None if body.id is UNSET else body.id
        text_count += 0 if request_id is None else 2
        if len(cells) < len(body.inputs) or not is_complete(content, text_count):
            return None
        row: Row = {}
        for spec in self._specs:
            if spec.name not in cells and (spec.required or not spec.omittable):
                return None
            row[spec.name] = cells.get(spec.name)
        return InferenceRequest([], request_id), row


def _input_type(number: int, spec: FeatureSpec) -> type[Struct]:
    """The type of a feature's input: its name tells it from the others."""
    kind: Any = value_type(spec)
    kind = kind if spec.required else kind | None
    members = [("shape", ONE_ROW), ("datatype", Literal[_datatypes(spec)]), ("data", tuple[kind])]
    return msgspec.defstruct(
        f"Input{number}", members, tag_field="name", tag=spec.name, forbid_unknown_fields=True, gc=False
    )


def _datatypes(spec: FeatureSpec) -> tuple[str, ...]:
    """The datatypes whose every value is one of the feature's type, as far as the decoder tells them apart."""
    match spec.type:
        case FeatureType.NUMERIC:  # an integer would be decoded as a number with a fraction where it must have none
            own_type: type = float
        case FeatureType.INTEGER:
            own_type = int
        case FeatureType.BOOLEAN:
            own_type = bool
        case _:
            own_type = str
    return tuple(name for name, types in PYTHON_TYPES.items() if own_type in types)
