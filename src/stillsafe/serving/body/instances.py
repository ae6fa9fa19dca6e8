"""What a client asks about: the features in a request's body, as clean rows or as what is wrong with them."""

from collections.abc import Iterator, Mapping
from typing import Any

from stillsafe.core.schema import Row, Schema
from stillsafe.serving.body.json_body import BODY, repeated_keys
from stillsafe.serving.problems import RefusedRequest, Wrong, invalid, problem, wrong_of

LONGEST_NAME_SHOWN = 80
MOST_SHOWN = 50


def one(schema: Schema, document: object) -> Row | tuple[Wrong, ...]:
    """The row of `{"features": {...}}`, or everything wrong with it."""
    wrong = _envelope(document, "features", "an object with one value per feature")
    return row(schema, document["features"]) if isinstance(document, Mapping) and not wrong else wrong


def row(schema: Schema, features: object) -> Row | tuple[Wrong, ...]:
    """The clean row of one instance, or everything wrong with it."""
    twice = tuple(Wrong(shown(key), "repeated", "given more than once", "once") for key in repeated_keys(features))
    if twice:
        return twice[:MOST_SHOWN]
    checked = schema.validate(features)
    return checked if isinstance(checked, dict) else tuple(wrong_of(violation) for violation in checked)


def many(document: object, most: int) -> list[Any]:
    """The instances of `{"instances": [...]}`, each still to be checked.

    Raises:
        RefusedRequest: 422 if it is no such object or holds no instance, 413 if it holds too many.
    """
    allowed = f"an array of 1 to {most} objects"
    if wrong := _envelope(document, "instances", allowed):
        raise RefusedRequest(invalid(wrong))
    instances = document["instances"] if isinstance(document, Mapping) else None
    if not isinstance(instances, list):
        raise RefusedRequest(invalid([Wrong("instances", "wrong_type", "not an array", allowed)]))
    if not instances:
        raise RefusedRequest(invalid([Wrong("instances", "missing", "there is no instance", allowed)]))
    if len(instances) > most:
        told = [Wrong("instances", "too_many", f"{len(instances)} instances are too many", allowed)]
        raise RefusedRequest(problem(413, f"A batch must not hold more than {most} instances.", told))
    return instances


def shown(name: str) -> str:
    """A client's name for something, fit to be shown and logged."""
    text = name.encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST_NAME_SHOWN else f"{text[:LONGEST_NAME_SHOWN]}..."


def _envelope(document: object, key: str, allowed: str) -> tuple[Wrong, ...]:
    """What is wrong with the object around the features."""
    if not isinstance(document, Mapping):
        return (Wrong(BODY, "wrong_type", "not an object", f'{{"{key}": ...}}'),)
    return tuple(_wrong_keys(document, key, allowed))[:MOST_SHOWN]


def _wrong_keys(document: Mapping[str, Any], key: str, allowed: str) -> Iterator[Wrong]:
    if key not in document:
        yield Wrong(key, "missing", "it is required", allowed)
    for name in repeated_keys(document):
        yield Wrong(shown(name), "repeated", "given more than once", "once")
    for name in document:
        if name != key:
            yield Wrong(shown(name), "unknown_key", "no such key", f"only `{key}`")
