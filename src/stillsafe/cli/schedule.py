"""`schedule`: the crontab entry that starts the monitor."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_FAILURE, EXIT_SUCCESS, Config, app
from stillsafe.cli.output import print_plain
from stillsafe.monitoring import schedule

schedule_app = typer.Typer(help="The crontab entry that starts the monitor.", no_args_is_help=True)
app.add_typer(schedule_app, name="schedule")


@schedule_app.command("install")
def schedule_install(
    config: Config = DEFAULT_CONFIG,
    print_only: Annotated[bool, typer.Option("--print", help="Print the entry instead of installing it.")] = False,
) -> None:
    """Add the crontab entry that starts the monitor, or replace it. Other entries stay as they are."""
    every = service.settings_of(config).monitor.every
    write = schedule.entry if print_only else schedule.install
    print_plain(write(config.resolve(), every, python=Path(sys.executable)))


@schedule_app.command("show")
def schedule_show(config: Config = DEFAULT_CONFIG) -> None:
    """Show the crontab entry of this service; exit 1 where there is none."""
    entry = schedule.show(config.resolve())
    print_plain(entry or "No crontab entry starts this service's monitor.")
    sys.exit(EXIT_SUCCESS if entry else EXIT_FAILURE)


@schedule_app.command("remove")
def schedule_remove(config: Config = DEFAULT_CONFIG) -> None:
    """Remove the crontab entry of this service."""
    print_plain("Removed." if schedule.remove(config.resolve()) else "There was no entry to remove.")
