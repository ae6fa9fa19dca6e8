"""This user's real crontab, for the tests that need one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def read() -> str | None:
    """Its text, or None where there is none."""
    found = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    assert found.returncode == 0 or "no crontab for" in found.stderr, found.stderr
    return found.stdout if found.returncode == 0 else None


def write(text: str) -> None:
    """Replace it."""
    subprocess.run(["crontab", "-"], input=text, text=True, check=True)


@contextmanager
def kept() -> Iterator[None]:
    """None while the block runs, and afterwards what it was, whatever happens."""
    before = read()
    try:
        if before is not None:
            subprocess.run(["crontab", "-r"], check=True)
        yield
    finally:
        if before is not None:
            write(before)
        elif read() is not None:
            subprocess.run(["crontab", "-r"], check=True)
