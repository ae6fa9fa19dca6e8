"""Where rows wait while the database is out: a small SQLite file beside the settings, synced before any answer.

Several processes of one host share it: each appends, and one at a time drains. Nothing is forgotten here before the
database has it, so a process killed in between leaves rows that the database then recognises by their identifiers.
"""

import fcntl
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from stillsafe.errors import StoreError
from stillsafe.store.codec import loads, storable_json

R = TypeVar("R")
BUSY_TIMEOUT_SECONDS = 2.0
"""A spool that another process holds for longer counts as unwritable: its request waits already."""
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS waiting (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, document TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, tried INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What waits: a kind that the drainer knows, and a document of plain JSON types."""

    kind: str
    document: Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry in its place; `id` grows in the order of arrival over all processes."""

    id: int
    entry: Entry


class Spool:
    """One spool file. It is made by the first row that needs it; until then nothing waits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._door = Lock()

    def append(self, entries: Sequence[Entry]) -> None:
        """Put entries at the end; on disk when this returns.

        Raises:
            StoreError: the spool cannot be written; none of them waits.
        """
        rows = [(entry.kind, storable_json(entry.document)) for entry in entries]
        self._write(lambda c: c.executemany("INSERT INTO waiting (kind, document) VALUES (?, ?)", rows))

    def count(self) -> int:
        """How many entries wait.

        Raises:
            StoreError: the spool cannot be read.
        """
        found = self._read("SELECT count(*) FROM waiting")
        return int(found[0][0]) if found else 0

    def first(self, most: int) -> list[Waiting]:
        """The entries that have waited longest, in order of arrival.

        Raises:
            StoreError: the spool cannot be read.
        """
        found = self._read("SELECT id, kind, document FROM waiting ORDER BY id LIMIT ?", most)
        return [Waiting(number, Entry(kind, loads(document))) for number, kind, document in found]

    def forget(self, last_id: int) -> None:
        """Drop every entry up to this one: the database has them.

        Raises:
            StoreError: the spool cannot be written; they still wait.
        """
        self._write(lambda c: c.execute("DELETE FROM waiting WHERE id <= ?", (last_id,)))

    def require_writable(self) -> None:
        """Write something and sync it, so that a full disk is known before a request finds it.

        Raises:
            StoreError: the spool cannot be written.
        """
        self._write(
            lambda c: c.execute("INSERT INTO probe VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET tried = tried + 1")
        )

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether this is the only drainer on this host, and hold the place while the block runs.

        Raises:
            StoreError: the lock file cannot be opened.
        """
        try:
            handle = self.path.with_name(f"{self.path.name}.lock").open("a")
        except OSError as error:
            raise StoreError(f"The spool's lock cannot be opened: {error}.") from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self._door:
            self._drop()

    def _read(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        if self._connection is None and not self.path.exists():
            return []
        return self._using(lambda c: c.execute(query, values).fetchall(), "read")

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        def committed(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                work(connection)
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

        self._using(committed, "written")

    def _using(self, work: Callable[[sqlite3.Connection], R], what: str) -> R:
        with self._door:
            try:
                if self._connection is None:
                    self._connection = _opened(self.path)
                return work(self._connection)
            except sqlite3.Error as error:
                self._drop()  # opened anew by whoever comes next: the file may have been mended meanwhile
                told = f"The spool {self.path.name} cannot be {what}: {error}."
                raise StoreError(
                    told, reason=f"the database is out, and its spool cannot be {what}: {error}"
                ) from error

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
