"""Every command of the command line, in the order of a service's life, and the group that imports one when it runs.

A command's module imports the model's libraries, the database and the web framework. The table has what the help
shows, so that the help and the version import none of them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True)
class CommandEntry:
    """A command, or a group of commands.

    Attributes:
        name: as it is typed.
        module: of `stillsafe.cli`, which registers it.
        summary: one line of the help, at most 58 characters, so that 80 columns show it whole.
    """

    name: str
    module: str
    summary: str


COMMANDS: dict[str, tuple[CommandEntry, ...]] = {
    "Begin": (
        CommandEntry("demo", "demo", "Play a degradation and its recovery on real data."),
        CommandEntry("tour", "tour", "Break a service yourself, and watch it notice."),
        CommandEntry("init", "init", "Make a service from a fitted model and healthy data."),
        CommandEntry("check", "check", "Find out now what would fail later."),
        CommandEntry("backtest", "backtest", "What the rules would have done on your own history."),
    ),
    "Run": (
        CommandEntry("serve", "serve", "Serve the API and the dashboard until stopped."),
        CommandEntry("monitor", "monitor", "Do one monitoring run and exit; cron starts it."),
        CommandEntry("score", "score", "Answer and record every row of a file."),
        CommandEntry("schedule", "schedule", "The crontab entry that starts the monitor."),
        CommandEntry("alerts", "alerts", "Who is told what happens: try the receivers, list."),
        CommandEntry("export", "export", "Rules for Prometheus and a board for Grafana."),
        CommandEntry("key", "key", "Keys of clients: who may predict, label, read and operate."),
    ),
    "Look": (
        CommandEntry("status", "status", "Whether the model can be trusted, since when and why."),
        CommandEntry("windows", "windows", "Monitoring runs: what was counted and decided."),
        CommandEntry("incidents", "incidents", "Degradations, from detection to recovery."),
        CommandEntry("explain", "incidents", "An incident in plain words, with what to check first."),
        CommandEntry("performance", "performance", "How good the answers were, by labels that have come."),
        CommandEntry("predictions", "predictions", "The logged predictions."),
        CommandEntry("replay", "replay", "Recompute every decision; print the first difference."),
    ),
    "Decide": (
        CommandEntry("hold", "hold", "The kill switch: force DEGRADED until released."),
        CommandEntry("release", "hold", "End a hold: the monitor's evidence decides again."),
        CommandEntry("labels", "labels", "Add the truth about predictions when it is known."),
        CommandEntry("baseline", "baseline", "What healthy looks like: make, list, show, activate."),
        CommandEntry("model", "model", "The served model and its libraries."),
    ),
    "Keep": (
        CommandEntry("db", "database", "The database's schema, its copies and its name."),
        CommandEntry("erase", "erase", "Delete the rows of a person, on record."),
        CommandEntry("prune", "database", "Delete old predictions while the service goes on."),
        CommandEntry("doctor", "doctor", "Gather a bug report without secrets and without rows."),
    ),
}
"""Title of a section of the help -> its commands."""


class CommandTable(Mapping[str, Any]):
    """Name -> command, in the order of the help. A command is imported by its first use."""

    def __init__(self, app: typer.Typer) -> None:
        self._app = app
        self._entries = {entry.name: entry for section in COMMANDS.values() for entry in section}

    def __getitem__(self, name: str) -> Any:
        """The command.

        Raises:
            KeyError: there is none of this name.
        """
        import_module(f"stillsafe.cli.{self._entries[name].module}")
        return registered_commands(self._app)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def registered_commands(app: typer.Typer) -> Mapping[str, Any]:
    """Name -> command of every command that an imported module has registered with the application."""
    group = typer.main.get_group(app)
    return group.own_commands if isinstance(group, CommandGroup) else group.commands


class CommandsBelow(TyperGroup):
    """The commands below a command, whose help has their first sentences whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line or more for each command."""
        names = self.list_commands(ctx)
        width = max(map(len, names), default=0)
        with formatter.section("Commands"):
            formatter.write_dl([(name.ljust(width), first_sentence(self.commands[name])) for name in names])


def first_sentence(command: Any) -> str:
    """The first sentence of a command's help."""
    return re.split(r"(?<=[.])\s", " ".join((command.help or "").split()), maxsplit=1)[0]


def command_group(about: str | None = None, *, needs_command: bool = True) -> typer.Typer:
    """An application for the commands below a command.

    Args:
        about: one sentence of its help.
        needs_command: whether it prints its help where no command is named.
    """
    return typer.Typer(
        help=about, cls=CommandsBelow, no_args_is_help=needs_command, invoke_without_command=not needs_command
    )


class CommandGroup(TyperGroup):
    """The commands of an application, by `COMMANDS`: none is imported before it runs."""

    app: typer.Typer

    def __init__(self, *, commands: Any = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.own_commands: Mapping[str, Any] = commands or {}
        self.commands = CommandTable(self.app)  # type: ignore[assignment] # nobody adds to it

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, in the order of the help."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of the help, without an import."""
        del ctx
        width = max(len(name) for name in self.commands)
        for title, entries in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(entry.name.ljust(width), entry.summary) for entry in entries])
