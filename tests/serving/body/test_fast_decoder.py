"""The fast body decoder: never another row than the strict parser gives, and none for a body that it refuses."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.schema import LARGEST_INTEGER, FeatureSpec, FeatureType, Row, Schema, Violation
from stillsafe.serving.body import instances
from stillsafe.serving.body.fast_decoder import PLAIN_DATE, FastBodyDecoder
from stillsafe.serving.body.json_body import parse
from stillsafe.serving.problems import RefusedRequest

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
        FeatureSpec("title", FeatureType.TEXT, required=False, max_length=8),
        FeatureSpec("order", FeatureType.IDENTIFIER, required=False, max_length=8),
        FeatureSpec("day", FeatureType.DATE, required=False, max_length=40),
    )
)
DECODER = FastBodyDecoder(SCHEMA, MOST)
ORDINARY: Row = {
    "age": 3.5,
    "net worth": -1e9,
    "class": 7,
    "visits": None,
    "member": True,
    "größe": "XL",
    "town": "Köln",
    "title": "ein Haus",
    "order": "A-17",
    "day": "2026-01-28",
}
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
times = st.datetimes(timezones=st.none() | st.timezones(), allow_imaginary=False)
written_times = (times | st.dates()).map(str) | times.map(lambda time: time.isoformat())
written_dates = written_times | st.from_regex(PLAIN_DATE) | st.sampled_from(["2026-02-29", "2024-02-29", "0000-01-01"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | LIMITS
texts = st.sampled_from([*SCHEMA.names, "features", "more"]) | st.text(max_size=4)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2))
plain_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='\\"'), max_size=8)
valid_values = {
    "age": st.floats(0, 120.5) | st.integers(0, 120),
    "net worth": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    "class": st.integers(-2, 99),
    "visits": st.none() | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER),
    "member": st.booleans(),
    "größe": st.sampled_from(["S", "XL"]),
    "town": st.none() | plain_texts,
    "title": st.none() | plain_texts,
    "order": st.none() | plain_texts,
    "day": st.none() | st.dates().map(str).filter(lambda day: int(day[-2:]) < 29),
}
rows = st.fixed_dictionaries(valid_values)
doubtful_rows = st.fixed_dictionaries(
    {name: valid | values for name, valid in valid_values.items()} | {"day": written_dates | values}
)


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
    ascii_only = draw(st.booleans())
    row = draw(rows | doubtful_rows)
    pairs = [
        f"{json.dumps(name, ensure_ascii=ascii_only)}: {json.dumps(row[name], ensure_ascii=ascii_only)}" for name in row
    ]
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


def _row(document: Any) -> Row | tuple[Violation, ...]:
    return instances.check_single(SCHEMA, document)


def _rows(document: Any) -> list[Row | tuple[Violation, ...]]:
    return [instances.check_instance(SCHEMA, each) for each in instances.batch_instances(document, MOST)]


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(content=instance_texts().flatmap(lambda inner: objects("features", inner)))
def test_a_single_row_is_the_strict_parsers(content: str) -> None:
    """Value by value and type by type, or there is none."""
    body = content.encode("utf-8", "surrogatepass")
    row = DECODER.decode_single(body)
    if row is not None:
        assert repr(row) == repr(_strictly(_row, body))
    identified_row = DECODER.decode_identified(body)
    if identified_row is not None:
        assert repr(identified_row) == repr(_strictly(lambda each: (_row(each), instances.request_id_of(each)), body))


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    content=st.lists(instance_texts(), max_size=MOST + 1)
    .map(",".join)
    .flatmap(lambda i: objects("instances", f"[{i}]"))
)
def test_a_batchs_rows_are_the_strict_parsers(content: str) -> None:
    """All of them, in order, or none."""
    body = content.encode("utf-8", "surrogatepass")
    row: Any = DECODER.decode_batch(body)
    row = None if row is None else [*row]
    if row is not None:
        assert repr(row) == repr(_strictly(_rows, body))


@settings(max_examples=500, deadline=None, derandomize=True)
@given(content=st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE+-tfn \\u', max_size=60).map(str.encode))
def test_what_is_hardly_json_is_not_decoded(content: bytes) -> None:
    """Whatever the bytes, no error is raised."""
    assert DECODER.decode_single(content) is None
    assert DECODER.decode_batch(content) is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(row=rows, left_out=st.sets(st.sampled_from(["net worth", "visits", "town"])))
def test_a_valid_body_is_decoded(row: Row, left_out: set[str]) -> None:
    """With or without its optional features."""
    features = {name: value for name, value in row.items() if name not in left_out}
    body = json.dumps({"features": features}, ensure_ascii=False).encode()
    decoded_row = DECODER.decode_single(body)
    assert decoded_row is not None
    assert list(decoded_row) == list(SCHEMA.names)
    batch = json.dumps({"instances": [features] * MOST}, ensure_ascii=False).encode()
    assert [*(DECODER.decode_batch(batch) or [])] == [decoded_row] * MOST


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
def test_a_body_with_a_repeated_or_unknown_name_is_not_decoded(change: str) -> None:
    """The decoder would keep the last of two."""
    inside = json.dumps(ORDINARY, ensure_ascii=False)
    assert DECODER.decode_single(f'{{"features": {inside}}}'.encode()) == ORDINARY
    assert DECODER.decode_single(f'{{"features": {inside[:-1]}, {change}}}}}'.encode()) is None
    assert DECODER.decode_single(f'{{"features": {inside}, {change}}}'.encode()) is None


@pytest.mark.parametrize("name", ['a "b"', "a\\b", "a\tb"])
def test_a_name_that_json_escapes_is_not_decoded(name: str) -> None:
    """A data frame's columns may have any name."""
    schema = Schema((FeatureSpec(name, FeatureType.NUMERIC, required=False), FeatureSpec("b", FeatureType.NUMERIC)))
    decoder = FastBodyDecoder(schema, 1)
    for body in ({name: 1, "b": 2}, {"b": 2}):
        assert decoder.decode_single(json.dumps({"features": body}).encode()) is None
        assert decoder.decode_batch(json.dumps({"instances": [body]}).encode()) is None


def test_a_category_over_the_length_limit_is_not_decoded() -> None:
    """Even if it is among the accepted categories."""
    schema = Schema((FeatureSpec("a", FeatureType.CATEGORY, categories=("long",), max_length=2),))
    assert FastBodyDecoder(schema, 1).decode_single(b'{"features": {"a": "long"}}') is None
    assert FastBodyDecoder(schema, 1).decode_single(b'{"features": {"a": ""}}') is None


id_texts = st.none() | st.text(max_size=5) | st.sampled_from(["a", "x" * 200, "x" * 201, "\n", "\x7f"]) | st.integers()


@settings(max_examples=500, deadline=None, derandomize=True)
@given(content=instance_texts(), value=id_texts, ascii_only=st.booleans(), first=st.booleans())
def test_an_identified_row_is_the_strict_parsers(content: str, value: object, ascii_only: bool, first: bool) -> None:
    """Alone and in a batch: row and id, or nothing."""
    pairs = [f'"id": {json.dumps(value, ensure_ascii=ascii_only)}', f'"features": {content}']
    text = "{" + ", ".join(pairs if first else pairs[::-1]) + "}"
    body = text.encode("utf-8", "surrogatepass")
    single = DECODER.decode_identified(body)
    if single is not None:
        assert repr(single) == repr(_strictly(lambda each: (_row(each), instances.request_id_of(each)), body))
    batch = f'{{"instances": [{text}, {{"features": {content}}}]}}'.encode("utf-8", "surrogatepass")
    rows = DECODER.decode_identified_batch(batch)
    if rows is not None:
        features, ids = instances.split_envelopes(SCHEMA, parse(batch)["instances"])
        assert repr(rows) == repr(([instances.check_instance(SCHEMA, each) for each in features], ids))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(row=rows, value=st.text(alphabet="abc #-ü", min_size=1, max_size=200))
def test_a_valid_identified_body_is_decoded(row: Row, value: str) -> None:
    """So that requests with ids are as fast."""
    body = {"id": value, "features": row}
    identified_row = DECODER.decode_identified(json.dumps(body, ensure_ascii=False).encode())
    assert identified_row == (row, value)
    batch = json.dumps({"instances": [body, {"features": row}]}, ensure_ascii=False).encode()
    assert DECODER.decode_identified_batch(batch) == ([row, row], [value, None])
