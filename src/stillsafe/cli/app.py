"""The typer application, the options that several commands share, and the exit code of every error."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from stillsafe import logs
from stillsafe.cli.output import print_error
from stillsafe.errors import ConfigurationError, SchemaMismatch, StillsafeError

EXIT_SUCCESS, EXIT_FAILURE, EXIT_MISCONFIGURED = 0, 1, 2

app = typer.Typer(
    name="stillsafe",
    help=(
        "Serve a scikit-learn model, detect when its predictions can no longer be trusted, and answer with a fallback "
        "until they can."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="STILLSAFE_CONFIG", help="The service's settings file.", show_default=True),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")]
DEFAULT_CONFIG = Path("stillsafe.toml")


def main() -> None:
    """Run the command line. The exit code is 0 for success, 1 for a failure and 2 for a wrong configuration."""
    logs.set_up("ERROR")  # `monitor`, `serve` and `explain --pending` set a lower level
    try:
        app()
    except StillsafeError as error:
        print_error(str(error))
        sys.exit(EXIT_MISCONFIGURED if isinstance(error, ConfigurationError | SchemaMismatch) else EXIT_FAILURE)


def fail(sentence: str) -> NoReturn:
    """Print why the command failed, and exit with 1."""
    print_error(sentence)
    sys.exit(EXIT_FAILURE)


def parse_time(text: str) -> datetime:
    """An option's ISO 8601 time as aware UTC; text without an offset is UTC.

    Raises:
        ConfigurationError: the text is no time, or its year is outside 1970 to 8999.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time.", "Write it as ISO 8601: 2026-01-31T12:00:00Z.") from None
    if not 1970 <= at.year < 9000:
        raise ConfigurationError(f"{text!r} is out of range.", "Give a year from 1970 to 8999.")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
