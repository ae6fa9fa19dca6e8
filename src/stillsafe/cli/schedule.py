"""`schedule`: the crontab entry that starts the monitor."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from stillsafe import service
from stillsafe.check.schedule import database_problem
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_FAILURE, EXIT_SUCCESS, Config, app
from stillsafe.cli.command_table import command_group
from stillsafe.cli.output import print_plain
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring import schedule
from stillsafe.monitoring.sibling_entries import STATUSES_TO_KEEP, sibling_entries
from stillsafe.settings import Settings

schedule_app = command_group("The crontab entry that starts the monitor.")
app.add_typer(schedule_app, name="schedule")


@schedule_app.command("install")
def schedule_install(
    config: Config = DEFAULT_CONFIG,
    print_only: Annotated[bool, typer.Option("--print", help="Print the entry instead of installing it.")] = False,
    keep_siblings: Annotated[
        bool, typer.Option("--keep-siblings", help="Keep all other entries that watch this service.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove all other entries that watch this service, used or not.")
    ] = False,
    without_trial: Annotated[
        bool, typer.Option("--untried", help="Install the entry even if it fails in cron's environment now.")
    ] = False,
) -> None:
    """Try the crontab entry that starts the monitor in cron's environment, and add it, or replace it.

    Entries of the same service whose model version no longer answers are removed; other entries stay as they are.
    """
    settings, python = service.settings_of(config), Path(sys.executable)
    if print_only:
        print_plain(schedule.entry(config.resolve(), settings.monitor.every, python=python))
        return
    schedule.entry(config.resolve(), settings.monitor.every, python=python)  # refuses an interval before the trial
    if not without_trial:
        _require_trial(config, settings, python)
    siblings = [] if keep_siblings else sibling_entries(config, service.utc_now())
    obsolete_entries = [each for each in siblings if replace or each.status not in STATUSES_TO_KEEP]
    lines = [each.line for each in obsolete_entries]
    print_plain(schedule.install(config.resolve(), settings.monitor.every, python=python, obsolete_lines=lines))
    for each in siblings:
        print_plain(f"{'Removed' if each in obsolete_entries else 'Kept'}: {each.description}")
        if each in obsolete_entries:
            print_plain(f"  {each.line}")


def _require_trial(config: Path, settings: Settings, python: Path) -> None:
    """Try the entry in cron's environment.

    Raises:
        ConfigurationError: a run there would or would watch another database.
    """
    problem = schedule.trial_problem(config, python=python) or database_problem(config, settings)
    if problem is not None:
        remedy = "Nothing was installed. Correct it, or install the entry with --untried."
        raise ConfigurationError(f"In cron's environment the monitor cannot run: {problem}", remedy)


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
