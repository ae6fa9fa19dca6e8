"""Where benchmarks show what they do."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDE = 200


def console() -> Console:
    """As wide as the terminal, or wide enough for the tables where there is none."""
    return Console(width=None if Console().is_terminal else WIDE)


class Steps:
    """A progress bar over steps, which says what is being done."""

    def __init__(self, shown: Progress, title: str, total: int) -> None:
        self._shown, self._title = shown, title
        self._bar = shown.add_task(title, total=total)

    def say(self, what: str) -> None:
        """What is being done now."""
        self._shown.update(self._bar, description=f"{self._title}: {what}")

    def done(self) -> None:
        """One step less."""
        self._shown.advance(self._bar)


@contextmanager
def steps(shown_on: Console, title: str, total: int) -> Iterator[Steps]:
    """A progress bar while it is needed."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=shown_on) as shown:
        yield Steps(shown, title, total)


def markdown(table: Table) -> str:
    """A table as pages have it, under its title."""
    cells = zip(*(column.cells for column in table.columns), strict=True)
    lines = [[str(column.header) for column in table.columns], ["---", *["---:"] * (len(table.columns) - 1)], *cells]
    return "\n".join([f"**{table.title}**", "", *(f"| {' | '.join(map(str, line))} |" for line in lines), ""])


def machine() -> str:
    """What the figures were measured on, in a few words."""
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return f"Python {platform.python_version()}, {platform.system()}, {cores} cores, load {load:.1f} at the start."
