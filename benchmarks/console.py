"""Progress, tables and result files of the benchmarks."""

import argparse
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from tests.postgres import Postgres

WIDE = 200


def console() -> Console:
    """As wide as the terminal, or wide enough for the tables where there is none."""
    return Console(width=None if Console().is_terminal else WIDE)


class Steps:
    """A progress bar over steps, with a description of the current one."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress, self._title = progress, title
        self._bar = progress.add_task(title, total=total)

    def describe(self, step: str) -> None:
        """Show the current step."""
        self._progress.update(self._bar, description=f"{self._title}: {step}")

    def advance(self) -> None:
        """Count one step as complete."""
        self._progress.advance(self._bar)


@contextmanager
def steps(output: Console, title: str, total: int) -> Iterator[Steps]:
    """A progress bar while it is needed."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=output) as progress:
        yield Steps(progress, title, total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What every part of a benchmark needs.

    Attributes:
        options: of the command line; `json` and `markdown` are result files or None.
        folder: temporary.
        server: PostgreSQL, with commits that reach the disk.
        output: where progress and tables are printed.
        tables: printed so far.
    """

    options: argparse.Namespace
    folder: Path
    server: "Postgres"
    output: Console
    tables: list[Table] = field(default_factory=list)

    def show(self, table: Table) -> None:
        """Print a table, and keep it for `--markdown`."""
        self.output.print(table)
        self.tables.append(table)

    def write(self, results: dict[str, Any]) -> None:
        """Write the result files that the options name."""
        if self.options.json:
            self.options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
        if self.options.markdown:
            self.options.markdown.write_text("\n".join(map(markdown, self.tables)), encoding="utf-8")


def markdown(table: Table) -> str:
    """A table as pages have it, under its title."""
    cells = zip(*(column.cells for column in table.columns), strict=True)
    lines = [[str(column.header) for column in table.columns], ["---", *["---:"] * (len(table.columns) - 1)], *cells]
    return "\n".join([f"**{table.title}**", "", *(f"| {' | '.join(map(str, line))} |" for line in lines), ""])


def machine() -> str:
    """What the figures were measured on, in a few words."""
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return f"Python {platform.python_version()}, {platform.system()}, {cores} cores, load {load:.1f} at the start."
