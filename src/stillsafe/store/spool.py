"""The spool: rows that wait while the database is out, in a small SQLite file beside the settings.

A row is synced to the disk before its request is answered. The processes of one host share the file: each appends,
and one at a time drains. A row is deleted only after the database has committed it. A process that is killed in
between leaves rows that the database recognises by their identifiers.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from stillsafe.errors import StoreError
from stillsafe.store.codec import loads, storable, storable_json
from stillsafe.store.disk import create_private, try_lock_file

R = TypeVar("R")
PREDICTION = "prediction"
"""Kind of an entry that is an answered request."""
BUSY_TIMEOUT_SECONDS = 2.0
"""A spool that another process locks for longer counts as unwritable, because its request is waiting."""
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS waiting (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, document TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, tried INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS waiting_request_id ON waiting (json_extract(document, '$.request_id.text'))
        WHERE json_extract(document, '$.request_id.text') IS NOT NULL;
"""
_OF_REQUEST = """
    SELECT document FROM waiting WHERE json_extract(document, '$.request_id.text') = ?
        AND json_extract(document, '$.timestamp') >= ? ORDER BY id LIMIT 1
"""
_INSERTION = "INSERT INTO waiting (kind, document) VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row for the database: its kind, and a document of plain JSON types."""

    kind: str
    document: Any


@dataclass(frozen=True, slots=True)
class SpooledEntry:
    """An entry in the spool; `id` grows in the order of arrival over all processes."""

    id: int
    entry: Entry


class Spool:
    """One spool file. The first entry creates it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()

    def append(self, entries: Sequence[Entry]) -> None:
        """Append entries, all or none; they are on the disk when this returns.

        Raises:
            StoreError: the spool cannot be written.
        """
        rows = [(entry.kind, storable_json(entry.document)) for entry in entries]
        self._write(lambda c: c.executemany(_INSERTION, rows))

    def append_first(self, entries: Sequence[Entry], oldest: datetime) -> list[Any]:
        """Append predictions as `append`, except those whose client's id a waiting prediction has already.

        Args:
            entries: predictions, as `PredictionRecord.spool_document` writes them.
            oldest: ids of earlier predictions are free again, aware UTC.

        Returns:
            Per entry the document of the waiting prediction that has its id, or None where it was appended.

        Raises:
            StoreError: the spool cannot be written.
        """
        rows = [(entry.kind, storable_json(entry.document)) for entry in entries]
        identities = [each.document.get("request_id") for each in entries]
        ids = [None if each is None else storable(each["text"]) for each in identities]
        documents: list[Any] = []

        def insert(connection: sqlite3.Connection) -> None:
            for row, text in zip(rows, ids, strict=True):
                first = text and connection.execute(_OF_REQUEST, (text, oldest.isoformat())).fetchone()
                if not first:
                    connection.execute(_INSERTION, row)
                documents.append(loads(first[0]) if first else None)

        self._write(insert)
        return documents

    def count(self) -> int:
        """Entries in the spool.

        Raises:
            StoreError: the spool cannot be read.
        """
        rows = self._read("SELECT count(*) FROM waiting")
        return int(rows[0][0]) if rows else 0

    def oldest(self, limit: int) -> list[SpooledEntry]:
        """The oldest entries, in order of arrival.

        Raises:
            StoreError: the spool cannot be read.
        """
        return self.entries_after(0, limit)

    def entries_after(self, last_id: int, limit: int) -> list[SpooledEntry]:
        """The oldest entries with a higher id, in order of arrival.

        Raises:
            StoreError: the spool cannot be read.
        """
        query = "SELECT id, kind, document FROM waiting WHERE id > ? ORDER BY id LIMIT ?"
        return [
            SpooledEntry(number, Entry(kind, loads(document)))
            for number, kind, document in self._read(query, last_id, limit)
        ]

    def delete(self, ids: Sequence[int]) -> None:
        """Delete some entries for good, from the write-ahead log too; only while `try_lock` is held.

        Raises:
            StoreError: the spool cannot be written; the entries stay.
        """
        self._write(lambda c: c.executemany("DELETE FROM waiting WHERE id = ?", [(each,) for each in ids]))
        self._execute(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(), "written")

    def delete_up_to(self, last_id: int) -> None:
        """Delete every entry up to this id, after the database has committed them.

        An empty spool holds nothing of them, in its write-ahead log neither, unless another process reads it just now.

        Raises:
            StoreError: the spool cannot be written; the entries stay.
        """
        self._write(lambda c: c.execute("DELETE FROM waiting WHERE id <= ?", (last_id,)))
        if not self.count():
            self._execute(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(), "written")

    def require_writable(self) -> None:
        """Write and sync a probe row, so that a full disk is detected before a request needs the spool.

        Raises:
            StoreError: the spool cannot be written.
        """
        self._write(
            lambda c: c.execute("INSERT INTO probe VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET tried = tried + 1")
        )

    def try_lock(self) -> AbstractContextManager[bool]:
        """Become the only drainer on this host for the block; see `try_lock_file`.

        Raises:
            StoreError: the lock file cannot be opened.
        """
        return try_lock_file(self.path.with_name(f"{self.path.name}.lock"))

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        with self._lock:
            self._disconnect()

    def _read(self, query: str, *parameters: int) -> list[tuple[Any, ...]]:
        if self._connection is None and not self.path.exists():
            return []
        return self._execute(lambda c: c.execute(query, parameters).fetchall(), "read")

    def _write(self, statement: Callable[[sqlite3.Connection], object]) -> None:
        def transaction(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                statement(connection)
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

        self._execute(transaction, "written")

    def _execute(self, work: Callable[[sqlite3.Connection], R], verb: str) -> R:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _connect(self.path)
                return work(self._connection)
            except sqlite3.Error as error:
                self._disconnect()  # the next call opens the file anew: it may have been repaired meanwhile
                raise StoreError(
                    f"The spool {self.path.name} cannot be {verb}: {error}.",
                    reason=f"the database is out, and its spool cannot be {verb}: {error}",
                ) from error

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    with suppress(OSError):  # SQLite then raises the reason
        create_private(path)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
