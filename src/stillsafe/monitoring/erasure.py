"""Erases the rows of persons: from the log, the archives of prunes, this host's spool and the explanations.

First the erasure is recorded, with salted hashes of what it is of and of each row that it removes; only then anything
goes. An erasure that is interrupted goes on from these marks, and a row that arrives from a spool later is left out.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from stillsafe.errors import RefusedError
from stillsafe.monitoring import archive
from stillsafe.monitoring.archive_owner import ArchiveOwner
from stillsafe.monitoring.erased_texts import erase_texts
from stillsafe.progress import Progress, no_progress
from stillsafe.store import database
from stillsafe.store.codec import loads
from stillsafe.store.erasure_marks import RowMatcher, RowTraces, Subject
from stillsafe.store.lock_wait import RELEASE_SECONDS, await_lock
from stillsafe.store.read.erasures import (
    ErasureRecord,
    LogRow,
    all_erasures,
    archive_folders,
    label_count,
    marked_row_ids,
    matcher_of,
    subject_rows,
    unfinished_matches,
)
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.spool import PREDICTION, Spool
from stillsafe.store.write.erasures import advance_erasure, begin_erasure, mark_rows
from stillsafe.store.write.labels import delete_orphans
from stillsafe.store.write.retention import delete_requests, vacuum_database

BATCH_ROWS = 1_000
PAUSE_SECONDS = 0.05
"""Pause after a batch: SQLite has one writer, and the requests' rows wait for it."""
LOCK_SECONDS = 30.0
"""How long the spool may be in use by a process that drains it."""
SALT_BYTES = 16
EMPTY_LOG_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Places:
    """Where rows are besides the database.

    Attributes:
        spool: of this host, or None.
        folder: that relative folders of archives are in.
        archives: folders of archives besides those that prunes recorded.
        min_count: rows of the log that share a text which explanations may show.
    """

    spool: Spool | None
    folder: Path
    archives: tuple[Path, ...] = ()
    min_count: int = 5


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """What an erasure removed, or with `dry_run` would remove.

    Attributes:
        erasure_id: number of the tombstone; None with `dry_run`.
        prediction_count, label_count: rows of the log, and their labels with the history.
        archived_count, spooled_count: rows of archives and of this host's spool.
        text_count: explanations whose text went; 0 with `dry_run`.
        missing_archives: folders that prunes wrote to and that are not there: their rows stay.
        log_emptied: whether SQLite's write-ahead log is empty, so that no file has the rows; True on a server.
    """

    erasure_id: int | None
    prediction_count: int
    label_count: int
    archived_count: int
    spooled_count: int
    text_count: int
    missing_archives: tuple[str, ...]
    log_emptied: bool
    dry_run: bool

    def document(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        return asdict(self) | {"missing_archives": list(self.missing_archives)}


def erase(
    engine: Engine,
    places: Places,
    subjects: Sequence[Subject],
    *,
    at: datetime,
    by: str,
    reason: str,
    progress: Progress = no_progress,
) -> ErasureResult:
    """Erase all rows that have any of the subjects, and whose request came before.

    Args:
        engine: the store.
        places: where rows are besides the database.
        subjects: at least one.
        at: aware UTC.
        by: who.
        reason: why.
        progress: called after each batch.

    Raises:
        RefusedError: a prune or another erasure is under way, or an archive cannot be read or written.
        StoreError: the database or the spool cannot be used. The erasure can be resumed.
    """
    with _only_eraser(engine):
        salt = secrets.token_hex(SALT_BYTES)
        with database.writing(engine) as connection:
            erasure_id = begin_erasure(connection, subjects, at=at, by=by, reason=reason, salt=salt)
        _mark(engine, erasure_id, subjects)
        return _carry_out(engine, places, erasure_id, progress)


def resume(engine: Engine, places: Places, progress: Progress = no_progress) -> list[ErasureResult]:
    """Complete the erasures that were interrupted, oldest first; raises as `erase`."""
    with _only_eraser(engine):
        results = []
        for record in unfinished_erasures(engine):
            if record.marked_at is None:
                _mark(engine, record.id, None)
            results.append(_carry_out(engine, places, record.id, progress))
        return results


def unfinished_erasures(engine: Engine) -> list[ErasureRecord]:
    """The erasures that were interrupted, or that are under way, oldest first."""
    with database.reading(engine) as connection:
        return [each for each in all_erasures(connection) if each.completed_at is None]


def preview(engine: Engine, places: Places, subjects: Sequence[Subject], at: datetime) -> ErasureResult:
    """Count what an erasure would remove; nothing changes."""
    matcher = RowMatcher.of(subjects, at, secrets.token_hex(SALT_BYTES))
    with database.reading(engine) as connection:
        row_ids = sorted({row.id for row in subject_rows(connection, subjects, at)})
        labels = sum(label_count(connection, batch) for batch in _batches(row_ids))
        folders, owner = archive_folders(connection), ArchiveOwner.of(connection)
    present, missing = _folders(places, folders)
    spooled_count = sum(len(batch) for batch in _spooled_matches(places.spool, matcher))
    archived_count = _erase_archives(present, owner, matcher, dry_run=True)
    counts = len(row_ids), labels, archived_count, spooled_count, 0
    return ErasureResult(None, *counts, tuple(missing), log_emptied=True, dry_run=True)


@contextmanager
def _only_eraser(engine: Engine) -> Iterator[None]:
    with await_lock(lambda: database.try_lock(engine, "prune"), RELEASE_SECONDS) as owns_lock:
        if not owns_lock:
            raise RefusedError("A prune or another erasure of this database is under way.")
        yield


def _mark(engine: Engine, erasure_id: int, subjects: Sequence[Subject] | None) -> None:
    """Mark the rows of the log that are to go; without the subjects by a search of the whole log."""
    # On a server this waits for the transactions that may still write a row without knowing of the erasure.
    own = await_lock(lambda: database.try_lock(engine, "erasure"), RELEASE_SECONDS)
    with own, database.writing(engine) as connection:
        record = _record(all_erasures(connection), erasure_id)
        if subjects is None:
            matches: Iterable[LogRow] = unfinished_matches(connection, record)
        else:
            matches = subject_rows(connection, subjects, record.at)
        rows = {row.id: row for row in matches}
        mark_rows(connection, erasure_id, record.salt, rows.values())
        advance_erasure(connection, erasure_id, times={"marked_at": datetime.now(UTC)})


def _record(records: Sequence[ErasureRecord], erasure_id: int) -> ErasureRecord:
    return next(each for each in records if each.id == erasure_id)


def _carry_out(engine: Engine, places: Places, erasure_id: int, progress: Progress) -> ErasureResult:
    """Remove what the marks of an erasure are of; whatever is gone already stays gone."""
    with database.reading(engine) as connection:
        record = _record(all_erasures(connection), erasure_id)
        matcher = matcher_of(connection, record)
        row_ids, folders = marked_row_ids(connection, erasure_id), archive_folders(connection)
        owner = ArchiveOwner.of(connection)
    progress("Erasing: spool", None)
    _count(engine, erasure_id, spooled_count=_erase_spool(places.spool, matcher))
    present, missing = _folders(places, folders)
    progress("Erasing: archives", None)
    _count(engine, erasure_id, archived_count=_erase_archives(present, owner, matcher))
    # The texts go before the rows, whose values say which texts they are.
    progress("Erasing: explanations", None)
    with database.writing(engine) as connection:
        text_count = erase_texts(connection, row_ids, places.min_count)
        advance_erasure(connection, erasure_id, times={}, text_count=text_count)
    _erase_log(engine, erasure_id, row_ids, progress)
    with database.writing(engine) as connection:
        delete_orphans(connection, record.at)
    log_emptied = _empty_log(engine)
    with database.writing(engine) as connection:
        advance_erasure(connection, erasure_id, times={"completed_at": datetime.now(UTC)})
        record = _record(all_erasures(connection), erasure_id)
    counts = (record.prediction_count, record.label_count, record.archived_count, record.spooled_count)
    return ErasureResult(erasure_id, *counts, record.text_count, tuple(missing), log_emptied=log_emptied, dry_run=False)


def _count(engine: Engine, erasure_id: int, **counts: int) -> None:
    if any(counts.values()):
        with database.writing(engine) as connection:
            advance_erasure(connection, erasure_id, times={}, **counts)


def _erase_log(engine: Engine, erasure_id: int, row_ids: Sequence[int], progress: Progress) -> None:
    count = 0
    for batch in _batches(row_ids):
        with database.writing(engine) as connection:
            labels = label_count(connection, batch)
            predictions = delete_requests(connection, RequestTable.PREDICTIONS, batch)
            advance_erasure(connection, erasure_id, times={}, prediction_count=predictions, label_count=labels)
        count += len(batch)
        progress(f"Erasing: {count:,} of {len(row_ids):,} rows", count / len(row_ids))
        time.sleep(PAUSE_SECONDS)


def _empty_log(engine: Engine) -> bool:
    """Empty SQLite's write-ahead log, or free the space on a server; return whether no file has the rows."""
    if engine.dialect.name != "sqlite":
        vacuum_database(engine)
        return True
    for _ in range(EMPTY_LOG_ATTEMPTS):
        if database.truncate_write_ahead_log(engine):
            return True
        time.sleep(PAUSE_SECONDS)
    return False


def _erase_spool(spool: Spool | None, matcher: RowMatcher) -> int:
    """Delete the matching rows of the spool, which no process drains meanwhile."""
    if spool is None or not spool.path.exists():
        return 0
    with await_lock(spool.try_lock, LOCK_SECONDS) as is_only_drainer:
        if not is_only_drainer:
            raise RefusedError("Another process drains the spool. Start `stillsafe erase --resume` when it has.")
        batches = list(_spooled_matches(spool, matcher))
        for batch in batches:
            spool.delete(batch)
        return sum(map(len, batches))


def _spooled_matches(spool: Spool | None, matcher: RowMatcher) -> Iterator[list[int]]:
    """The ids of the spool's entries that match, in batches."""
    if spool is None or not spool.path.exists():
        return
    last = 0
    while entries := spool.entries_after(last, BATCH_ROWS):
        last = entries[-1].id
        documents = [(each.id, each.entry.document) for each in entries if each.entry.kind == PREDICTION]
        if ids := [number for number, document in documents if matcher.matches(_spooled_traces(document))]:
            yield ids


def _spooled_traces(document: Mapping[str, Any]) -> RowTraces:
    request_id = document.get("request_id")
    text = None if request_id is None else request_id["text"]
    at = datetime.fromisoformat(document["timestamp"])
    return RowTraces(document["prediction_id"], text, at, document["input_summary"])


def _folders(places: Places, folders: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The folders of archives that are there, and the recorded ones that are not.

    Raises:
        RefusedError: one that was named is not there.
    """
    if absent := [folder for folder in places.archives if not folder.is_dir()]:
        raise RefusedError(f"{absent[0]}: there is no such folder of archives.")
    present, missing = list(places.archives), []
    for name in folders:
        candidates = [folder for folder in (Path(name), places.folder / name) if folder.is_dir()]
        present += candidates[:1]
        missing += [] if candidates else [name]
    return [*dict.fromkeys(folder.resolve() for folder in present)], missing


def _erase_archives(folders: Sequence[Path], owner: ArchiveOwner, matcher: RowMatcher, *, dry_run: bool = False) -> int:
    def is_erased(stamps: frozenset[str], row: Mapping[str, Any]) -> bool:
        if not owner.owns(stamps, row):
            return False
        at = row["timestamp"].astimezone(UTC)
        return matcher.matches(RowTraces(row["prediction_id"], row.get("request_id"), at, loads(row["input_summary"])))

    files = [
        file
        for folder in folders
        for file in archive.archive_files(folder, RequestTable.PREDICTIONS, keep_partial=dry_run)
    ]
    return sum(archive.erase_rows(file, RequestTable.PREDICTIONS, is_erased, dry_run=dry_run) for file in files)


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), BATCH_ROWS):
        yield ids[start : start + BATCH_ROWS]
