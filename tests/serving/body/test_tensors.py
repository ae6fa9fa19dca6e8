"""Tensors become the features of rows, or a refusal that names the input."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.serving.body.json_body import parse
from stillsafe.serving.body.tensors import columns_of, datatype_of, inference_request, plain_request
from stillsafe.serving.problems import RefusedRequest

SCHEMA = Schema(
    (
        FeatureSpec("age", FeatureType.NUMERIC, required=False),
        FeatureSpec("town", FeatureType.CATEGORY),
        FeatureSpec("member", FeatureType.BOOLEAN),
    )
)
NUMBERS = Schema((FeatureSpec("a", FeatureType.NUMERIC), FeatureSpec("b", FeatureType.INTEGER)))
AGE = {"name": "age", "shape": [2, 1], "datatype": "FP64", "data": [1.5, None]}
TOWN = {"name": "town", "shape": [2], "datatype": "BYTES", "data": ["Ulm", "Bonn"]}
MEMBER = {"name": "member", "shape": [2, 1], "datatype": "BOOL", "data": [[True], [False]]}
ROWS = [{"age": 1.5, "town": "Ulm", "member": True}, {"age": None, "town": "Bonn", "member": False}]


def _features(*inputs: Any, schema: Schema = SCHEMA, binary: bytes = b"", **fields: Any) -> Any:
    columns = columns_of(schema, inference_request({"inputs": [*inputs], **fields}), binary, 10)
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def test_columns_become_rows() -> None:
    """Of shape [rows] or [rows, 1], with flat or nested data, in any order."""
    assert _features(AGE, TOWN, MEMBER) == ROWS
    assert _features(MEMBER, TOWN, AGE, parameters={"content_type": "pd"}, id="7") == ROWS


def test_one_tensor_has_all_features_in_the_order_of_the_schema() -> None:
    """Unless its name is a feature's."""
    data = [[1.0, 2.0], [3.0, float("nan")]]
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": data}
    assert _features(tensor, schema=NUMBERS) == [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": None}]
    with pytest.raises(RefusedRequest, match="at: a"):
        _features({**tensor, "name": "a"}, schema=NUMBERS)


@pytest.mark.parametrize(
    ("datatype", "kind", "values"),
    [
        ("FP32", "<f4", [1.5, -2.0]),
        ("FP16", "<f2", [1.5, float("nan")]),
        ("FP64", "<f8", [0.1, 2.0]),
        *((f"INT{size}", f"<i{size // 8}", [-1, 7]) for size in (8, 16, 32, 64)),
        *((f"UINT{size}", f"<u{size // 8}", [1, 7]) for size in (8, 16, 32, 64)),
        ("BOOL", "?", [True, False]),
    ],
)
def test_binary_data_stands_behind_the_json(datatype: str, kind: str, values: list[Any]) -> None:
    """Each input has its bytes, in order; the rest may be JSON."""
    content = np.array(values, kind).tobytes()
    texts = b"".join(len(text).to_bytes(4, "little") + text for text in ("Köln".encode(), b""))
    rows = _features(
        {"name": "age", "shape": [2], "datatype": datatype, "parameters": {"binary_data_size": len(content)}},
        {**TOWN, "data": None, "parameters": {"binary_data_size": len(texts)}},
        MEMBER,
        binary=content + texts,
    )
    assert [row["age"] for row in rows] == [None if value != value else value for value in values]
    assert [row["town"] for row in rows] == ["Köln", ""]


BINARY = {"name": "age", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}


@pytest.mark.parametrize(
    ("inputs", "fields"),
    [
        ([], {}),
        ([{**AGE, "datatype": "FP65"}], {}),
        ([{**AGE, "shape": [3, 1]}], {}),
        ([{**AGE, "shape": [2, 2]}], {}),
        ([{**AGE, "shape": []}], {}),
        ([{**AGE, "shape": [-2]}], {}),
        ([{**AGE, "shape": [0], "data": []}], {}),
        ([{**AGE, "shape": [2, 1, 1]}], {}),
        ([{**AGE, "data": ["a", "b"]}], {}),
        ([{**AGE, "data": [True, False]}], {}),
        ([{**TOWN, "data": [1, 2]}], {}),
        ([{**AGE, "data": 7}], {}),
        ([{**AGE, "data": [[1.0], 2.0]}], {}),
        ([AGE, AGE], {}),
        ([AGE, {**TOWN, "shape": [1], "data": ["Ulm"]}], {}),
        ([{**AGE, "name": 7}], {}),
        ([{**TOWN, "parameters": {"content_type": "base64"}}], {}),
        ([AGE], {"parameters": {"content_type": "hg"}}),
        ([{**BINARY, "parameters": {"binary_data_size": 17}}], {}),
        ([{**BINARY, "parameters": {"binary_data_size": 15}}], {}),
        ([{**BINARY, "parameters": {"binary_data_size": True}}], {}),
        ([{**BINARY, "parameters": {"binary_data_size": -1}}], {}),
        ([{**BINARY, "datatype": "BYTES"}], {}),
        ([AGE], {}),
    ],
)
def test_what_does_not_fit_is_refused(inputs: list[Any], fields: dict[str, Any]) -> None:
    """With 422 and a violation; sixteen bytes that no input claims are among it."""
    with pytest.raises(RefusedRequest) as refusal:
        columns_of(SCHEMA, inference_request({"inputs": inputs, **fields}), b"\xff" * 16, 10)
    assert refusal.value.problem.status == 422
    assert refusal.value.problem.violations


def test_too_many_rows_are_refused_before_they_are_read() -> None:
    """With 413, whatever the data is."""
    with pytest.raises(RefusedRequest) as refusal:
        _features({**AGE, "shape": [10**12, 1]})
    assert refusal.value.problem.status == 413


@pytest.mark.parametrize("document", [None, [], 7, {}, {"inputs": {}}, {"inputs": [7]}])
def test_another_document_is_refused(document: Any) -> None:
    """Whatever it is."""
    with pytest.raises(RefusedRequest):
        inference_request(document)


def test_datatypes_follow_the_schema() -> None:
    """Texts are BYTES."""
    assert [datatype_of(spec) for spec in SCHEMA.features] == ["FP64", "BYTES", "BOOL"]


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
PARAMETERS = st.dictionaries(st.sampled_from(["content_type", "a", ""]), CELLS | st.just("str"), max_size=2)
INPUTS = st.fixed_dictionaries(
    {"name": st.text(max_size=3), "shape": st.lists(st.integers(-1, 3), max_size=3), "datatype": st.text(max_size=3)},
    optional={
        "data": st.none() | st.lists(CELLS, max_size=3) | st.lists(st.lists(CELLS, max_size=2), max_size=2),
        "parameters": st.none() | PARAMETERS,
        "more": CELLS,
    },
)
REQUESTS: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"inputs": st.lists(INPUTS, max_size=2)},
    optional={"id": st.none() | st.text(max_size=3), "parameters": PARAMETERS, "outputs": st.just([]), "x": CELLS},
)


def _outcome(read: Any) -> Any:
    try:
        return repr(read())
    except RefusedRequest as refusal:
        return refusal.problem


@settings(max_examples=150, deadline=None)
@given(REQUESTS, st.sampled_from(["", '{"inputs":', '"name":', "[", "}", "1", '"a"']), st.integers(0, 200))
def test_an_ordinary_body_is_read_as_by_the_strict_parser(document: Any, extra: str, place: int) -> None:
    """Or not at all; also with a piece of JSON put in anywhere, such as a key that is there already."""
    text = json.dumps(document, ensure_ascii=False)
    content = (text[:place] + extra + text[place:]).encode(errors="surrogatepass")
    outcome = _outcome(lambda: plain_request(content))
    assert outcome == "None" or outcome == _outcome(lambda: inference_request(parse(content)))


def test_repeated_names_are_left_to_the_strict_parser() -> None:
    """The decoder keeps the last of them."""
    plain = b'{"inputs":[{"name":"age","shape":[1],"datatype":"FP64","data":[1.5]}],"id":"7"}'
    assert plain_request(plain) == inference_request(parse(plain))
    assert plain_request(plain.replace(b'"id":"7"', b'"id":"7","id":"8"')) is None
    assert plain_request(plain.replace(b'"data":[1.5]', b'"data":[1.5],"data":[2.5]')) is None
