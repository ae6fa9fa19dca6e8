"""`serve` listens where it is told to, or says why it cannot. `tests/serving/test_serve.py` serves for real."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from stillsafe.cli import serve
from stillsafe.cli.serve import listen
from stillsafe.errors import ConfigurationError
from stillsafe.settings import Settings

from .commands import Command

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the tests are about


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether clients need keys, of each application that the command would have run."""
    values: list[bool] = []

    def run_nothing(application: FastAPI, settings: Settings, _socket: Any) -> None:
        assert (application.access is not None) is settings.exposure.keys  # type: ignore[attr-defined] # FastPathApp
        values.append(bool(settings.exposure.keys))

    monkeypatch.setattr(serve, "_run", run_nothing)
    return values


def decide(folder: Path, choice: str) -> None:
    """Write the choice into the settings."""
    file = folder / "stillsafe.toml"
    file.write_text(file.read_text().replace("[exposure]\n", f"[exposure]\nkeys = {choice}\n"))


def test_a_free_port_is_taken() -> None:
    """Port 0 is any free port, which is then listened on."""
    with listen("127.0.0.1", 0) as server_socket:
        assert server_socket.getsockname()[1] > 0


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a" * 300])
def test_an_impossible_address_is_refused(host: str) -> None:
    """An address that is not of this machine, or none at all, is an error with a remedy."""
    with pytest.raises(ConfigurationError, match="choose another with --port or --host"):
        listen(host, 0)


def test_a_port_in_use_is_a_misconfiguration(run: Command) -> None:
    """The command fails with exit code 2 before it loads a model."""
    with listen("127.0.0.1", 0) as server_socket:
        code, _, errors = run("serve", "--port", str(server_socket.getsockname()[1]))
    assert (code, "cannot be used" in errors) == (2, True)


def test_another_address_needs_keys_or_a_word(run: Command, choices: list[bool]) -> None:
    """Without a key it refuses with what to do; with one, keys are in force; `--no-keys` is the operator's word."""
    code, _, errors = run("serve", "--host", EVERYWHERE, "--port", "0")
    assert (code, choices) == (2, [])
    assert "stillsafe key create" in errors
    assert "--no-keys" in errors
    assert run("serve", "--host", EVERYWHERE, "--port", "0", "--no-keys")[0] == 0
    run("key", "create", "web", "--scope", "predict")
    code, out, _ = run("serve", "--host", EVERYWHERE, "--port", "0")
    assert (code, choices) == (0, [False, True])
    assert "web (predict)" in out
    run("key", "revoke", "web")
    assert run("serve", "--host", EVERYWHERE, "--port", "0")[0] == 2


@pytest.mark.parametrize(
    ("choice", "words", "is_needed"),
    [
        (None, [], False),
        (None, ["--keys"], True),
        ("true", [], True),
        ("true", ["--no-keys"], False),
        ("false", [], False),
        ("false", ["--host", EVERYWHERE], False),
        ("true", ["--host", EVERYWHERE], True),
    ],
)
def test_the_choice_is_the_option_s_else_the_file_s(
    run: Command, made_service: Path, choices: list[bool], choice: str | None, words: list[str], is_needed: bool
) -> None:
    """Without either, loopback needs none. Where keys are needed and there is none, it says what to do."""
    if choice is not None:
        decide(made_service, choice)
    code, out, errors = run("serve", "--port", "0", *words)
    assert (code, choices) == (0, [is_needed])
    assert ("stillsafe key create" in errors) is is_needed
    assert len(out.splitlines()) == 3
    assert "Listens on http://" in out
    assert ("Clients need no key." in out) is not is_needed
    assert "Limits in each process" in out


def test_who_may_reach_the_service_is_logged(run: Command, choices: list[bool]) -> None:
    """One event with what is printed."""
    errors = run("serve", "--port", "0")[2]
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    (fields,) = [line for line in lines if line["event"] == "listening"]
    assert fields["address"].startswith("127.0.0.1:")
    assert fields["keys"] == "Clients need no key."
    assert "connections" in fields["limits"]
    assert choices == [False]
