"""The command that plays the rules over a history: backtest."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from stillsafe import service
from stillsafe.backtest import fallback_evaluation, report
from stillsafe.cli import timeline
from stillsafe.cli.app import DEFAULT_CONFIG, Config, app, complaints, json_text, print_json
from stillsafe.core.schema import Logged
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring.archive import Archive
from stillsafe.settings import DEFAULT_FILE, Settings
from stillsafe.store.codec import to_document

if TYPE_CHECKING:
    import pandas as pd

STANDARD_OUTPUT = "-"


@app.command()
def backtest(
    data: Annotated[Path, typer.Argument(help="The history: CSV, Parquet, or an archive that `prune` wrote.")],
    config: Config = DEFAULT_CONFIG,
    label: Annotated[
        str | None, typer.Option(help="The column with the true answers; default: `label`, if there is one.")
    ] = None,
    rows_per_run: Annotated[
        int | None, typer.Option(min=1, help="Judge so many rows a run; default: by time, or 500 where that is sparse.")
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(
            help="Break the history on purpose: FAULT:FEATURE, such as nulls:age or swapped:age,income. Repeatable."
        ),
    ] = None,
    inject_from: Annotated[
        float, typer.Option("--inject-from", "--from", help="Where the faults begin, as a share of the rows.")
    ] = 0.5,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE|-", help="Write everything as JSON; - is standard output.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report to read in a browser.")
    ] = None,
) -> None:
    """What the rules would have done on your own history, and what the fallback would have cost or saved."""
    settings = service.settings_of(config)
    faults = tuple(inject or ())
    with _progress() as progress:
        found = service.backtest(
            settings,
            _table(data, settings),
            label=label,
            rows_per_run=rows_per_run,
            inject=faults,
            inject_from=inject_from,
            progress=progress,
        )
    kept = fallback_evaluation.write(settings, found, at=service.utc_now(), source=data.name)
    if html_file is not None:
        repeated = _repeated(data, config, label, rows_per_run, faults, inject_from)
        _write(html_file, report.render(found, settings, made_at=service.utc_now(), command=repeated))
    if json_file == STANDARD_OUTPUT:
        print_json(to_document(found))
        return
    if json_file is not None:
        _write(Path(json_file), json_text(to_document(found)))
    timeline.show(found)
    timeline.written([file for file in (kept, json_file and Path(json_file), html_file) if file])


def _table(data: Path, settings: Settings) -> "pd.DataFrame":
    # Imported here: pandas takes a second to import.
    from stillsafe.init import sample

    if not data.is_dir():
        return sample.read(data)
    unread = [spec.name for spec in settings.schema_of_features.features if spec.log is not Logged.KEEP]
    if unread:
        told = f"{data}: the log never held {', '.join(unread)} in clear, which the model needs."
        raise ConfigurationError(told, "Give it a history from elsewhere, as CSV or Parquet.")
    return Archive(data).frame()


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error; silent where nobody watches."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, console=complaints, transient=True, disable=not complaints.is_terminal) as bar:
        task = bar.add_task("Reading the history", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)


def _repeated(
    data: Path,
    config: Path,
    label: str | None,
    rows_per_run: int | None,
    faults: tuple[str, ...],
    inject_from: float,
) -> str:
    """How to get the same again, without the folders of this machine."""
    words = ["stillsafe", "backtest", data.name]
    words += ["--config", config.name] if config.name != DEFAULT_FILE else []
    words += ["--label", label] if label is not None else []
    words += ["--rows-per-run", str(rows_per_run)] if rows_per_run is not None else []
    for fault in faults:
        words += ["--inject", fault]
    words += ["--inject-from", f"{inject_from:g}"] if faults else []
    return shlex.join(words)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        told = error.strerror or str(error)
        raise ConfigurationError(f"It cannot be written: {told}.", "Name another file.", file=str(file)) from error
