"""Instances: the features in a request's body, as clean rows or as violations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, repeat
from typing import Any

from stillsafe.core.schema import MOST_VIOLATIONS_SHOWN, Row, Schema, Violation, ViolationKind, summary
from stillsafe.core.text import display_name
from stillsafe.serving.body.json_body import BODY, repeated_keys
from stillsafe.serving.body.request_id import REQUEST_ID, id_violation
from stillsafe.serving.problems import RefusedRequest, problem, schema_problem

SYNTHETIC = "synthetic"
"""Key beside the features: whether the request is no evidence about the model."""
SHOWN_BYTES, SHOWN_SHARE = 16_000, 0.25
"""Violations that a batch may show, in bytes: a number, and a share of its body. Further instances show one each."""
KEY_BYTES = 60
"""Bytes of the keys of a violation in an answer."""
UNKNOWN_KEY = "unknown_key"
"""Kind of a violation: a key beside the features that no request has."""
UNKNOWN_NAME = "(unknown)"
"""What is recorded of a name that the client made up: it may be a value of a person in the wrong place."""
_CLIENT_NAMED_KINDS = frozenset((ViolationKind.UNKNOWN_FEATURE, UNKNOWN_KEY, "repeated"))
_KNOWN_KEYS = frozenset(("features", "instances", SYNTHETIC))


def recorded_violation(schema: Schema, violation: Violation) -> tuple[str, str]:
    """What of a violation is recorded: its place, unless the client made the name up, and its kind."""
    is_known = violation.feature in _KNOWN_KEYS or any(spec.name == violation.feature for spec in schema.features)
    is_own_name = violation.kind in _CLIENT_NAMED_KINDS and not is_known
    return UNKNOWN_NAME if is_own_name else violation.feature, violation.kind


def check_single(schema: Schema, document: object) -> Row | tuple[Violation, ...]:
    """The row of `{"features": {...}}`, or all its violations."""
    violations = _check_envelope(document, "features", "an object with one value per feature")
    if isinstance(document, Mapping) and not violations:
        return check_instance(schema, document["features"])
    return violations


def request_id_of(document: object) -> str | None:
    """The id in a body of one instance, which `check_single` has checked."""
    return document.get(REQUEST_ID) if isinstance(document, Mapping) else None


def split_envelopes(schema: Schema, instances: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Per instance its features, and its id or None; neither is checked yet.

    An instance is its features, or `{"id": ..., "features": {...}}` where no feature is called `features`.
    """
    has_envelopes = "features" not in schema.names
    pairs = [
        (each["features"], each.get(REQUEST_ID))
        if has_envelopes and isinstance(each, Mapping) and _is_envelope(each)
        else (each, None)
        for each in instances
    ]
    return [features for features, _ in pairs], [request_id for _, request_id in pairs]


def _is_envelope(instance: Mapping[str, Any]) -> bool:
    return "features" in instance and len(instance) == 1 + (REQUEST_ID in instance) and not repeated_keys(instance)


def is_synthetic(document: object) -> bool:
    """Whether a body marks its instances as synthetic."""
    return isinstance(document, Mapping) and document.get(SYNTHETIC) is True


def check_instance(schema: Schema, features: object, most: int = MOST_VIOLATIONS_SHOWN) -> Row | tuple[Violation, ...]:
    """The clean row of one instance, or at most so many of its violations and the number of the others."""
    names = repeated_keys(features)
    if names:
        return summary([_repetition(name) for name in names[:most]], len(names), most)
    check = schema.validate(features, most)
    absent = [*_absent_features(schema, features)]
    if not absent:
        return check
    violations = [*absent, *(check if isinstance(check, tuple) else ())]
    return summary(violations, len(violations), most)


def _absent_features(schema: Schema, features: object) -> Iterator[Violation]:
    """Features that may be null and that a request must name nevertheless."""
    for spec in schema.features:
        if not (spec.required or spec.omittable) and isinstance(features, Mapping) and spec.name not in features:
            yield Violation(spec.name, ViolationKind.MISSING, "the request must name it", spec.allowed)


def check_instances(
    schema: Schema, instances: Sequence[object], body_bytes: int, ids: Sequence[object] = ()
) -> list[Row | tuple[Violation, ...]]:
    """Per instance its clean row or its violations, which together grow no faster than the body.

    Args:
        schema: the features.
        instances: of a batch.
        body_bytes: the length of the body.
        ids: per instance the value of its key `id`, or None; empty where none has one.
    """
    room = SHOWN_BYTES + SHOWN_SHARE * body_bytes
    checks = []
    for features, value in zip(instances, ids or repeat(None), strict=False):
        check = check_instance(schema, features, MOST_VIOLATIONS_SHOWN) if room > 0 else _brief_check(schema, features)
        violation = None if value is None else id_violation(value)
        if violation is not None:
            check = (violation, *(check if isinstance(check, tuple) else ()))
        if isinstance(check, tuple):
            room -= sum(KEY_BYTES + len(each.feature) + len(each.problem) + len(each.allowed) for each in check)
        checks.append(check)
    return checks


def _brief_check(schema: Schema, features: object) -> Row | tuple[Violation, ...]:
    """The clean row of one instance, or its first violation, which counts the others."""
    check = check_instance(schema, features, 1)
    if not isinstance(check, tuple) or len(check) == 1:
        return check
    first, others = check
    return (replace(first, problem=f"{first.problem}; {others.problem}"),)


def batch_instances(document: object, most: int) -> list[Any]:
    """The instances of `{"instances": [...]}`, not yet checked.

    Raises:
        RefusedRequest: 422 for another document or no instance, 413 for too many instances.
    """
    allowed = f"an array of 1 to {most} objects"
    if violations := _check_envelope(document, "instances", allowed):
        raise RefusedRequest(schema_problem(violations))
    instances = document["instances"] if isinstance(document, Mapping) else None
    if not isinstance(instances, list):
        raise RefusedRequest(schema_problem([Violation("instances", "wrong_type", "not an array", allowed)]))
    if not instances:
        raise RefusedRequest(schema_problem([Violation("instances", "missing", "there is no instance", allowed)]))
    if len(instances) > most:
        violation = Violation("instances", "too_many", f"{len(instances)} instances are too many", allowed)
        raise RefusedRequest(problem(413, f"A batch must not hold more than {most} instances.", [violation]))
    return instances


def _check_envelope(document: object, key: str, allowed: str) -> tuple[Violation, ...]:
    """The violations of the object around the features."""
    if not isinstance(document, Mapping):
        return (Violation(BODY, "wrong_type", "not an object", f'{{"{key}": ...}}'),)
    violations = list(islice(_key_violations(document, key, allowed), MOST_VIOLATIONS_SHOWN))
    unknown_count = len(document) - sum(name in document for name in _keys(key))
    wrong_count = (key not in document) + (not _is_mark(document)) + (_wrong_id(document, key) is not None)
    count = wrong_count + len(repeated_keys(document)) + unknown_count
    return summary(violations, count, MOST_VIOLATIONS_SHOWN) if violations else ()


def _keys(key: str) -> tuple[str, ...]:
    """The keys of an envelope: a batch has its ids in its instances."""
    return (REQUEST_ID, key, SYNTHETIC) if key == "features" else (key, SYNTHETIC)


def _wrong_id(document: Mapping[str, Any], key: str) -> Violation | None:
    has_id = key == "features" and document.get(REQUEST_ID) is not None
    return id_violation(document[REQUEST_ID]) if has_id else None


def _is_mark(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get(SYNTHETIC, False), bool)


def _key_violations(document: Mapping[str, Any], key: str, allowed: str) -> Iterator[Violation]:
    if key not in document:
        yield Violation(key, "missing", "it is required", allowed)
    yield from map(_repetition, repeated_keys(document))
    if not _is_mark(document):
        yield Violation(SYNTHETIC, "wrong_type", "not true or false", "true or false")
    if (violation := _wrong_id(document, key)) is not None:
        yield violation
    *others, last = [f"`{name}`" for name in _keys(key)]
    for name in document:
        if name not in _keys(key):
            yield Violation(display_name(name), UNKNOWN_KEY, "no such key", f"only {', '.join(others)} and {last}")


def _repetition(key: str) -> Violation:
    return Violation(display_name(key), "repeated", "given more than once", "once")
