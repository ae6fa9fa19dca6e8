"""What a client asks about: clean rows, or everything that is wrong with them."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from stillsafe.core.schema import FeatureSpec, FeatureType, Schema, Violation
from stillsafe.serving.body.instances import batch_instances, check_instances, check_single, is_synthetic
from stillsafe.serving.body.json_body import parse
from stillsafe.serving.problems import RefusedRequest

SCHEMA = Schema((FeatureSpec("age", FeatureType.NUMERIC), FeatureSpec("town", FeatureType.CATEGORY, required=False)))


def test_a_good_body_is_a_clean_row() -> None:
    """Every feature is present, missing ones as None."""
    assert check_single(SCHEMA, {"features": {"age": 3}}) == {"age": 3.0, "town": None}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", [("body", "wrong_type")]),
        (b"null", [("body", "wrong_type")]),
        (b"{}", [("features", "missing")]),
        (b'{"features": 3}', [("features", "wrong_type")]),
        (b'{"features": {"age": 1}, "more": 1}', [("more", "unknown_key")]),
        (b'{"features": {"age": 1}, "features": {"age": 2}}', [("features", "repeated")]),
        (b'{"features": {"age": 1, "age": 2}}', [("age", "repeated")]),
        (b'{"features": {"age": NaN, "town": 3}}', [("age", "not_finite"), ("town", "wrong_type")]),
        (b'{"features": {"age": -1e999}}', [("age", "not_finite")]),
        (b'{"features": {"age": true, "tall": 1}}', [("age", "wrong_type"), ("tall", "unknown_feature")]),
        (b'{"features": {"age": 1, "town": "\\ud800"}}', [("town", "not_allowed")]),
        (b'{"features": {"age": 1, "\\ud800": 1}}', [("?", "unknown_feature")]),
        (b'{"features": {"age": 1}, "\\ud800": 1}', [("?", "unknown_key")]),
    ],
)
def test_everything_wrong_is_named(body: bytes, expected: list[tuple[str, str]]) -> None:
    """The place, the kind, and what is allowed."""
    violations = check_single(SCHEMA, parse(body))
    assert isinstance(violations, tuple)
    assert [(each.feature, each.kind) for each in violations] == expected
    assert all(each.allowed for each in violations)


@pytest.mark.parametrize(
    ("document", "status", "kind"),
    [
        ([], 422, "wrong_type"),
        ({}, 422, "missing"),
        ({"instances": {}}, 422, "wrong_type"),
        ({"instances": []}, 422, "missing"),
        ({"instances": [{}] * 4}, 413, "too_many"),
        ({"instances": [{}], "x": 1}, 422, "unknown_key"),
    ],
)
def test_a_batch_that_is_none_is_refused_whole(document: Any, status: int, kind: str) -> None:
    """Empty ones and too long ones too."""
    with pytest.raises(RefusedRequest) as refusal:
        batch_instances(document, 3)
    assert refusal.value.problem.status == status
    assert [violations.kind for violations in refusal.value.problem.violations] == [kind]


def test_a_hundred_wrong_keys_are_cut_short() -> None:
    """An answer stays small, however long the question, and counts what it leaves out."""
    violations = check_single(SCHEMA, {"features": {}, **{f"{number}" * 100: 1 for number in range(100)}})
    assert isinstance(violations, tuple)
    assert (len(violations), violations[-1].problem) == (51, "50 more violations")
    assert max(len(each.feature) for each in violations) <= 83


@pytest.mark.parametrize(
    ("document", "synthetic"),
    [({"synthetic": True}, True), ({"synthetic": False}, False), ({}, False), ({"synthetic": 1}, False), ([], False)],
)
def test_only_true_marks_a_body_as_synthetic(document: Any, synthetic: bool) -> None:
    """Any other value is ordinary, or a violation."""
    assert is_synthetic(document) is synthetic


def test_the_mark_is_checked_with_the_rest() -> None:
    """A mark that is neither true nor false is a violation beside those of the envelope."""
    violations = check_single(SCHEMA, {"synthetic": "yes", "more": 1})
    assert isinstance(violations, tuple)
    assert [(each.feature, each.kind) for each in violations] == [
        ("features", "missing"),
        ("synthetic", "wrong_type"),
        ("more", "unknown_key"),
    ]
    assert check_single(SCHEMA, {"features": {"age": 3}, "synthetic": True}) == {"age": 3.0, "town": None}


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        ('{"features": {%s}}', "unknown_feature"),
        ('{"features": {}, %s}', "unknown_key"),
        ('{"features": {%s, %s}}', "repeated"),
        ('{"features": {}, %s, %s}', "repeated"),
    ],
)
def test_whatever_is_wrong_with_ten_thousand_keys_is_summarised(template: str, kind: str) -> None:
    """Fifty violations and the number of the others, for each way in which keys can be wrong."""
    members = ", ".join(f'"key{number}": 1' for number in range(10_000))
    violations = check_single(SCHEMA, parse(template.replace("%s", members).encode()))
    assert isinstance(violations, tuple)
    assert len(violations) == 51
    assert {each.kind for each in violations[10:50]} == {kind}
    assert violations[-1].kind == "too_many"
    assert int(violations[-1].problem.split()[0]) >= 9_950


@pytest.mark.parametrize("key_count", [0, 1, 5, 80, 500])
def test_the_refusals_of_a_batch_grow_no_faster_than_its_body(key_count: int) -> None:
    """Instances are named in detail as long as there is room, then by one violation that counts the others."""
    instance = {f"key{number}": 1 for number in range(key_count)}
    size = 1_000 * len(json.dumps(instance))
    checks = check_instances(SCHEMA, [instance] * 1_000, size)
    assert all(isinstance(check, tuple) and check for check in checks)
    shown_bytes = sum(
        len(json.dumps(asdict(each))) for check in checks for each in check if isinstance(each, Violation)
    )
    assert shown_bytes <= 25_000 + 1_000 * 400 + 0.3 * size
    if key_count >= 80:
        assert [len(checks[0]), len(checks[-1])] == [51, 1]
        (last,) = checks[-1]
        assert isinstance(last, Violation)
        assert last.problem.endswith(" more violations")
