"""The table of commands agrees with the modules, and the help imports none of them."""

import subprocess
import sys

import pytest

from stillsafe.cli.app import app
from stillsafe.cli.command_table import COMMANDS, CommandTable, first_sentence, registered_commands

from .commands import Command

TABLE = CommandTable(app)
HEAVY = ("rich.console", "numpy", "pandas", "sklearn", "sqlalchemy", "fastapi", "pydantic")


def test_every_registered_command_is_in_the_table() -> None:
    """A command that a module registers can be typed, and stands in the help."""
    assert all(TABLE[name].name == name for name in TABLE)
    assert set(registered_commands(app)) == set(TABLE)
    assert len(TABLE) == sum(map(len, COMMANDS.values()))


def test_summaries_fit_a_line() -> None:
    """No summary is cut at 80 columns, and each is a sentence."""
    for entry in (entry for section in COMMANDS.values() for entry in section):
        assert len(entry.summary) <= 65
        assert entry.summary.endswith(".")


@pytest.mark.parametrize("words", [("--help",), ("--version",)])
def test_the_help_imports_no_library_of_models(words: tuple[str, ...]) -> None:
    """The help, and the version import neither NumPy nor the database nor the web framework."""
    program = (
        "import sys\nfrom stillsafe.cli import main\n"
        "try:\n    main()\nfinally:\n    print(sorted(sys.modules), file=sys.stderr)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert not [name for name in HEAVY if f"'{name}'" in process.stderr]
    assert process.stdout


def test_the_help_is_in_the_order_of_a_life(run: Command) -> None:
    """Making a service comes before running it, looking at it, deciding and keeping it."""
    _, out, _ = run("--help")
    places = [out.index(f"\n{title}:") for title in COMMANDS]
    assert places == sorted(places)
    assert out.index("  init ") < out.index("  serve ") < out.index("  status ") < out.index("  hold ")


@pytest.mark.parametrize("word", ["nonsense", "statu"])
def test_an_unknown_command_is_refused(run: Command, word: str) -> None:
    """A word that is no command is an error, which names a similar command."""
    code, _, errors = run(word)
    assert code == 2
    assert "No such command" in errors
    assert ("status" in errors) == (word == "statu")


@pytest.mark.parametrize("width", ["40", "80"])
def test_no_help_cuts_a_summary(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The help of every group has the whole first sentence of each of its commands."""
    monkeypatch.setenv("COLUMNS", width)
    for name in TABLE:
        command = TABLE[name]
        children = getattr(command, "commands", {})
        with command.make_context(name, [], resilient_parsing=True) as context:
            text = " ".join(command.get_help(context).split()) if children else ""
        assert "..." not in text.replace("[ARGS]...", "")
        assert all(first_sentence(child) in text for child in children.values())
        assert all(first_sentence(child).endswith(".") for child in children.values())
