"""`key create`, `list` and `revoke`: the key is printed once, and nothing else ever has it."""

import json
from pathlib import Path

import pytest

from .commands import Command, document


def test_the_life_of_a_key(run: Command, made_service: Path) -> None:
    """Made, listed, revoked; its name is free again then, and the revoked one stays on record."""
    code, out, errors = run("key", "create", "web", "--scope", "predict", "--scope", "read", "--rate", "600/min")
    assert (code, out.startswith("stsf_"), out.count("\n")) == (0, True, 1)
    assert "not shown again" in errors
    (listed_key,) = document(run("key", "list", "--json")[1])
    assert listed_key.keys() == {"name", "scopes", "rate_per_minute", "created_at", "revoked_at"}
    assert (listed_key["scopes"], listed_key["rate_per_minute"]) == (["predict", "read"], 600)
    code, _, errors = run("key", "create", "web", "--scope", "read")
    assert (code, "already" in errors) == (1, True)
    assert run("key", "revoke", "web")[0] == 0
    code, _, errors = run("key", "revoke", "web")
    assert (code, "no valid key" in errors) == (1, True)
    new_key = document(run("key", "create", "web", "--scope", "read", "--json")[1])
    assert new_key.keys() == {"name", "scopes", "rate_per_minute", "created_at", "key"}
    text = run("key", "list")[1]
    assert text.count("web") == 2
    assert "600/min" in text
    keys = [out.strip(), new_key["key"]]
    contents = [text, json.dumps(document(run("key", "list", "--json")[1])), run("check")[1]]
    contents += [file.read_bytes().decode("latin-1") for file in made_service.iterdir() if file.is_file()]
    assert not any(key[5:30] in content for key in keys for content in contents)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["web"], "needs a scope"),
        (["a b", "--scope", "read"], "cannot be the name"),
        (["web", "--scope", "read", "--rate", "fast"], "no rate"),
        (["web", "--scope", "admin"], "admin"),
    ],
)
def test_a_wrong_key_is_refused(run: Command, words: list[str], problem: str) -> None:
    """Exit code 2 with the remedy, and nothing is stored."""
    code, _, errors = run("key", "create", *words)
    assert (code, problem in errors) == (2, True)
    assert "There is no key" in run("key", "list")[1]


def test_what_an_operator_does_is_logged(run: Command) -> None:
    """Action and name, and not the key."""
    _, out, errors = run("key", "create", "web", "--scope", "read")
    errors += run("key", "revoke", "web")[2]
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert [(line["event"], line["action"], line["key"]) for line in lines] == [
        ("key", "create", "web"),
        ("key", "revoke", "web"),
    ]
    assert out.strip()[5:] not in errors
