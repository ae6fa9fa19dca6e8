"""`replay`: recompute every stored decision."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_FAILURE, EXIT_SUCCESS, Config, Json, app
from stillsafe.cli.output import console, print_result, progress_bar
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring import replay as recomputation
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import ReplayResult


@app.command()
def replay(
    config: Config = DEFAULT_CONFIG,
    from_logs: Annotated[bool, typer.Option("--from-logs", help="Recount every window from the log, too.")] = False,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", metavar="DIR", help="Where `prune` put rows, to be counted with the log's."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute every stored decision; print the first difference and exit 1 if there is one."""
    if archive is not None and not from_logs:
        raise ConfigurationError("An archive is read only with the log.", "Add --from-logs.")
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    with progress_bar("Recomputing") as progress:
        result = recomputation.replay(
            engine,
            from_logs=from_logs,
            log_format=LogFormat.of(settings),
            model_version=settings.model.version,
            score=service.shadow_scorer(settings),
            archive=None if archive is None else Archive(archive),
            progress=progress,
        )
    print_result(asdict(result), as_json, lambda: print_replay(result))
    sys.exit(EXIT_SUCCESS if result.difference is None else EXIT_FAILURE)


def print_replay(result: ReplayResult) -> None:
    """Print the text of `replay`: the counts, the windows that were not recounted, and the first difference."""
    recomputed_count = result.runs - sum(result.not_recomputed.values())
    console.print(f"{recomputed_count} decisions recomputed, {result.windows} windows recounted from the log.")
    for run_id, reason in result.not_recounted.items():
        console.print(f"  window of run {run_id} not recounted: {escape(reason)}")
    if result.difference is None:
        for version, count in sorted(result.not_recomputed.items()):
            runs, state = ("run", "its state agrees") if count == 1 else ("runs", "their states agree")
            console.print(f"levels of {count} {runs} decided by rules {version} not recomputed; {state}")
        console.print("[green]No difference.[/]")
    else:
        console.print(f"[bold red]The first difference:[/] {escape(str(result.difference))}")
