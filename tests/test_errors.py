"""The exception tree: drawn in its module, complete, and each message one sentence with its place and remedy."""

import inspect
import re

import pytest

from stillsafe import errors
from stillsafe.errors import (
    BaselineRefused,
    ConfigurationError,
    Failure,
    ObserverFailed,
    StillsafeError,
    StoreError,
    StoreUnavailable,
)

CLASSES = [
    member
    for member in vars(errors).values()
    if inspect.isclass(member) and issubclass(member, BaseException) and member.__module__ == errors.__name__
]


def drawn_parents() -> dict[str, str]:
    """Each name in the drawing with the name above it, read from the indentation."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^    ((?:[│├└─ ]{4})*)([A-Z]\w+)", line):
            path[len(match[1]) // 4 :] = [match[2]]
            parents[match[2]] = path[-2] if len(path) > 1 else "Exception"
    return parents


def test_the_drawing_is_the_tree() -> None:
    """Every error is drawn below its base class, and nothing else is drawn."""
    assert drawn_parents() == {error.__name__: error.__base__.__name__ for error in CLASSES if error.__base__}


def test_every_error_has_one_base() -> None:
    """One `except StillsafeError` catches everything that Stillsafe raises on purpose."""
    assert all(issubclass(error, StillsafeError) for error in CLASSES)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        (None, None, "It is wrong. Correct it."),
        ("a.toml", None, "a.toml: It is wrong. Correct it."),
        ("a.toml", 3, "a.toml, line 3: It is wrong. Correct it."),
    ],
)
def test_a_configuration_error_names_its_place_and_remedy(file: str | None, line: int | None, message: str) -> None:
    """The message begins with the file and the line, as editors and terminals expect."""
    error = ConfigurationError("It is wrong.", "Correct it.", file=file, line=line)
    assert str(error) == message
    assert (error.problem, error.remedy, error.file, error.line) == ("It is wrong.", "Correct it.", file, line)


def test_a_refused_baseline_lists_its_evidence() -> None:
    """Each sentence of evidence is a line of the message."""
    error = BaselineRefused("The period is inconsistent.", ["a deviates.", "b deviates."])
    assert str(error) == "The period is inconsistent.\n  - a deviates.\n  - b deviates."
    assert error.evidence == ("a deviates.", "b deviates.")


def test_a_failed_observer_has_a_kind() -> None:
    """Programs read the kind, and people the message."""
    error = ObserverFailed(Failure.SLOW, "no answer within 3 s")
    assert error.kind is Failure.SLOW
    assert str(error) == "The language model gave no explanation: no answer within 3 s."


def test_a_store_error_separates_message_and_reason() -> None:
    """Clients see only the reason, because the message may name hosts and users."""
    assert StoreUnavailable("The host db1 is down.", reason="the database is out").reason == "the database is out"
    assert StoreError("The host db1 is down.").reason == ""
