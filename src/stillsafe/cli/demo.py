"""`demo`: a degradation and its recovery on real data, on a simulated clock."""

from pathlib import Path
from typing import Annotated

import typer

from stillsafe import logs
from stillsafe.cli.app import EXIT_FAILURE, Json, app
from stillsafe.cli.output import console, print_json, print_plain


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the demo's service folder is written.")] = Path("stillsafe-demo"),
    keep_open: Annotated[
        bool, typer.Option("--open", help="Keep serving the API and the dashboard afterwards.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Play a degradation on real data in about a minute: a feed breaks, is detected, bypassed and repaired."""
    # Imported here: pandas takes a second to import.
    from stillsafe.demo import DemoFailed, play

    logs.set_up("ERROR")
    try:
        result = play(out, console=console, keep_open=keep_open, quiet=as_json)
    except DemoFailed as error:
        print_plain(f"The demo failed: {error}")
        raise typer.Exit(EXIT_FAILURE) from error
    if as_json:
        print_json(result)
