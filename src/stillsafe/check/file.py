"""Check the files of a service: that its database can be written, and that no other user of the machine reads them."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from stillsafe.check.findings import Finding, error, ok, warning
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.database_file import file_of

WRITABLE, READABLE_BY_OTHERS = 0o222, 0o004


def file_findings(settings: Settings) -> Iterator[Finding]:
    """What is wrong with the permissions of the settings and of a SQLite database."""
    file = file_of(database.connect(settings.database_url))
    places = [] if file is None or not file.exists() else [file.parent, *_database_files(file)]
    unwritable_places = [place for place in places if not _is_writable(place)]
    for place in unwritable_places:
        kind = "folder, in which SQLite keeps its write-ahead log," if place.is_dir() else "database"
        message = f"The {kind} cannot be written: {place} (mode {_mode(place):03o}). No request could be recorded."
        yield error("file modes", f"{message} Give the user of the service permission to write it.")
    readable_files = [
        each.name
        for each in (settings.file, file)
        if each is not None and each.exists() and _mode(each) & READABLE_BY_OTHERS
    ]
    if readable_files:
        message = (
            f"Every user of this machine can read {' and '.join(readable_files)}: the salt of hashes, and requests."
        )
        yield warning("file modes", f"{message} As their owner: chmod 600 {' '.join(readable_files)}.")
    elif not unwritable_places:
        yield ok("file modes", "other users of this machine cannot read settings and database")


def _database_files(file: Path) -> list[Path]:
    """A SQLite database, its write-ahead log and its lock files: a command of root may have made some of them."""
    companions = [file.with_name(f"{file.name}{suffix}") for suffix in ("-wal", "-shm")]
    companions += sorted(file.parent.glob(f"{glob.escape(file.name)}.*.lock"))
    return [file, *(each for each in companions if each.exists())]


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _is_writable(path: Path) -> bool:
    """Whether this user may write a file, by its permissions too: root may write any file."""
    return bool(_mode(path) & WRITABLE) and os.access(path, os.W_OK)
