"""`status`: whether the model can be trusted, since when and why, and whether the monitor runs."""

import sys
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.markup import escape
from sqlalchemy import Engine

from stillsafe import incident_explanation, service
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_FAILURE, Config, Json, app
from stillsafe.cli.output import STATE_STYLE, colour_markup, console, format_time, print_result
from stillsafe.cli.windows import window_document
from stillsafe.core.state import recovery_runs_needed
from stillsafe.errors import SchemaMismatch, StoreError
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.connection_registry import connection_timeout
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.incidents import explanation_failure_count, recent_incidents
from stillsafe.store.read.requests import prediction_count
from stillsafe.store.read.runs import last_run
from stillsafe.store.read.state import current_state

TIMEOUT_SECONDS = 10.0
"""How long the database may take to answer before its state counts as unknown."""


@app.command()
def status(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Show whether the model can be trusted, since when and why, and whether the monitor itself runs."""
    settings = service.settings_of(config)
    spooled_rows = service.spool_of(settings).count()
    engine = database.connect(settings.database_url)
    try:
        with connection_timeout(engine, TIMEOUT_SECONDS):
            service.prepare_store(engine, settings)
            document = status_document(engine, settings, service.utc_now(), spooled_rows)
    except SchemaMismatch:
        raise
    except StoreError as error:
        outage = outage_document(settings, error, spooled_rows)
        print_result(outage, as_json, lambda: print_outage(outage))
        sys.exit(EXIT_FAILURE)
    print_result(document, as_json, lambda: print_status(document))


def status_document(engine: Engine, settings: Settings, now: datetime, spooled_rows: int) -> dict[str, Any]:
    """The JSON of `status`: the state, its validity and its evidence."""
    version = settings.model.version
    with database.reading(engine) as connection:
        state = current_state(connection)
        baseline = active_baseline(connection, version)
        run = last_run(connection)
        open_incidents = recent_incidents(connection, 1, unresolved_only=True)
        predictions = prediction_count(connection, version)
        failures = explanation_failure_count(connection)
    memory = state.memory if state else None
    return {
        "store": "up",
        "spooled_rows": spooled_rows,
        "service": settings.service.name,
        "mode": settings.service.mode,
        "state": state.state.value if state else "NORMAL",
        "severity": state.severity if state else None,
        "reason": state.reason if state else "The monitor has never run.",
        "last_updated": state.last_updated if state else None,
        "checked_at": state.checked_at if state else None,
        "valid_until": state.valid_until if state else None,
        "stale": state.stale(now) if state else True,
        "held": to_document(memory.hold) if memory and memory.hold else None,
        "model_version": version,
        "watched": baseline is not None,
        "baseline_id": baseline.baseline_id if baseline else None,
        "prediction_count": predictions,
        "calm_runs": memory.calm_runs if memory else 0,
        "recovery_runs_needed": recovery_runs_needed(settings.policy, memory) if memory else None,
        "streaks": to_document(memory.streaks) if memory else {},
        "incident": asdict(open_incidents[0]) if open_incidents else None,
        "explanations_pending": len(incident_explanation.pending_steps(engine, settings)),
        "explanation_failures": failures,
        "last_run": window_document(run) if run else None,
    }


def outage_document(settings: Settings, error: StoreError, spooled_rows: int) -> dict[str, Any]:
    """The JSON of `status` while the database does not answer: the state is unknown, which is not NORMAL."""
    return {
        "store": f"out: {error}",
        "spooled_rows": spooled_rows,
        "service": settings.service.name,
        "mode": settings.service.mode,
        "state": None,
        "model_version": settings.model.version,
    }


def print_outage(document: dict[str, Any]) -> None:
    """Print the text of `status` while the database does not answer."""
    console.print(f"{escape(document['service'])}: [bold red]state unknown[/]")
    console.print(f"  The database is {escape(document['store'])}")
    console.print("  A running API uses the last state that it read, for `max_state_age_seconds`; then it falls back.")
    _print_spool(document)


def _print_spool(document: dict[str, Any]) -> None:
    if document["spooled_rows"]:
        sentence = f"{document['spooled_rows']} entries wait on this host's disk for the database."
        console.print(f"  [bold yellow]Spooling[/]: {sentence}")


def print_status(document: dict[str, Any]) -> None:
    """Print the text of `status`."""
    state = colour_markup(document["state"], STATE_STYLE)
    console.print(f"{escape(document['service'])}: {state}  {escape(document['reason'])}")
    if hold := document["held"]:
        since = format_time(hold["at"])
        console.print(f"  [bold red]Held[/] by {escape(hold['by'])} since {since}: {escape(hold['reason'])}")
    _print_monitor(document)
    _print_spool(document)
    if document["mode"] == "observe":
        console.print("  Mode: observe. The model is never bypassed, whatever the state.")
    console.print(f"  Model version {escape(document['model_version'])}, {document['prediction_count']} predictions")
    for key, streak in document["streaks"].items():
        console.print(f"  {escape(key)}: deviating for {streak['deviating']} runs, severe for {streak['severe']}")
    if document["state"] == "DEGRADED" and not document["held"]:
        console.print(f"  Calm runs: {document['calm_runs']} of {document['recovery_runs_needed']} needed to recover")
    if document["incident"]:
        console.print(f"  Incident {document['incident']['incident_id']}: see `stillsafe explain`")
    if document["explanations_pending"]:
        counts = f"{document['explanations_pending']} pending, {document['explanation_failures']} attempts failed"
        console.print(f"  Explanations by the language model: {counts}; see `stillsafe explain --pending`")


def _print_monitor(document: dict[str, Any]) -> None:
    """Print whether the monitor runs, and whether it can judge the served model version."""
    if document["stale"]:
        last = format_time(document["checked_at"]) if document["checked_at"] else "never"
        console.print(f"  [bold red]The monitor is not running[/] (last run: {last}). The model is unmonitored.")
    else:
        last, valid_until = format_time(document["checked_at"]), format_time(document["valid_until"])
        console.print(f"  Monitor: last run {last}, valid until {valid_until}")
    if not document["watched"]:
        version = escape(document["model_version"])
        console.print(f"  [bold yellow]Unwatched[/]: model version {version} has no active baseline.")
