"""`windows`: the last monitoring runs, and one of them in full."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Connection

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, Limit, app, parse_time
from stillsafe.cli.command_table import command_group
from stillsafe.cli.output import (
    STATE_STYLE,
    WIDE,
    colour_markup,
    console,
    format_number,
    format_time,
    print_plain,
    print_result,
    print_rows,
)
from stillsafe.cli.run_text import print_run, run_document
from stillsafe.cli.terminal_chart import DEVIATION_TITLE, Series, chart, label_width_of, largest_deviation, state_band
from stillsafe.core.signals import Reading
from stillsafe.core.text import truncate
from stillsafe.core.window import Tally, Window
from stillsafe.errors import RefusedError
from stillsafe.label_summary import LabelSummary, label_summaries
from stillsafe.monitoring.run_detail import RunDetail, run_detail
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.read.runs import RunRecord, last_run, recent_runs, run_at, run_by_id

LONGEST_REASON = 100
LARGE_DOCUMENTS = frozenset({"policy", "window", "memory", "rows", "inherited"})
NEWEST = "last"

windows_app = command_group(needs_command=False)
app.add_typer(windows_app, name="windows")


@windows_app.callback()
def windows(
    context: typer.Context,
    config: Config = DEFAULT_CONFIG,
    limit: Limit = 20,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the runs as charts of plain text.")] = False,
    as_json: Json = False,
) -> None:
    """The last monitoring runs: what was counted and what was concluded."""
    if context.invoked_subcommand is not None:
        return
    with database.reading(service.open_store(service.settings_of(config))) as connection:
        runs = recent_runs(connection, limit)
        summaries = {run.id: each for run in runs for each in run_summary(connection, run)}
    documents = [window_document(run) | {"realised": realised_document(summaries.get(run.id))} for run in runs]
    print_result(documents, as_json, lambda: plot_windows(runs) if plot else print_windows(runs, summaries))


@windows_app.command("show")
def windows_show(
    run: Annotated[str, typer.Argument(help="Its number in `windows`, the end of its window, or `last`.")] = NEWEST,
    config: Config = DEFAULT_CONFIG,
    why: Annotated[
        str | None,
        typer.Option("--why", help="A signal, or a reading such as missing_rate:temp: show how it came about."),
    ] = None,
    as_json: Json = False,
) -> None:
    """One run in full: every reading with its limits, and how a reading came about, number by number."""
    engine = service.open_store(service.settings_of(config))
    with database.reading(engine) as connection:
        if run == NEWEST:
            record = last_run(connection)
        else:
            record = run_by_id(connection, int(run)) if run.isdigit() else run_at(connection, parse_time(run))
        if record is None:
            unknown = f"There is no run {run!r}: `windows` lists them."
            raise RefusedError("The monitor has never run." if run == NEWEST else unknown)
        detail, summaries = run_detail(connection, record), run_summary(connection, record)
    if why is not None and not matching_keys(detail, why):
        signals = ", ".join(sorted({reading.signal.value for reading in detail.readings}))
        raise RefusedError(f"Run {detail.run.id} has no reading {why!r}. It has: {signals}.")
    keys = matching_keys(detail, why) if why is not None else []
    summary = next(iter(summaries), None)
    document = window_document(record) | run_document(detail, keys) | {"realised": realised_document(summary)}
    print_result(document, as_json, lambda: print_run(detail, keys))


def matching_keys(detail: RunDetail, why: str) -> list[str]:
    """The keys of a run's readings that a person means: a reading, or all of a signal or of a feature."""
    return [r.key for r in detail.readings if why in (r.key, r.signal.value, r.feature)]


def window_document(run: RunRecord) -> dict[str, Any]:
    """The JSON of one run, without its large documents."""
    return {name: value for name, value in asdict(run).items() if name not in LARGE_DOCUMENTS}


def run_summary(connection: Connection, run: RunRecord) -> list[LabelSummary]:
    """The labels of a run's window; empty where no label has ever come."""
    return label_summaries(connection, [(run.window_start, run.window_end)], run.model_version or "")


def realised_document(summary: LabelSummary | None) -> dict[str, Any] | None:
    """The JSON of the realised performance of a window; None where no label has ever come."""
    if summary is None:
        return None
    return {name: value for name, value in summary.document().items() if name not in ("start", "end")}


def print_windows(runs: list[RunRecord], summaries: Mapping[int, LabelSummary]) -> None:
    """Print the text of `windows`: a row per run."""
    if not runs:
        print_plain("The monitor has never run. Start it with `stillsafe monitor`.")
        return
    print_rows([_row(run, summaries) for run in runs])
    console.print(
        "The counts are of predictions that no earlier run had counted. `stillsafe windows show RUN` has every reading."
    )


def plot_windows(runs: list[RunRecord]) -> None:
    """Print the charts of `windows --plot`: mean confidence, largest deviation and state of each run, oldest first."""
    if not runs:
        print_plain("The monitor has never run. Start it with `stillsafe monitor`.")
        return
    in_order = runs[::-1]
    deviations = [largest_deviation(stored_value(tuple[Reading, ...], run.readings or [])) for run in in_order]
    confidences = Series("confidence", [run.avg_confidence for run in in_order])
    lines = list(chart("Mean confidence", [confidences], console.width))
    band_width = label_width_of(lines)
    for line in (*lines, *state_band([run.state_after or "" for run in in_order], console.width, band_width)):
        console.print(line)
    for line in chart(DEVIATION_TITLE, [Series("deviation", deviations)], console.width, limit=1.0):
        console.print(line)
    print_plain(f"From {format_time(in_order[0].window_end)}")
    print_plain(f"to   {format_time(in_order[-1].window_end)}, {len(in_order)} runs.")


def _row(run: RunRecord, summaries: Mapping[int, LabelSummary]) -> dict[str, str]:
    fresh = stored_value(Window, run.window).fresh if run.window is not None else Tally()
    row = {
        "run": str(run.id),
        "until": format_time(run.window_end),
        "new": str(fresh.prediction_count) + (" shadow" if run.shadow else ""),
        "confidence": format_number(fresh.avg_confidence),
        "low": format_number(fresh.low_confidence_rate),
        "evidence": run.evidence or "",
        "severity": run.severity or "",
        "state": colour_markup(run.state_after or "", STATE_STYLE),
    }
    if summaries:
        summary = summaries.get(run.id)
        value = None if summary is None else summary.value
        row["realised"] = "-" if summary is None or value is None else f"{value:.3f} of {summary.label_count}"
    return row | ({"reason": escape(truncate(run.reason or "", LONGEST_REASON))} if console.width >= WIDE else {})
