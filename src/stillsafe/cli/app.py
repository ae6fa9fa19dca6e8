"""The typer application, the options that several commands share, and the exit code of every error."""

import errno
import logging
import os
import select
import sys
import traceback
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer

from stillsafe import logs
from stillsafe.cli.command_table import CommandGroup
from stillsafe.cli.json_lines import JsonLineStream, is_json_asked, json_lines_only
from stillsafe.core.evidence.time_text import time_text
from stillsafe.errors import ConfigurationError, RunAhead, SchemaMismatch, StillsafeError
from stillsafe.logs import LogEvent, log_event

logger = logging.getLogger(__name__)

EXIT_SUCCESS, EXIT_FAILURE, EXIT_MISCONFIGURED = 0, 1, 2
MONITOR, TRIAL = "monitor", "--try"


class _BrokenConnection(Exception):
    """A broken pipe that is not the command's output, such as that of a socket."""


class _Commands(CommandGroup):
    """The commands. typer ends a command silently for every broken pipe, so only that of the output may reach it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            _BrokenConnection: something else than the output is broken.
        """
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            if not (streams := _closed_outputs()):
                raise _BrokenConnection from error
            _discard_output(streams)
            sys.exit(EXIT_FAILURE)


app = typer.Typer(
    name="stillsafe",
    cls=_Commands,
    help=(
        "Serve a scikit-learn model, detect when its predictions can no longer be trusted, and answer with a fallback "
        "until they can."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_Commands.app = app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version  # here, because its import costs as much as that of typer

        sys.stdout.write(f"stillsafe {version('stillsafe')}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of no command."""
    del version


Config = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="STILLSAFE_CONFIG", help="The service's settings file.", show_default=True),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")]
DEFAULT_CONFIG = Path("stillsafe.toml")


def main() -> None:
    """Run the command line. The exit code is 0 for success, 1 for a failure and 2 for a wrong configuration.

    Every failure has a message, except that of a command whose output has no reader any longer.
    """
    logs.set_up("ERROR")  # `monitor`, `serve` and `explain --pending` set a lower level
    is_run = sys.argv[1:2] == [MONITOR] and TRIAL not in sys.argv
    with json_lines_only() if is_run else nullcontext():
        try:
            sys.exit(app(standalone_mode=not is_json_asked()))  # otherwise typer prints what is wrong with an option
        except StillsafeError as error:
            is_misconfigured = isinstance(error, ConfigurationError | SchemaMismatch | RunAhead)
            exit_code = EXIT_MISCONFIGURED if is_misconfigured else EXIT_FAILURE
            _report(str(error), error, exit_code, with_traceback=False)
        except _BrokenConnection as error:
            cause = error.__cause__ or error
            _report(_sentence(cause), cause, EXIT_FAILURE, with_traceback=False)
        except Exception as error:  # noqa: BLE001 - no failure may end without a message
            if isinstance(error, typer.Abort):
                _report("Stopped before its end.", error, EXIT_FAILURE, with_traceback=False)
            if message := _wrong_use(error):
                _report(message, error, EXIT_MISCONFIGURED, with_traceback=False)
            _report(_sentence(error), error, EXIT_FAILURE, with_traceback=not isinstance(error, OSError))
        finally:
            _flush_output()


def _report(sentence: str, error: BaseException, exit_code: int, *, with_traceback: bool) -> NoReturn:
    """Print or log why the command failed, and exit."""
    from stillsafe.cli.output import print_error  # here, because rich costs the help as much as typer does

    if isinstance(sys.stderr, JsonLineStream):
        fields = {"message": sentence, "kind": type(error).__name__, "exit_code": exit_code}
        log_event(logger, LogEvent.RUN_FAILED, fields, error=error if with_traceback else None)
    else:
        if with_traceback and not is_json_asked():
            traceback.print_exception(error)
        print_error(sentence, kind=type(error).__name__, exit_code=exit_code)
    sys.exit(exit_code)


def _sentence(error: BaseException) -> str:
    """An unexpected error with its type and the line of code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f", at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"The command failed: {type(error).__name__}: {error}{where}."


def _wrong_use(error: Exception) -> str | None:
    """The message of typer about a wrong command or option; None for any other error. Its class has no public name."""
    is_wrong_use = getattr(error, "exit_code", None) == EXIT_MISCONFIGURED and hasattr(error, "format_message")
    return error.format_message() if is_wrong_use else None  # type: ignore[attr-defined] # tried in the line above


def _closed_outputs() -> list[TextIO]:
    """Those of standard output and standard error whose reader has gone, such as `head` in a pipeline."""
    return [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]


def _has_no_reader(stream: TextIO) -> bool:
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):  # a stream without a file descriptor
        return False
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0))


def _flush_output() -> None:
    """Write what is still buffered; what has no reader is discarded, or Python would complain at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output(_closed_outputs())


def _discard_output(streams: list[TextIO]) -> None:
    for stream in streams:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def require_span(option: str, start: datetime | None, end: datetime | None) -> None:
    """Check that a span of time has a length; None is open.

    Raises:
        ConfigurationError: its start, which an option gives, is not before its end.
    """
    if start is not None and end is not None and start >= end:
        times = f"{time_text(start)} is not before the end, {time_text(end)}"
        raise ConfigurationError(f"The span of time is empty: {option} {times}.", "Correct the times.")


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
