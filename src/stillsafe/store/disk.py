"""Files that are to be there after a power cut."""

import os
from pathlib import Path


def sync(place: Path) -> None:
    """Have it on the disk: a file's bytes, or the names in a folder.

    Raises:
        OSError: the disk says no.
    """
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
