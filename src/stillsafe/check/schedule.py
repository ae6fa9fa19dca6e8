"""Checks of the crontab: the entry, a trial of it in cron's environment, and other entries of the same service."""

import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from stillsafe.check.findings import Finding, error, ok, warning
from stillsafe.errors import StillsafeError
from stillsafe.monitoring import schedule
from stillsafe.monitoring.sibling_entries import STATUSES_TO_KEEP, same_database, settings_under_cron, sibling_entries
from stillsafe.settings import DATABASE_VARIABLE, Settings

INSTALL = "Run `stillsafe schedule install`"


def schedule_findings(config: Path, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Whether cron starts the monitor, whether it can run there, and what other entries the crontab has.

    Args:
        config: the settings file.
        settings: the settings in it, as this process reads them.
        now: aware UTC.
    """
    if shutil.which("crontab") is None:
        message = "`crontab` is missing (Debian: apt-get install cron). Start `stillsafe monitor` by other means."
        yield warning("schedule", message)
        return
    try:
        entry = _entry(config, settings)
        yield entry
        if entry.verdict == "ok":
            yield _trial(config, settings)
        yield from _siblings(config, now)
    except StillsafeError as failure:
        yield warning("schedule", str(failure))


def _entry(config: Path, settings: Settings) -> Finding:
    """Whether cron starts the monitor with the entry that `schedule install` would write now."""
    every = settings.monitor.every
    entry = schedule.show(config.resolve())
    if entry is None:
        return warning("schedule", f"No crontab entry starts the monitor every {every:g} s. {INSTALL}.")
    if entry != schedule.entry(config, every, python=Path(sys.executable)):
        return warning("schedule", f"The crontab entry differs from the one for these settings. {INSTALL} again.")
    return ok("schedule", entry)


def _trial(config: Path, settings: Settings) -> Finding:
    """Whether the entry's command can run in cron's environment, on the same database as here."""
    subject = "cron environment"
    problem = schedule.trial_problem(config, python=Path(sys.executable)) or database_problem(config, settings)
    if problem is not None:
        return error(subject, problem)
    return ok(subject, "the entry's command finds settings, model and database there")


def database_problem(config: Path, settings: Settings) -> str | None:
    """Where the monitor under cron would judge the log of another database than this process uses; else None.

    Raises:
        StillsafeError: the settings or the crontab cannot be read.
    """
    if same_database(settings_under_cron(config), settings):
        return None
    return (
        f"Cron would watch another database than the settings name here: {DATABASE_VARIABLE} is set in only one of the "
        f"two environments, or differs. Write {DATABASE_VARIABLE}=... into {config.resolve().parent / '.env'}."
    )


def _siblings(config: Path, now: datetime) -> Iterator[Finding]:
    """A finding for each other entry that watches the same service."""
    for sibling in sibling_entries(config, now):
        if sibling.status in STATUSES_TO_KEEP:
            report = warning if sibling.status == "unreadable" else ok
            yield report("other entries", sibling.description)
        else:
            yield warning("other entries", f"{sibling.description} {INSTALL} again, which removes it.")
