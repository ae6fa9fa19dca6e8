"""`tour`: break a service that runs, and watch it notice, at one's own keyboard."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stillsafe import logs
from stillsafe.cli.app import Json, app
from stillsafe.cli.output import console, print_json
from stillsafe.errors import ConfigurationError


@app.command()
def tour(
    out: Annotated[
        Path | None, typer.Option(help="Where the service folder is written; by default a temporary folder.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not wait for a key before each step.")] = False,
    as_json: Json = False,
) -> None:
    """Break a service that runs, in five minutes: watch it notice, hold it, mend it, and check its arithmetic.

    Each step names what to look at in a browser and in another terminal. Nothing of your own is touched.
    """
    # Imported here: pandas takes a second to import.
    from stillsafe import demo
    from stillsafe import tour as story

    if not (yes or as_json or sys.stdin.isatty()):
        raise ConfigurationError("There is no terminal to wait at before each step.", "Add --yes.")
    logs.set_up("CRITICAL")  # the story has its own lines

    def ask() -> None:
        if not (yes or as_json):
            console.input("\n[dim]Enter goes on, Ctrl-C ends the tour.[/]")

    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stillsafe-"))) / "tour"
        try:
            result = story.play(
                folder, console=Console(quiet=True) if as_json else console, ask=ask, program=demo.program()
            )
        except demo.DemoFailed as error:
            raise demo.DemoFailed(f"The tour failed: {error}") from error
    if as_json:
        print_json(result)
