"""What several commands print with: the consoles, JSON, colours, times, numbers and the progress bar."""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from stillsafe.cli.json_lines import JsonLineStream, is_json_asked
from stillsafe.core.evidence.time_text import exact_time_text, time_text
from stillsafe.progress import Progress, no_progress
from stillsafe.store.codec import to_document

NARROWEST_PROSE = 24  # columns of a table's sentences
WIDE = 120  # columns; a narrower terminal gets tables without their sentences
STATE_STYLE = {"NORMAL": "bold green", "WARNING": "bold yellow", "DEGRADED": "bold red"}
SEVERITY_STYLE = {"NORMAL": "green", "WARNING": "yellow", "CRITICAL": "red"}

console = Console(highlight=False, soft_wrap=True)
error_console = Console(stderr=True, highlight=False, soft_wrap=True)


def json_text(document: Any, indent: int | None = 2) -> str:
    """A JSON document as text; times as ISO 8601 in UTC with all their digits, never NaN."""
    return json.dumps(document, indent=indent, default=_json_value, allow_nan=False, ensure_ascii=False) + "\n"


def _json_value(value: Any) -> str:
    return exact_time_text(value) if isinstance(value, datetime) else str(value)


def core_document(value: Any) -> Any:
    """A core value as JSON types, with times as `json_text` writes them."""
    return to_document(value, exact_time_text)


def print_json(document: Any) -> None:
    """Write one JSON document to standard output; on one line if the output is a file of JSON lines."""
    sys.stdout.write(json_text(document, None if isinstance(sys.stdout, JsonLineStream) else 2))


def print_result(document: Any, as_json: bool, print_text: Callable[[], None]) -> None:
    """Print a command's result: as JSON for a program, or as text for a person.

    A file of JSON lines gets no text, because the log events there have the same content.
    """
    if as_json:
        print_json(document)
    elif not isinstance(sys.stdout, JsonLineStream):
        print_text()


def print_plain(sentence: str) -> None:
    """Print a sentence as it is: square brackets in it are no markup."""
    console.print(sentence, markup=False)


def print_error(sentence: str, **fields: object) -> None:
    """Print a sentence on standard error: after the program's name for a person, as a JSON document for a program.

    Args:
        sentence: what is wrong, and what to do.
        fields: further members of the JSON document.
    """
    if is_json_asked():
        sys.stderr.write(json_text({"error": sentence, **fields}))
    else:
        error_console.print(f"stillsafe: {sentence}", markup=False)


def print_warning(sentence: str) -> None:
    """Print on standard error what a person should check; one line of JSON for a program."""
    if is_json_asked():
        sys.stderr.write(json_text({"warning": sentence}, None))
        return
    error_console.print(f"[yellow]Check this:[/] {escape(sentence)}")


def colour_markup(word: str, styles: Mapping[str, str]) -> str:
    """A state or a severity with the markup of its colour; an unknown word is escaped."""
    return f"[{styles[word]}]{word}[/]" if word in styles else escape(word)


def print_rows(rows: Sequence[Mapping[str, str]], prose: Collection[str] = ("reason",)) -> None:
    """Print rows as a table where the terminal is wide enough, and each as a paragraph elsewhere: nothing is cut.

    Args:
        rows: column -> text with markup. Each row has the columns of the first one, whose first column names the row.
        prose: columns of sentences, which may take several lines of a table.
    """
    if not rows:
        return
    widths = {name: max(cell_len(name), *(_width(row[name]) for row in rows)) for name in rows[0] if name not in prose}
    prose_width = NARROWEST_PROSE * (len(rows[0]) - len(widths))
    for border, spaces in ((box.HEAVY_HEAD, 3), (None, 1)):  # beside each cell
        if sum(widths.values()) + prose_width + spaces * len(rows[0]) + bool(border) <= console.width:
            columns = [Column(name, min_width=widths.get(name), overflow="fold") for name in rows[0]]
            table = Table(*columns, box=border, padding=(0, 1) if border else (0, 1, 0, 0))
            for row in rows:
                table.add_row(*row.values())
            console.print(table)
            return
    for (_, heading), *cells in (list(row.items()) for row in rows):
        console.print(heading)
        for name, cell in cells:
            if cell:
                console.print(f"  {name}: {cell}")


def format_time(at: datetime | str) -> str:
    """A time in UTC to the second as ISO 8601, such as 2026-01-31T12:00:00Z.

    Args:
        at: an aware datetime, or ISO 8601 text; without an offset, either is UTC.
    """
    return time_text(datetime.fromisoformat(at) if isinstance(at, str) else at)


def _width(cell: str) -> int:
    """Columns of the terminal that a text with markup takes."""
    return cell_len(Text.from_markup(cell).plain)


def format_number(value: float | None) -> str:
    """A confidence or a rate with three digits; a dash for None."""
    return "-" if value is None else f"{value:.3f}"


@contextmanager
def progress_bar(activity: str) -> Iterator[Progress]:
    """A progress bar with the time left of each activity; nothing where standard error is not a terminal.

    Args:
        activity: what is done first.
    """
    if not error_console.is_terminal:
        yield no_progress
        return
    from rich import progress as rich_progress  # here, because its import is a third of that of the help

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=error_console, transient=True) as display:
        task_id = display.add_task(activity, total=None)
        (task,) = display.tasks

        def update(activity: str, share: float | None) -> None:
            total = None if share is None else 1.0
            if activity != task.description:  # the time left is that of the activity, so it begins anew
                display.reset(task_id, total=total, description=activity)
            task.total = total
            display.update(task_id, completed=share or 0.0)

        yield update
