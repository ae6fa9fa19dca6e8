"""`windows`: the last monitoring runs."""

from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, Limit, app
from stillsafe.cli.output import STATE_STYLE, WIDE, colour_markup, console, format_number, print_plain, print_result
from stillsafe.core.text import truncate
from stillsafe.core.window import Tally, Window
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.read.runs import RunRecord, recent_runs

LONGEST_REASON = 100
LARGE_DOCUMENTS = frozenset({"policy", "window", "memory", "rows", "inherited"})


@app.command()
def windows(config: Config = DEFAULT_CONFIG, limit: Limit = 20, as_json: Json = False) -> None:
    """The last monitoring runs: what was counted and what was concluded."""
    with database.reading(service.open_store(service.settings_of(config))) as connection:
        runs = recent_runs(connection, limit)
    print_result([window_document(run) for run in runs], as_json, lambda: print_windows(runs))


def window_document(run: RunRecord) -> dict[str, Any]:
    """The JSON of one run, without its large documents."""
    return {name: value for name, value in asdict(run).items() if name not in LARGE_DOCUMENTS}


def print_windows(runs: list[RunRecord]) -> None:
    """Print the text of `windows`: a row per run."""
    if not runs:
        print_plain("The monitor has never run. Start it with `stillsafe monitor`.")
        return
    wide = console.width >= WIDE
    columns = ["until (UTC)", "new", "confidence", "low", "evidence", "severity", "state"]
    table = Table(*columns, *(["reason"] if wide else []))
    for run in runs:
        fresh = stored_value(Window, run.window).fresh if run.window is not None else Tally()
        cells = [
            f"{run.window_end:%m-%d %H:%M:%S}",
            str(fresh.prediction_count) + (" (shadow)" if run.shadow else ""),
            format_number(fresh.avg_confidence),
            format_number(fresh.low_confidence_rate),
            run.evidence or "",
            run.severity or "",
            colour_markup(run.state_after or "", STATE_STYLE),
        ]
        table.add_row(*cells, *([escape(truncate(run.reason or "", LONGEST_REASON))] if wide else []))
    console.print(table)
    console.print("The counts are of predictions that no earlier run had counted; --json adds the whole windows.")
