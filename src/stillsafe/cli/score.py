"""`score`: answers and records every row of a file."""

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app
from stillsafe.cli.output import print_plain, print_result, progress_bar
from stillsafe.cli.state_codes import STATE_EXITS
from stillsafe.cli.table_options import Decimal, Encoding, Missing, Separator
from stillsafe.core.state import State
from stillsafe.csv_files.table_format import TableFormat


class FailOn(StrEnum):
    """The state in which a job stops."""

    WARNING = "warning"  #: WARNING or DEGRADED.
    DEGRADED = "degraded"  #: DEGRADED.


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet, with a column per feature.")],
    out: Annotated[Path, typer.Option("--out", help="The new file: Parquet if it ends in .parquet, else CSV.")],
    config: Config = DEFAULT_CONFIG,
    id_column: Annotated[
        str | None, typer.Option("--id", help="The column with your ids: a row scored again gets its stored answer.")
    ] = None,
    fail_on: Annotated[
        FailOn | None, typer.Option("--fail-on", help="Stop in this state, with exit code 3 (warning) or 4 (degraded).")
    ] = None,
    separator: Separator = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    missing: Missing = None,
    as_json: Json = False,
) -> None:
    """Answer and record every row of a file. A job that was cut off goes on when it is started again."""
    from stillsafe.guard import Guard
    from stillsafe.score_file import ScoreJob, score_file

    form = TableFormat.of_options(separator, decimal, encoding, missing, None)
    job = ScoreJob(file, out, id_column, None if fail_on is None else State(fail_on.value.upper()), form)
    with Guard(service.settings_of(config)) as guard, progress_bar("Scoring") as progress:
        report = score_file(guard, job, progress)
    counts = ", ".join(
        f"{count:,} by {name}" if name != "error" else f"{count:,} refused"
        for name, count in sorted(report.answers.items())
    )
    document = {
        "file": str(out),
        **{key: value for key, value in asdict(report).items() if key not in ("input", "bytes", "block", "block_at")},
    }
    verb = "scored" if report.is_complete else f"scored, then stopped in {report.state}: start it again to go on"
    print_result(document, as_json, lambda: print_plain(f"{out}: {report.rows:,} rows {verb} ({counts or 'none'})."))
    if not report.is_complete:
        sys.exit(STATE_EXITS[State(report.state or State.NORMAL)])
