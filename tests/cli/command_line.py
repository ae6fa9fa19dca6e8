"""The command line in this process, for tests of commands and of pages about them."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillsafe.cli import main
from tests.cli.commands import Command


@pytest.fixture
def run(made_service: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs a command in this process, in a fresh service: its exit code, standard output and standard error."""
    monkeypatch.chdir(made_service)
    handlers = logging.root.handlers[:]

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stillsafe", *words])
        with pytest.raises(SystemExit) as exit_info:
            main()
        output = capsys.readouterr()
        return int(exit_info.value.code or 0), output.out, output.err

    yield command
    logging.root.handlers[:] = handlers
