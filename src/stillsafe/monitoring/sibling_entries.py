"""Other entries of the crontab that watch the same service: those of earlier and later model versions.

Each version has a state of its own, so an entry that watches another version does no harm. It is needed as long as that
version answers requests, and only fails or idles afterwards.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Engine

from stillsafe.core.evidence.time_text import time_text
from stillsafe.errors import StillsafeError
from stillsafe.monitoring import cron, schedule
from stillsafe.settings import Settings, load
from stillsafe.store import database
from stillsafe.store.read.requests import last_request_at


class SiblingStatus(StrEnum):
    """What an entry of the same service is good for."""

    IN_USE = "in use"
    """Its version has answered within `max_gap`, so it must go on being watched."""
    IDLE = "idle"
    """Its version no longer answers."""
    DUPLICATE = "duplicate"
    """It watches the same version as this entry, which would be judged twice in each interval."""
    NO_FOLDER = "no folder"
    """Its settings file no longer exists, so the entry fails whenever cron starts it."""
    UNREADABLE = "unreadable"
    """Its settings or the log cannot be read, so nothing is known about it."""


POSTGRESQL_PORT = 5432
"""Where an address names no port."""
STATUSES_TO_KEEP = frozenset({SiblingStatus.IN_USE, SiblingStatus.UNREADABLE})
"""Entries that `schedule install` keeps unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class SiblingEntry:
    """Another entry of the crontab.

    Attributes:
        line: as it stands in the crontab.
        config: the settings file that it names.
        status: what it is good for.
        description: one sentence.
    """

    line: str
    config: Path
    status: SiblingStatus
    description: str


def settings_under_cron(config: Path) -> Settings:
    """The settings as a job of cron reads them: with the variables of the crontab and of `.env`.

    Raises:
        ConfigurationError: the settings are wrong.
        RefusedError: the crontab cannot be read.
    """
    variables = cron.environment(schedule.lines_before(config))
    return load(config, environment=cron.folder_environment(config.resolve().parent, variables))


def same_database(settings: Settings, other: Settings) -> bool:
    """Whether two settings name the same database, whatever user or driver they name."""
    places = []
    for each in (settings, other):
        engine = database.connect(each.database_url)
        url = engine.url
        engine.dispose()
        places.append((engine.dialect.name, url.host, url.port or POSTGRESQL_PORT, url.database))
    return places[0] == places[1]


def sibling_entries(config: Path, now: datetime) -> list[SiblingEntry]:
    """The other entries of this user's crontab that watch the same service on the same database.

    Args:
        config: the settings file of the service.
        now: aware UTC.

    Raises:
        ConfigurationError: the settings are wrong.
        RefusedError: the crontab cannot be read.
    """
    other_entries = {file: line for line, file in schedule.entries() if file != config.resolve()}
    if not other_entries:
        return []
    settings = settings_under_cron(config)
    engine = database.connect(settings.database_url, settings.service.name)
    try:
        return list(_siblings(other_entries, settings, engine, now))
    finally:
        engine.dispose()


def _siblings(
    other_entries: Mapping[Path, str], settings: Settings, engine: Engine, now: datetime
) -> Iterator[SiblingEntry]:
    for file, line in other_entries.items():
        if not file.exists():
            sentence = f"The entry of {file} fails: the settings file no longer exists."
            yield SiblingEntry(line, file, SiblingStatus.NO_FOLDER, sentence)
            continue
        try:
            other = settings_under_cron(file)
            if other.service.name == settings.service.name and same_database(other, settings):
                yield SiblingEntry(line, file, *_status(settings, other, file, engine, now))
        except StillsafeError as error:
            sentence = (
                f"The entry of {file} may watch the same service: its settings or its log cannot be read. {error}"
            )
            yield SiblingEntry(line, file, SiblingStatus.UNREADABLE, sentence)


def _status(
    settings: Settings, other: Settings, file: Path, engine: Engine, now: datetime
) -> tuple[SiblingStatus, str]:
    """Status and description of an entry whose settings name the same service on the same database."""
    version, max_gap = other.model.version, other.policy.max_gap_seconds
    if version == settings.model.version:
        return SiblingStatus.DUPLICATE, f"The entry of {file} watches the same version {version} as this service does."
    at = None
    if database.revision(engine) is not None:  # a database without tables has no answers
        database.require_current(engine)
        with database.reading(engine) as connection:
            at = last_request_at(connection, now, model_version=version)
    if at is None or now - at > timedelta(seconds=max_gap):
        last = "has never answered" if at is None else f"last answered at {time_text(at)}"
        return SiblingStatus.IDLE, f"The entry of {file} watches version {version}, which {last}."
    sentence = f"The entry of {file} watches version {version}, which has answered in the last {max_gap:g} s."
    return SiblingStatus.IN_USE, sentence
