"""The typer application, the options that every command shares, and the one table from errors to exit codes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from stillsafe import logs
from stillsafe.errors import ConfigurationError, SchemaMismatch, StillsafeError

DONE, FAILED, MISCONFIGURED = 0, 1, 2

app = typer.Typer(
    name="stillsafe",
    help="Serves a scikit-learn model, notices by itself when it can no longer be trusted, and falls back meanwhile.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
baseline_app = typer.Typer(
    help="What healthy looks like: make, list, show and activate baselines.", no_args_is_help=True
)
incidents_app = typer.Typer(help="Degradations, from detection to recovery.", no_args_is_help=True)
schedule_app = typer.Typer(help="The crontab entry that starts the monitor.", no_args_is_help=True)
db_app = typer.Typer(help="The database's schema.", no_args_is_help=True)
app.add_typer(baseline_app, name="baseline")
app.add_typer(incidents_app, name="incidents")
app.add_typer(schedule_app, name="schedule")
app.add_typer(db_app, name="db")

Config = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="STILLSAFE_CONFIG", help="The service's settings file.", show_default=True),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
DEFAULT_CONFIG = Path("stillsafe.toml")

console = Console(highlight=False, soft_wrap=True)
complaints = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; the exit code says done (0), failed (1) or misconfigured (2)."""
    logs.set_up("ERROR")  # the commands that cron and servers run say more
    try:
        app()
    except StillsafeError as error:
        complaints.print(f"stillsafe: {error}", markup=False)
        sys.exit(MISCONFIGURED if isinstance(error, ConfigurationError | SchemaMismatch) else FAILED)


def print_json(document: Any) -> None:
    """One JSON document on standard output; times as ISO 8601, never NaN."""
    sys.stdout.write(json_text(document))


def json_text(document: Any) -> str:
    """A JSON document as text; times as ISO 8601, never NaN."""
    return json.dumps(document, indent=2, default=str, allow_nan=False, ensure_ascii=False) + "\n"


def answer(document: Any, as_json: bool, show: Callable[[], None]) -> None:
    """The same answer for a program or for a person."""
    if as_json:
        print_json(document)
    else:
        show()
