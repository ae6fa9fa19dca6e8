"""Retention: requests older than a cut leave the database, a batch at a time, while the service goes on serving."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.errors import RefusedError
from stillsafe.monitoring import archive
from stillsafe.store import database
from stillsafe.store.read.requests import (
    RequestTable,
    last_request_at,
    oldest_request_at,
    request_count,
    request_ids,
    request_rows,
)
from stillsafe.store.read.runs import last_run
from stillsafe.store.read.state import current_state
from stillsafe.store.write.retention import delete_requests, record_prune, vacuum_database

BATCH_ROWS = 5_000
PAUSE_SECONDS = 0.05  # SQLite has one writer: whoever waits for it looks again within this time

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one start of retention did, or with `dry_run` would have done.

    Attributes:
        cut: what was asked for: older rows go.
        before: what was done: rows before it went. Earlier than the cut where a run still needs the rows between.
        held_back_by: why it is earlier, or None.
        prediction_count, refusal_count: rows.
        dry_run: whether nothing was touched.
        archive: the folder they went to, or None.
    """

    cut: datetime
    before: datetime
    held_back_by: str | None
    prediction_count: int
    refusal_count: int
    dry_run: bool
    archive: str | None


def prune(
    engine: Engine,
    *,
    now: datetime,
    older_than: timedelta,
    window: timedelta,
    folder: Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Pruned:
    """Delete old predictions and refusals; decisions, incidents and baselines stay for ever.

    Killed at any point it leaves each row in the database or in the archive; started again it goes on from there.

    Args:
        engine: the store.
        now: aware UTC.
        older_than: what may go.
        window: the policy's window, whose rows the next run needs.
        folder: where the rows are archived before they are deleted, or None.
        dry_run: count only.
        progress: told the rows done and those in all.

    Raises:
        RefusedError: another one is under way, or the archive cannot be written.
        StoreError: the database cannot be read or written; what was deleted before stays deleted.
    """
    with database.alone(engine, "prune") as alone:
        if not alone:
            raise RefusedError("Another prune of this database is under way.")
        cut = now - older_than
        with database.reading(engine) as connection:
            before, why = _limit(connection, cut, now, window)
            counts = [request_count(connection, requests, before) for requests in RequestTable]
        where = None if folder is None else str(folder)
        if not dry_run:
            if any(counts):
                with database.writing(engine) as connection:
                    record_prune(connection, at=now, before=before, counts=counts, archive=where)
            counts = _remove_all(engine, before, folder, _counted(progress, sum(counts)))
        predictions, refusals = counts
        return Pruned(cut, before, why, predictions, refusals, dry_run, where)


def vacuum(engine: Engine) -> None:
    """Give the space of deleted rows back to the file system.

    Raises:
        StoreError: the database cannot be read or written.
    """
    vacuum_database(engine)


def _limit(connection: Connection, cut: datetime, now: datetime, window: timedelta) -> tuple[datetime, str | None]:
    """The oldest row that must stay is the newest that no future run can ask for, and why it is that one."""
    state, last = current_state(connection), last_run(connection)
    needed = {
        "the window of the next run": now - window,
        "the window of the last run": None if last is None else last.window_start,
        "the end of the last conclusive run": None if state is None else state.memory.last_conclusive_at,
        "the last request, from which silence is counted": last_request_at(connection, now),
    }
    why, oldest = min(((why, at) for why, at in needed.items() if at is not None), key=lambda item: item[1])
    return (cut, None) if cut <= oldest else (oldest, why)


def _remove_all(engine: Engine, before: datetime, folder: Path | None, done: Callable[[int], None]) -> list[int]:
    removed = []
    for requests in RequestTable:
        count = 0
        for ids, file in _groups(engine, requests, before, folder):
            if file is not None:
                archive.add(file, requests, _rows(engine, requests, ids))
            for batch in _batches(ids):
                count += _remove(engine, requests, batch)
                done(len(batch))
        removed.append(count)
    return removed


def _groups(
    engine: Engine, requests: RequestTable, before: datetime, folder: Path | None
) -> Iterator[tuple[list[int], Path | None]]:
    """One day and model version after the other, oldest first: its ids and its file. Each must be gone for the next."""
    while True:
        with database.reading(engine) as connection:
            oldest = oldest_request_at(connection, requests, before)
            if oldest is None:
                return
            at, version = oldest
            day = datetime(at.year, at.month, at.day, tzinfo=UTC)
            ids = request_ids(connection, requests, day, min(day + timedelta(days=1), before), version)
        yield ids, None if folder is None else archive.file_of(folder, requests, day.date(), version)


def _rows(engine: Engine, requests: RequestTable, ids: Sequence[int]) -> Iterator[list[dict[str, Any]]]:
    for batch in _batches(ids):
        with database.reading(engine) as connection:
            rows = request_rows(connection, requests, batch)
        yield rows


def _remove(engine: Engine, requests: RequestTable, ids: Sequence[int]) -> int:
    with database.writing(engine) as connection:
        removed = delete_requests(connection, requests, ids)
    time.sleep(PAUSE_SECONDS)
    return removed


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), BATCH_ROWS):
        yield ids[start : start + BATCH_ROWS]


def _counted(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    return count
