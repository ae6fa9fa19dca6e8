"""This user's real crontab, for the tests that need one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def read() -> str | None:
    """The text of the crontab, or None where there is none."""
    process = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    assert process.returncode == 0 or "no crontab for" in process.stderr, process.stderr
    return process.stdout if process.returncode == 0 else None


def write(text: str) -> None:
    """Replace the crontab."""
    subprocess.run(["crontab", "-"], input=text, text=True, check=True)


@contextmanager
def restored_crontab() -> Iterator[None]:
    """No crontab while the block runs; afterwards the old one, whatever happens."""
    old_text = read()
    try:
        if old_text is not None:
            subprocess.run(["crontab", "-r"], check=True)
        yield
    finally:
        if old_text is not None:
            write(old_text)
        elif read() is not None:
            subprocess.run(["crontab", "-r"], check=True)
