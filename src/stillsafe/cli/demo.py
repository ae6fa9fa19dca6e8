"""`demo`: a degradation and its recovery on real data, on a simulated clock."""

from pathlib import Path
from typing import Annotated

import typer

from stillsafe import logs
from stillsafe.cli.app import Json, app
from stillsafe.cli.output import console, print_json
from stillsafe.errors import ConfigurationError


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the demo's service folder is written.")] = Path("stillsafe-demo"),
    keep_open: Annotated[
        bool, typer.Option("--open", help="Keep serving the API and the dashboard afterwards.")
    ] = False,
    as_json: Json = False,
    act: Annotated[str, typer.Option(help="`feed`: a feed breaks; `concept`: the world changes its mind.")] = "feed",
) -> None:
    """Play a degradation on real data in about a minute: a feed breaks, is detected, bypassed and repaired.

    In the act `concept` the inputs stay healthy, the world changes its mind, and labels show it two simulated days
    later.
    """
    # Imported here: pandas takes a second to import.
    from stillsafe import demo_concept
    from stillsafe.demo import DemoFailed, play

    if act not in ("feed", "concept"):
        raise ConfigurationError(f"{act!r} is no act of the demo.", "Write --act feed or --act concept.")
    logs.set_up("CRITICAL")  # the story has its own lines; before its first run the monitor counts as stale
    try:
        if act == "concept":
            result = demo_concept.play(out, console=console, quiet=as_json)
        else:
            result = play(out, console=console, keep_open=keep_open, quiet=as_json)
    except DemoFailed as error:
        raise DemoFailed(f"The demo failed: {error}") from error
    if as_json:
        print_json(result)
