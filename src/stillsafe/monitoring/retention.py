"""Deletes old requests from the database in batches, while the service keeps serving."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.errors import RefusedError
from stillsafe.monitoring import archive
from stillsafe.monitoring.archive_owner import ArchiveOwner, stamp_of
from stillsafe.progress import Progress, no_progress
from stillsafe.store import database
from stillsafe.store.lock_wait import RELEASE_SECONDS, await_lock
from stillsafe.store.read.request_id import rows_with_ids
from stillsafe.store.read.requests import (
    RequestTable,
    last_request_at,
    oldest_request_at,
    request_count,
    request_ids,
)
from stillsafe.store.read.retention import AgedTable, aged_row_count
from stillsafe.store.read.runs import last_run
from stillsafe.store.read.state import version_states
from stillsafe.store.write.retention import delete_aged_rows, delete_requests, record_prune, vacuum_database

BATCH_ROWS = 5_000
PAUSE_SECONDS = 0.05  # SQLite has one writer, and one that waits retries within this time


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The rows that one prune deleted, or with `dry_run` would have deleted.

    Attributes:
        cut: the requested cutoff: older rows are to be deleted.
        pruned_before: the actual cutoff. It is earlier than `cut` where a run needs the rows between.
        held_back_by: why it is earlier, or None.
        prediction_count, refusal_count: rows.
        dry_run: whether nothing was changed.
        archive: the folder that the rows were archived in, or None.
    """

    cut: datetime
    pruned_before: datetime
    held_back_by: str | None
    prediction_count: int
    refusal_count: int
    dry_run: bool
    archive: str | None

    def document(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        return {"before" if name == "pruned_before" else name: value for name, value in asdict(self).items()}


def prune(
    engine: Engine,
    *,
    now: datetime,
    older_than: timedelta | Mapping[RequestTable, timedelta],
    window: timedelta,
    folder: Path | None = None,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> PruneResult:
    """Delete old predictions and refusals. Decisions, incidents and baselines stay for ever.

    A prune that is killed leaves each row in the database or in the archive. The next prune continues from there.

    Args:
        engine: the store.
        now: aware UTC.
        older_than: age beyond which rows may be deleted, of both tables or of each; one without an age stays.
        window: the policy's window, whose rows the next run needs.
        folder: where the rows are archived before they are deleted, or None.
        dry_run: only count the rows.
        progress: called after each batch.

    Raises:
        RefusedError: another prune is under way, or the archive cannot be written.
        StoreError: the database cannot be read or written. Rows of completed batches stay deleted.
    """
    with await_lock(lambda: database.try_lock(engine, "prune"), RELEASE_SECONDS) as owns_lock:
        if not owns_lock:
            raise RefusedError("Another prune of this database is under way.")
        ages = dict.fromkeys(RequestTable, older_than) if isinstance(older_than, timedelta) else older_than
        with database.reading(engine) as connection:
            cutoffs = {requests: _cutoff(connection, now - age, now, window) for requests, age in ages.items()}
            ends = {requests: cutoff[0] for requests, cutoff in cutoffs.items()}
            counts = [
                request_count(connection, requests, ends[requests]) if requests in ends else 0
                for requests in RequestTable
            ]
        cut = now - min(ages.values(), default=timedelta(0))
        end, held_back_by = max(cutoffs.values(), key=lambda each: each[0], default=(now, None))
        archive_folder = None if folder is None else str(folder)
        if not dry_run:
            if any(counts):
                _record(engine, now, end, counts, folder)
            place = None if folder is None else (folder, stamp_of(now))
            counts = _delete_all(engine, ends, place, _row_counter(progress, sum(counts)))
            database.truncate_write_ahead_log(engine)
        predictions, refusals = counts
        return PruneResult(cut, end, held_back_by, predictions, refusals, dry_run, archive_folder)


def _record(engine: Engine, now: datetime, end: datetime, counts: Sequence[int], folder: Path | None) -> None:
    """Put a prune on record, before it deletes anything; one into another service's archive is refused."""
    with database.writing(engine) as connection:
        if folder is not None:
            ArchiveOwner.of(connection).require_own_folder(folder)
        record_prune(connection, at=now, end=end, counts=counts, archive=None if folder is None else str(folder))


def vacuum(engine: Engine) -> None:
    """Return the space of deleted rows to the file system.

    Raises:
        StoreError: the database cannot be read or written.
    """
    vacuum_database(engine)


def _cutoff(connection: Connection, cut: datetime, now: datetime, window: timedelta) -> tuple[datetime, str | None]:
    """The actual cutoff, and why it is earlier than `cut`: the next run still needs some older rows."""
    states, run = version_states(connection), last_run(connection)
    conclusive = [each.memory.last_conclusive_at for each in states if each.memory.last_conclusive_at is not None]
    waiting_times = [each.memory.unjudged_since for each in states if each.memory.unjudged_since is not None]
    needed_since = {
        "the window of the next run": now - window,
        "the window of the last run": None if run is None else run.window_start,
        "the end of the last conclusive run": min(conclusive, default=None),
        "a request that waits for a conclusive run": min(waiting_times, default=None),
        "the last request, from which silence is counted": last_request_at(connection, now),
    }
    reason, oldest = min(((why, at) for why, at in needed_since.items() if at is not None), key=lambda item: item[1])
    return (cut, None) if cut <= oldest else (oldest, reason)


def prune_texts(
    engine: Engine, *, now: datetime, labels: timedelta | None, explanations: timedelta | None, dry_run: bool = False
) -> tuple[int, int]:
    """Delete labels and explanations that are older than their ages; return how many of each.

    Raises:
        StoreError: the database cannot be read or written. What completed batches deleted stays deleted.
    """
    counts = dict.fromkeys(AgedTable, 0)
    ages = {AgedTable.LABELS: labels, AgedTable.EXPLANATIONS: explanations, AgedTable.FAILURES: explanations}
    for table, age in ages.items():
        if age is None:
            continue
        with database.reading(engine) as connection:
            counts[table] = count = aged_row_count(connection, table, now - age)
        if count and table is AgedTable.LABELS and not dry_run:
            # On record, because a replay from the logs cannot count them again: their rows are older than they.
            with database.writing(engine) as connection:
                record_prune(connection, at=now, end=now - age, counts=(0, 0), archive=None)
        while count and not dry_run:
            with database.writing(engine) as connection:
                count = delete_aged_rows(connection, table, now - age, BATCH_ROWS)
            time.sleep(PAUSE_SECONDS)
    if any(counts.values()) and not dry_run:
        database.truncate_write_ahead_log(engine)
    return counts[AgedTable.LABELS], counts[AgedTable.EXPLANATIONS] + counts[AgedTable.FAILURES]


def _delete_all(
    engine: Engine,
    ends: Mapping[RequestTable, datetime],
    place: tuple[Path, str] | None,
    count_rows: Callable[[int], None],
) -> list[int]:
    """Archive and delete all rows before the end of their table. Returns the number of rows per table."""
    totals = []
    folder, stamp = place or (None, archive.UNKNOWN)
    for requests in RequestTable:
        total = 0
        for ids, file in _groups(engine, requests, ends[requests], folder) if requests in ends else ():
            if file is not None:
                archive.add_rows(file, requests, _rows(engine, requests, ids), stamp)
            for batch in _batches(ids):
                total += _delete(engine, requests, batch)
                count_rows(len(batch))
        totals.append(total)
    return totals


def _groups(
    engine: Engine, requests: RequestTable, end: datetime, folder: Path | None
) -> Iterator[tuple[list[int], Path | None]]:
    """Ids and archive file of each day and model version, oldest first. Delete each group before taking the next."""
    while True:
        with database.reading(engine) as connection:
            oldest = oldest_request_at(connection, requests, end)
            if oldest is None:
                return
            at, version = oldest
            day = datetime(at.year, at.month, at.day, tzinfo=UTC)
            ids = request_ids(connection, requests, day, min(day + timedelta(days=1), end), version)
        yield ids, None if folder is None else archive.archive_file(folder, requests, day.date(), version)


def _rows(engine: Engine, requests: RequestTable, ids: Sequence[int]) -> Iterator[list[dict[str, Any]]]:
    for batch in _batches(ids):
        with database.reading(engine) as connection:
            rows = rows_with_ids(connection, requests, batch)
        yield rows


def _delete(engine: Engine, requests: RequestTable, ids: Sequence[int]) -> int:
    with database.writing(engine) as connection:
        count = delete_requests(connection, requests, ids)
    time.sleep(PAUSE_SECONDS)
    return count


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), BATCH_ROWS):
        yield ids[start : start + BATCH_ROWS]


def _row_counter(progress: Progress, total: int) -> Callable[[int], None]:
    """A function that adds the rows of a batch to the progress."""
    sum_of_rows = 0

    def count_rows(rows: int) -> None:
        nonlocal sum_of_rows
        sum_of_rows += rows
        progress(f"Pruning: {sum_of_rows:,} of {total:,} rows", sum_of_rows / max(total, 1))

    return count_rows
