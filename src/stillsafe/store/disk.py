"""Files that survive a power cut, and lock files."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stillsafe.errors import StoreError

PRIVATE_MODE = 0o600
"""Permissions of a file with requests or secrets: only its owner reads and writes it."""


def sync(path: Path) -> None:
    """Force a file's bytes, or the names in a folder, to the disk.

    Raises:
        OSError: the disk reports an error.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_private(path: Path) -> None:
    """Create an empty file that only its owner may read and write; a file that exists stays as it is.

    Raises:
        OSError: the file cannot be created.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_MODE))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read and write; a file that exists keeps its permissions.

    Raises:
        OSError: the file cannot be written.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, PRIVATE_MODE)
    with open(descriptor, "wb") as file:
        file.write(content)


@contextmanager
def try_lock_file(path: Path) -> Iterator[bool]:
    """Lock a file for the block and yield True, or yield False where another process has locked it. Never waits.

    The kernel releases the lock of a killed process. The empty file stays.

    Raises:
        StoreError: the file cannot be opened.
    """
    try:
        file = path.open("a")
    except OSError as error:
        raise StoreError(f"The lock file {path.name} cannot be opened: {error}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
