"""Tensors of the Open Inference Protocol (version 2): from a request's inputs to the features of its rows.

The inputs are columns, one tensor of shape [rows] or [rows, 1] per feature, or one tensor of shape [rows, features] in
the order of the schema. Their data is JSON, or binary behind the JSON, as the protocol's extension has it.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from stillsafe.core.schema import FeatureSpec, FeatureType, Schema, Violation
from stillsafe.core.text import display_name
from stillsafe.serving.problems import RefusedRequest, problem, schema_problem

BINARY_SIZE = "binary_data_size"
"""Parameter of an input: the bytes of its data behind the JSON."""
_TEXT, _FLAG, _WHOLE, _REAL = frozenset({str}), frozenset({bool}), frozenset({int}), frozenset({int, float})
_BINARY_TYPES = {
    "BOOL": "?",
    **{f"{sign}INT{8 * size}": f"<{letter}{size}" for sign, letter in (("", "i"), ("U", "u")) for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
"""Datatype -> NumPy's name of its binary form; that of BYTES has no fixed size."""
PYTHON_TYPES = {
    "BYTES": _TEXT,
    "BOOL": _FLAG,
    **{name: _WHOLE for name in _BINARY_TYPES if "INT" in name},
    **{name: _REAL for name in _BINARY_TYPES if name.startswith("FP")},
}
"""Datatype -> the Python types of its data in JSON."""
DATATYPES = {FeatureType.NUMERIC: "FP64", FeatureType.INTEGER: "INT64", FeatureType.BOOLEAN: "BOOL"}
"""Feature type -> datatype in the model's metadata; texts are BYTES."""
REQUEST_CODECS, INPUT_CODECS = ("pd", "np"), ("str", "np", "datetime")
"""Content types that change nothing about how the data is read."""
QUOTE, BACKSLASH = b'"', b"\\"
_Size = Annotated[int, Meta(ge=0)]
_Plain = bool | int | float | str | None
_CELL_TYPES = frozenset((bool, int, float, str, type(None)))


class TensorInput(Struct):
    """One input."""

    name: str
    shape: Annotated[list[_Size], Meta(min_length=1, max_length=2)]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] | None = None


class OutputName(Struct):
    """An output that the client wants."""

    name: str


class InferenceRequest(Struct):
    """A request of the protocol."""

    inputs: Annotated[list[TensorInput], Meta(min_length=1)]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[OutputName] | None = None


class _PlainInput(Struct, forbid_unknown_fields=True):
    """An input in a body that is read in one pass."""

    name: str
    shape: Annotated[list[_Size], Meta(min_length=1, max_length=2)]
    datatype: str
    data: list[Any] | UnsetType = UNSET
    parameters: dict[str, _Plain] | UnsetType = UNSET


class _PlainRequest(Struct, forbid_unknown_fields=True):
    """A request in a body that is read in one pass."""

    inputs: Annotated[list[_PlainInput], Meta(min_length=1)]
    id: str | UnsetType = UNSET
    parameters: dict[str, _Plain] | UnsetType = UNSET


_decode_plain = msgspec.json.Decoder(_PlainRequest).decode


def plain_request(content: bytes) -> InferenceRequest | None:
    """The request in an ordinary body, or None if the body needs the strict parser.

    As in `fast_decoder`, a body counts as read only if it has no escape and as many quotes as its texts have.
    """
    if BACKSLASH in content:
        return None
    try:
        request = _decode_plain(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    text_count = 1 + _text_count(request)
    for each in request.inputs:
        text_count += 5 + _text_count(each)
        if each.data is not UNSET:
            kinds = [*map(type, each.data)]
            if not _CELL_TYPES.issuperset(kinds):
                return None
            text_count += 1 + kinds.count(str)
    if content.count(QUOTE) != 2 * text_count:
        return None
    inputs = [
        TensorInput(each.name, each.shape, each.datatype, _or_none(each.data), _or_none(each.parameters))
        for each in request.inputs
    ]
    result = InferenceRequest(inputs, _or_none(request.id), _or_none(request.parameters))
    _require_codecs(result)
    return result


def _or_none(value: Any) -> Any:
    return None if value is UNSET else value


def _text_count(part: Any) -> int:
    """The names and texts of the members that a request and an input may lack."""
    count = 0
    if part.parameters is not UNSET:
        count += 1 + len(part.parameters) + sum(isinstance(each, str) for each in part.parameters.values())
    if isinstance(part, _PlainRequest) and part.id is not UNSET:
        count += 2
    return count


def inference_request(document: object) -> InferenceRequest:
    """The request in a document.

    Raises:
        RefusedRequest: 422 for a document that is none.
    """
    try:
        request = msgspec.convert(document, InferenceRequest)
    except msgspec.ValidationError as error:
        cause, _, place = str(error).partition(" - at ")
        name = display_name(place.strip("`").removeprefix("$.") or "body")
        raise RefusedRequest(schema_problem([Violation(name, "wrong_type", cause, "see /docs")])) from None
    _require_codecs(request)
    return request


def _require_codecs(request: InferenceRequest) -> None:
    _require_codec(request.parameters, "parameters", REQUEST_CODECS)
    for each in request.inputs:
        _require_codec(each.parameters, display_name(each.name), INPUT_CODECS)


def datatype_of(spec: FeatureSpec) -> str:
    """The datatype of a feature in the model's metadata."""
    return DATATYPES.get(spec.type, "BYTES")


def columns_of(schema: Schema, request: InferenceRequest, binary: bytes, most: int) -> dict[str, list[Any]]:
    """Input name -> its value in each row, not yet checked. NaN is a missing value, since a tensor has no other.

    Args:
        schema: the features.
        request: its inputs.
        binary: what stands behind the JSON.
        most: most rows.

    Raises:
        RefusedRequest: 422 for inputs that do not fit each other, 413 for too many rows.
    """
    row_count = request.inputs[0].shape[0]
    if row_count > most:
        violation = Violation("inputs", "too_many", f"{row_count} rows are too many", f"at most {most} rows")
        raise RefusedRequest(problem(413, f"A request must not hold more than {most} rows.", [violation]))
    if row_count == 0:
        raise _wrong(request.inputs[0], "it has no row", f"a shape of [N, 1] with N from 1 to {most}")
    names = [each.name for each in request.inputs]
    if twin := next((each for each in request.inputs if names.count(each.name) > 1), None):
        raise _wrong(twin, "given more than once", "once")
    values = _values_of(request.inputs, binary)
    (first, *others), width = request.inputs, len(schema.names)
    if not others and first.shape == [row_count, width] and first.name not in schema.names:
        return {name: values[first.name][place::width] for place, name in enumerate(schema.names)}
    for each in request.inputs:
        if each.shape not in ([row_count], [row_count, 1]):
            raise _wrong(each, f"the shape {each.shape} does not fit", f"[{row_count}, 1], as the other inputs")
    return values


def _values_of(inputs: Sequence[TensorInput], binary: bytes) -> dict[str, list[Any]]:
    """Input name -> its values in row-major order, None for NaN."""
    values, offset = {}, 0
    for each in inputs:
        size = (each.parameters or {}).get(BINARY_SIZE)
        if each.datatype not in PYTHON_TYPES:
            raise _wrong(each, "no datatype of the protocol", ", ".join(PYTHON_TYPES))
        if size is None:
            cells = _json_values(each)
        else:
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary) - offset:
                raise _wrong(each, f"its {BINARY_SIZE} does not fit the body", "the bytes behind the JSON")
            cells = _binary_values(each, binary[offset : offset + size])
            offset += size
        if len(cells) != prod(each.shape):
            raise _wrong(each, f"{len(cells)} values for the shape {each.shape}", "as many as its shape has")
        values[each.name] = cells
    if offset != len(binary):
        raise _wrong(inputs[-1], "bytes of no input follow", "no byte behind the last input")
    return values


def _json_values(tensor: TensorInput) -> list[Any]:
    cells = tensor.data
    if not isinstance(cells, list):
        raise _wrong(tensor, "it has no data", "an array")
    if cells and all(isinstance(each, list) for each in cells):
        cells = [*chain.from_iterable(cells)]
    kinds = PYTHON_TYPES[tensor.datatype]
    if not kinds.issuperset({*map(type, cells)} - {type(None)}):
        raise _wrong(tensor, f"its data is no {tensor.datatype}", "data of its datatype")
    return _without_nan(cells) if kinds is _REAL else cells


def _binary_values(tensor: TensorInput, content: bytes) -> list[Any]:
    try:
        if tensor.datatype == "BYTES":
            return _texts(content)
        cells = np.frombuffer(content, _BINARY_TYPES[tensor.datatype]).tolist()
    except ValueError:
        raise _wrong(tensor, f"its bytes are no {tensor.datatype}", "little-endian data of its datatype") from None
    return _without_nan(cells) if PYTHON_TYPES[tensor.datatype] is _REAL else cells


def _texts(content: bytes) -> list[str]:
    """Texts in UTF-8, each behind its length in four bytes.

    Raises:
        ValueError: they are none.
    """
    texts, at = [], 0
    while at < len(content):
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        if end > len(content):
            raise ValueError("a text is cut off")
        texts.append(content[at + 4 : end].decode())
        at = end
    return texts


def _without_nan(cells: Sequence[Any]) -> list[Any]:
    return [None if cell != cell else cell for cell in cells]


def _require_codec(parameters: Mapping[str, Any] | None, place: str, codecs: Sequence[str]) -> None:
    codec = (parameters or {}).get("content_type")
    if codec is not None and codec not in codecs:
        violation = Violation(place, "not_allowed", "a content type that is not supported", ", ".join(codecs))
        raise RefusedRequest(schema_problem([violation]))


def _wrong(tensor: TensorInput, defect: str, allowed: str) -> RefusedRequest:
    return RefusedRequest(schema_problem([Violation(display_name(tensor.name), "wrong_tensor", defect, allowed)]))
