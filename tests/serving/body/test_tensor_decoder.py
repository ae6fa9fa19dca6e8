"""The tensor decoder: never another row than the strict parser gives, and none for a body that it refuses."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.serving.body import instances
from stillsafe.serving.body.json_body import parse
from stillsafe.serving.body.tensor_decoder import TensorDecoder
from stillsafe.serving.body.tensors import PYTHON_TYPES, columns_of, datatype_of, inference_request
from stillsafe.serving.problems import RefusedRequest
from tests.serving.body.test_fast_decoder import ORDINARY, SCHEMA, doubtful_rows, rows, values

DECODER = TensorDecoder(SCHEMA)
DATATYPES = {spec.name: datatype_of(spec) for spec in SCHEMA.features}


def _inputs(row: Mapping[str, object]) -> list[dict[str, Any]]:
    return [{"name": name, "shape": [1, 1], "datatype": DATATYPES[name], "data": [row[name]]} for name in row]


@st.composite
def requests(draw: st.DrawFn) -> str:
    """JSON text of a request of one row that may or may not be fine."""
    row = draw(rows | doubtful_rows)
    inputs = draw(st.permutations(_inputs(row)))
    place = draw(st.integers(0, len(inputs) - 1))
    change = draw(st.sampled_from(["none", "none", "twice", "without", "member", "more"]))
    if change == "twice":
        inputs.append(draw(st.sampled_from(inputs)))
    elif change == "without":
        del inputs[place]
    elif change == "member":
        datatypes, shapes = st.sampled_from([*PYTHON_TYPES]), st.sampled_from([[1], [1, 1], [2], [1, 1, 1], [0], []])
        data = st.lists(values, max_size=2)
        options = {
            "datatype": datatypes,
            "shape": shapes,
            "data": data,
            "name": st.text(max_size=3),
            "parameters": values,
        }
        key = draw(st.sampled_from([*options]))
        inputs[place] = {**inputs[place], key: draw(options[key])}
    document: dict[str, Any] = {"inputs": inputs}
    if draw(st.booleans()):
        document["id"] = draw(st.text(max_size=3) | st.none() | st.integers())
    if change == "more":
        document[draw(st.sampled_from(["outputs", "synthetic", "parameters"]))] = draw(values)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 4)) == 0:
        repetition = draw(st.sampled_from(['"shape": [1]', '"datatype": "FP64"', '"name": "age"', '"data": [1]']))
        text = text.replace('"name":', f'{repetition}, "name":', 1)
    return text


def _strictly(body: bytes) -> tuple[str | None, list[Any]] | None:
    try:
        request = inference_request(parse(body))
        columns = columns_of(SCHEMA, request, b"", 10)
    except RefusedRequest:
        return None
    row_list = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return request.id, instances.check_instances(SCHEMA, row_list, len(body))


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(content=requests())
def test_a_row_is_the_strict_parsers(content: str) -> None:
    """Value by value and type by type, with its id, or there is none."""
    body = content.encode("utf-8", "surrogatepass")
    result = DECODER.decode_row(body)
    if result is not None:
        request, row = result
        assert repr((request.id, [row])) == repr(_strictly(body))
        assert request.outputs is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    row=rows, left_out=st.sets(st.sampled_from(["net worth", "visits", "town"])), request_id=st.none() | st.just("7")
)
def test_a_valid_request_is_decoded(row: Row, left_out: set[str], request_id: str | None) -> None:
    """With or without its optional features and its id."""
    inputs = _inputs({name: value for name, value in row.items() if name not in left_out})
    document = {"inputs": inputs, **({} if request_id is None else {"id": request_id})}
    result = DECODER.decode_row(json.dumps(document, ensure_ascii=False).encode())
    assert result is not None
    assert result[0].id == request_id
    assert [*result[1]] == [*SCHEMA.names]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(content=st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE+-tfn \\u', max_size=60).map(str.encode))
def test_what_is_hardly_json_is_not_decoded(content: bytes) -> None:
    """Whatever the bytes, no error is raised."""
    assert DECODER.decode_row(content) is None


@pytest.mark.parametrize("count", [1, 300])
def test_schemas_of_any_width_are_decoded(count: int) -> None:
    """One feature, where nothing tells inputs apart, and many."""
    schema = Schema(tuple(FeatureSpec(f"f{i}", FeatureType.NUMERIC) for i in range(count)))
    row = dict.fromkeys(schema.names, 0.5)
    inputs = [{"name": name, "shape": [1], "datatype": "FP32", "data": [0.5]} for name in row]
    decoder = TensorDecoder(schema)
    result = decoder.decode_row(json.dumps({"inputs": inputs}).encode())
    assert result is not None
    assert result[1] == row
    del inputs[0]["name"]
    assert decoder.decode_row(json.dumps({"inputs": inputs}).encode()) is None


def test_a_feature_that_a_request_must_name_is_not_left_out() -> None:
    """Although it may be null."""
    schema = Schema(
        (FeatureSpec("a", FeatureType.NUMERIC), FeatureSpec("b", FeatureType.NUMERIC, required=False, omittable=False))
    )
    inputs = [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}]
    assert TensorDecoder(schema).decode_row(json.dumps({"inputs": inputs}).encode()) is None
    inputs.append({"name": "b", "shape": [1], "datatype": "FP64", "data": [None]})
    assert TensorDecoder(schema).decode_row(json.dumps({"inputs": inputs}).encode()) is not None


@pytest.mark.parametrize("name", ['a "b"', "a\\b", "a\tb"])
def test_a_name_that_json_escapes_is_not_decoded(name: str) -> None:
    """The strict parser reads it."""
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [1]}]
    schema = Schema((FeatureSpec(name, FeatureType.NUMERIC),))
    assert TensorDecoder(schema).decode_row(json.dumps({"inputs": inputs}).encode()) is None
    assert DECODER.decode_row(json.dumps({"inputs": _inputs(ORDINARY)}).encode()) is None  # of texts with escapes
    assert DECODER.decode_row(json.dumps({"inputs": _inputs(ORDINARY)}, ensure_ascii=False).encode()) is not None
