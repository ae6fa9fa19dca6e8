"""Check which files beside a service show values of single rows that its database no longer shows."""

import glob
from collections.abc import Iterator
from pathlib import Path

from stillsafe.check.findings import Finding, ok, warning
from stillsafe.core.text import join_names
from stillsafe.errors import StillsafeError
from stillsafe.monitoring import erasure
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.reference_files import disclosing_files
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.database_file import file_of, revision_of_copy

SUBJECT, MOST_NAMES = "personal data", 5
REDACTION_REVISION = "0010"
"""The revision of the database from which on it shows no values of few rows."""


def disclosure_findings(settings: Settings) -> Iterator[Finding]:
    """Reference files and copies of the database that older releases wrote, with what to do about them."""
    log_format, current = LogFormat.of(settings), settings.path(settings.model.reference)
    files = [file for file in disclosing_files(settings.folder, log_format) if file != current]
    if files:
        names = join_names([file.name for file in files], MOST_NAMES)
        message = f"{names} list values of few rows, or of features that the log hides, and {current.name} is in use."
        yield warning(
            SUBJECT, f"{message} Delete them, or `stillsafe init --refresh --sample DATA` removes the values."
        )
    copies = older_copies(settings)
    if copies:
        names = join_names([file.name for file in copies], MOST_NAMES)
        message = f"{names}: copies from before an upgrade, which removed values of few rows from the database."
        yield warning(SUBJECT, f"{message} Delete them when you need not go back.")
    open_count = unfinished_erasures(settings)
    if open_count:
        message = f"{open_count} erasures were interrupted, so rows that should be gone may be there."
        yield warning(SUBJECT, f"{message} Run `stillsafe erase --resume`.")
    if not files and not copies and not open_count:
        yield ok(SUBJECT, "no older copy of reference or database lists values of few rows")


def unfinished_erasures(settings: Settings) -> int:
    """Erasures that were interrupted; 0 where the database cannot be read, which other findings report."""
    engine = database.connect(settings.database_url, settings.service.name)
    try:
        database.require_current(engine)
        return len(erasure.unfinished_erasures(engine))
    except StillsafeError:
        return 0
    finally:
        engine.dispose()


def older_copies(settings: Settings) -> list[Path]:
    """The copies that `db upgrade` made of a SQLite database before the redaction."""
    file = file_of(database.connect(settings.database_url))
    if file is None:
        return []
    copies = sorted(file.parent.glob(f"{glob.escape(file.name)}.before-*"))
    return [copy for copy in copies if (revision_of_copy(copy) or REDACTION_REVISION) < REDACTION_REVISION]
