"""The usual body in one go: never another row than the strict way finds, and none where that finds something wrong."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.schema import LARGEST_INTEGER, FeatureSpec, FeatureType, Row, Schema
from stillsafe.serving.body import instances
from stillsafe.serving.body.fast_decoder import TypedBody
from stillsafe.serving.body.json_body import parse
from stillsafe.serving.problems import RefusedRequest, Wrong

MOST = 4
SCHEMA = Schema(
    (
        FeatureSpec("age", FeatureType.NUMERIC, minimum=0, maximum=120.5),
        FeatureSpec("net worth", FeatureType.NUMERIC, required=False),
        FeatureSpec("class", FeatureType.INTEGER, minimum=-2.5, maximum=99),
        FeatureSpec("visits", FeatureType.INTEGER, required=False),
        FeatureSpec("member", FeatureType.BOOLEAN),
        FeatureSpec("größe", FeatureType.CATEGORY, categories=("S", "XL", "far too long"), max_length=5),
        FeatureSpec("town", FeatureType.CATEGORY, required=False, max_length=8),
    )
)
TYPED = TypedBody(SCHEMA, MOST)
USUAL: Row = {"age": 3.5, "net worth": -1e9, "class": 7, "visits": None, "member": True, "größe": "XL", "town": "Köln"}
LIMITS = st.sampled_from(
    [
        0,
        -0.0,
        120.5,
        120.50001,
        -2,
        -3,
        99,
        100,
        5.0,
        1e22,
        10**30,
        LARGEST_INTEGER,
        LARGEST_INTEGER + 1,
        "XL",
        "",
        "\0",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | LIMITS
texts = st.sampled_from([*SCHEMA.names, "features", "more"]) | st.text(max_size=4)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2))
proper = {
    "age": st.floats(0, 120.5) | st.integers(0, 120),
    "net worth": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    "class": st.integers(-2, 99),
    "visits": st.none() | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER),
    "member": st.booleans(),
    "größe": st.sampled_from(["S", "XL"]),
    "town": st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='\\"'), max_size=8),
}
rows = st.fixed_dictionaries(proper)
doubtful = st.fixed_dictionaries({name: usual | values for name, usual in proper.items()})


@st.composite
def objects(draw: st.DrawFn, name: str, inner: str) -> str:
    """JSON text of an object, its names perhaps given twice, escaped, left out, or in company."""
    pairs = [f"{json.dumps(name, ensure_ascii=draw(st.booleans()))}:{inner}"]
    if draw(st.integers(0, 4)) == 0:
        pairs += draw(st.lists(st.sampled_from([*pairs, '"more":1', '"features":{}', '"town":"x"']), max_size=2))
    return "{" + ",".join(draw(st.permutations(pairs))) + "}"


@st.composite
def instance_texts(draw: st.DrawFn) -> str:
    """JSON text of an instance that may or may not be fine."""
    escaped = draw(st.booleans())
    row = draw(rows | doubtful)
    pairs = [f"{json.dumps(name, ensure_ascii=escaped)}: {json.dumps(row[name], ensure_ascii=escaped)}" for name in row]
    change = draw(st.sampled_from(["none", "none", "twice", "without", "more"]))
    place = draw(st.integers(0, len(pairs) - 1))
    if change == "twice":
        pairs.append(pairs[place])
    elif change == "without":
        del pairs[place]
    elif change == "more":
        pairs.append(f"{json.dumps(draw(texts))}:{json.dumps(draw(scalars))}")
    return "{" + ", ".join(pairs) + "}"


def _strictly(read: Any, content: bytes) -> Any:
    try:
        return read(parse(content))
    except RefusedRequest as refused:
        return refused.problem.violations


def _row(document: Any) -> Row | tuple[Wrong, ...]:
    return instances.one(SCHEMA, document)


def _rows(document: Any) -> list[Row | tuple[Wrong, ...]]:
    return [instances.row(SCHEMA, each) for each in instances.many(document, MOST)]


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(content=instance_texts().flatmap(lambda inner: objects("features", inner)))
def test_one_is_read_as_the_strict_way_reads_it(content: str) -> None:
    """Value by value and type by type, or not at all."""
    body = content.encode("utf-8", "surrogatepass")
    found = TYPED.one(body)
    if found is not None:
        assert repr(found) == repr(_strictly(_row, body))


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    content=st.lists(instance_texts(), max_size=MOST + 1)
    .map(",".join)
    .flatmap(lambda i: objects("instances", f"[{i}]"))
)
def test_many_are_read_as_the_strict_way_reads_them(content: str) -> None:
    """All of them, in order, or none."""
    body = content.encode("utf-8", "surrogatepass")
    found = TYPED.many(body)
    if found is not None:
        assert repr(found) == repr(_strictly(_rows, body))


@settings(max_examples=500, deadline=None, derandomize=True)
@given(content=st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE+-tfn \\u', max_size=60).map(str.encode))
def test_what_is_hardly_json_is_left_to_the_strict_way(content: bytes) -> None:
    """Whatever the bytes, nothing is raised."""
    assert TYPED.one(content) is None
    assert TYPED.many(content) is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(row=rows, left_out=st.sets(st.sampled_from(["net worth", "visits", "town"])))
def test_a_proper_body_is_read(row: Row, left_out: set[str]) -> None:
    """With what need not be there left out, too."""
    given = {name: value for name, value in row.items() if name not in left_out}
    body = json.dumps({"features": given}, ensure_ascii=False).encode()
    found = TYPED.one(body)
    assert found is not None
    assert list(found) == list(SCHEMA.names)
    assert TYPED.many(json.dumps({"instances": [given] * MOST}, ensure_ascii=False).encode()) == [found] * MOST


@pytest.mark.parametrize(
    "change",
    [
        '"age": 4',
        '"town": null',
        '"town": "Bonn"',
        '"more": 1',
        '"features": {}',
    ],
)
def test_a_name_given_twice_or_unknown_is_never_read(change: str) -> None:
    """The decoder would keep the last of two."""
    inside = json.dumps(USUAL, ensure_ascii=False)
    assert TYPED.one(f'{{"features": {inside}}}'.encode()) == USUAL
    assert TYPED.one(f'{{"features": {inside[:-1]}, {change}}}}}'.encode()) is None
    assert TYPED.one(f'{{"features": {inside}, {change}}}'.encode()) is None


@pytest.mark.parametrize("name", ['a "b"', "a\\b", "a\tb"])
def test_a_name_that_json_escapes_is_left_to_the_strict_way(name: str) -> None:
    """A data frame's columns may be called anything."""
    schema = Schema((FeatureSpec(name, FeatureType.NUMERIC, required=False), FeatureSpec("b", FeatureType.NUMERIC)))
    typed = TypedBody(schema, 1)
    for body in ({name: 1, "b": 2}, {"b": 2}):
        assert typed.one(json.dumps({"features": body}).encode()) is None
        assert typed.many(json.dumps({"instances": [body]}).encode()) is None


def test_a_category_that_is_too_long_to_be_sent_is_never_read() -> None:
    """Though it is among the categories accepted."""
    schema = Schema((FeatureSpec("a", FeatureType.CATEGORY, categories=("long",), max_length=2),))
    assert TypedBody(schema, 1).one(b'{"features": {"a": "long"}}') is None
    assert TypedBody(schema, 1).one(b'{"features": {"a": ""}}') is None
