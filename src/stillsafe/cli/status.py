"""`status`: whether the model can be trusted, since when and why, and whether the monitor runs."""

import sys
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Connection, Engine

from stillsafe import incident_explanation, service
from stillsafe.cli.app import (
    DEFAULT_CONFIG,
    EXIT_FAILURE,
    Config,
    Json,
    app,
)
from stillsafe.cli.output import STATE_STYLE, colour_markup, console, core_document, format_time, print_result
from stillsafe.cli.state_codes import EXIT_UNKNOWN, STATE_EXITS
from stillsafe.cli.windows import window_document
from stillsafe.core.policy import Policy
from stillsafe.core.state import State, recovery_runs_needed
from stillsafe.errors import SchemaMismatch, StoreError
from stillsafe.judging import VersionCondition, version_conditions
from stillsafe.label_summary import recent_summary
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.connection_registry import connection_timeout
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.incidents import explanation_failure_count, recent_incidents
from stillsafe.store.read.requests import prediction_count
from stillsafe.store.read.runs import RunRecord, last_run
from stillsafe.store.read.state import StateRecord
from stillsafe.store.read.versions import service_names, version_names

ByExitCode = Annotated[
    bool,
    typer.Option("--exit-code", help="Exit with 3 for WARNING, 4 for DEGRADED, 5 for a state that nobody vouches for."),
]
All = Annotated[bool, typer.Option("--all", help="One line for each service of the database.")]
TIMEOUT_SECONDS = 10.0
"""How long the database may take to answer before its state counts as unknown."""


@app.command()
def status(
    config: Config = DEFAULT_CONFIG,
    as_json: Json = False,
    every_service: All = False,
    by_exit_code: ByExitCode = False,
) -> None:
    """Show whether the model can be trusted, since when and why, and whether the monitor itself runs."""
    settings = service.settings_of(config)
    if every_service:
        print_services(settings, as_json=as_json)
        return
    spooled_rows = service.spool_of(settings).count()
    engine = service.connect(settings)
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
    if by_exit_code:
        sys.exit(exit_code(document))


def exit_code(document: dict[str, Any]) -> int:
    """The exit code of a state, for a program: the first of the following that is true.

    4: DEGRADED. 5: the state is not vouched for, since the monitor is stale, the service is not judged, or the model
    version has no active baseline. 3: WARNING. 0: NORMAL.
    """
    state = State(document["state"])
    is_vouched_for = document["judged"] and document["watched"] and not document["stale"]
    return STATE_EXITS[state] if is_vouched_for or state is State.DEGRADED else EXIT_UNKNOWN


def status_document(engine: Engine, settings: Settings, now: datetime, spooled_rows: int) -> dict[str, Any]:
    """The JSON of `status`: the state, its validity and its evidence."""
    version = settings.model.version
    with database.reading(engine) as connection:
        conditions = version_conditions(connection, settings.policy, version, now)
        served_version = conditions.served_version
        record, baseline = served_version.record, active_baseline(connection, version)
        state, run = record.state, record.last_run
        open_incidents = recent_incidents(connection, 1, unresolved_only=True)
        predictions = prediction_count(connection, version)
        failures = explanation_failure_count(connection)
        summary = recent_summary(connection, now, version)
    memory = state.memory if state else None
    return {
        "store": "up",
        "spooled_rows": spooled_rows,
        "service": settings.service.name,
        "mode": settings.service.mode,
        **state_fields(state),
        "judged": served_version.judged,
        "judged_at": served_version.judged_at,
        "unjudged_since": record.unjudged_since,
        "not_judged": served_version.sentence,
        "headline": conditions.headline.value,
        "versions": [version_document(each) for each in conditions.versions],
        "stale": state.stale(now) if state else True,
        "held": core_document(memory.hold) if memory and memory.hold else None,
        "model_version": version,
        "watched": baseline is not None,
        "baseline_id": baseline.baseline_id if baseline else None,
        "prediction_count": predictions,
        "realised": None if summary is None else {**summary.document(), "sentence": summary.sentence},
        "unwatched_features": list(settings.policy.unwatched_features),
        "watch": settings.watch_sentence,
        "calm_runs": memory.calm_runs if memory else 0,
        "recovery_runs_needed": recovery_runs_needed(settings.policy, memory) if memory else None,
        "runs_without_severe": memory.runs_without_severe if memory else 0,
        "streaks": core_document(memory.streaks) if memory else {},
        "incident": asdict(open_incidents[0]) if open_incidents else None,
        "explanations_pending": len(incident_explanation.pending_steps(engine, settings)),
        "explanation_failures": failures,
        "last_run": window_document(run) if run else None,
        **run_counts(run),
        "shadow_score_problem": run.shadow_problem if run else None,
    }


def state_fields(state: StateRecord | None) -> dict[str, Any]:
    """The JSON of the state itself; NORMAL before the first run."""
    return {
        "state": state.state.value if state else "NORMAL",
        "severity": state.severity if state else None,
        "reason": state.reason if state else "The monitor has never run.",
        "last_updated": state.last_updated if state else None,
        "checked_at": state.checked_at if state else None,
        "valid_until": state.valid_until if state else None,
        "progress": state.progress if state else "",
    }


def version_document(condition: VersionCondition) -> dict[str, Any]:
    """The JSON of one model version."""
    return {
        "model_version": condition.model_version,
        "state": condition.state.value,
        "judged": condition.judged,
        "judged_at": condition.judged_at,
        "last_request_at": condition.record.last_request_at,
        "monitored": condition.monitored,
        "has_traffic": condition.has_traffic,
        "not_judged": condition.sentence,
    }


def run_counts(run: RunRecord | None) -> dict[str, int]:
    """Rows that the last run found late, could no longer judge, or left out as synthetic."""
    window = run.window if run is not None and isinstance(run.window, dict) else {}
    return {
        "late_count": (run.late_count or 0) if run else 0,
        "never_judged_count": (run.expired_count or 0) if run else 0,
        "synthetic_count": int(window.get("synthetic_count", 0)),
    }


def print_services(settings: Settings, *, as_json: bool) -> None:
    """Print one line for each service of the database."""
    engine = service.open_store(settings)
    with database.reading(engine) as connection:
        names = service_names(connection)
    documents = []
    for name in names:
        with database.reading(engine.execution_options(service=name)) as connection:
            documents.append(service_document(connection, settings, name, service.utc_now()))
    print_result(documents, as_json, lambda: console.print("\n".join(map(service_line, documents))))


def service_document(connection: Connection, settings: Settings, name: str, now: datetime) -> dict[str, Any]:
    """The JSON of one service of the database, by the policy of its own last run.

    Args:
        connection: of that service.
        settings: of the service at hand, whose policy counts where no run of the other one has stored its own.
        name: of the service.
        now: aware UTC.
    """
    run = last_run(connection)
    policy = settings.policy if run is None or run.policy is None else stored_value(Policy, run.policy)
    versions = version_names(connection)
    newest = run.model_version if run is not None and run.model_version else max(versions, default="")
    own = settings.model.version if name == settings.service.name else newest
    conditions = version_conditions(connection, policy, own, now)
    times = [each.record.last_request_at for each in conditions.versions if each.record.last_request_at]
    return {
        "service": name,
        "versions": [version_document(each) for each in conditions.versions if each.model_version],
        "state": conditions.headline.value,
        "judged": all(each.judged for each in [conditions.served_version, *conditions.others]),
        "last_request_at": max(times, default=None),
    }


def service_line(document: dict[str, Any]) -> str:
    """The text of one service, with markup."""
    state = colour_markup(document["state"], STATE_STYLE)
    versions = ", ".join(each["model_version"] for each in document["versions"]) or "none"
    judged = "judged" if document["judged"] else "[bold red]not judged[/]"
    last = format_time(document["last_request_at"]) if document["last_request_at"] else "never"
    return f"{escape(document['service'])}: {state}, {judged}, versions {escape(versions)}, last request {last}"


def outage_document(settings: Settings, error: StoreError, spooled_rows: int) -> dict[str, Any]:
    """The JSON of `status` while the database does not answer: the state is unknown, which is not NORMAL."""
    return {
        "store": f"out: {error}",
        "has_failover": not settings.database_url.startswith("sqlite"),
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
    if document["has_failover"]:
        console.print(
            "  A running API answers by the last known state, for `max_state_age_seconds`; then it falls back."
        )
    else:
        console.print("  A running API answers 503 for as long as it cannot read and write the database either.")
    _print_spool(document)


def _print_spool(document: dict[str, Any]) -> None:
    if document["spooled_rows"]:
        sentence = f"{document['spooled_rows']} entries wait on this host's disk for the database."
        console.print(f"  [bold yellow]Spooling[/]: {sentence}")


def _print_recovery(document: dict[str, Any]) -> None:
    """Print the runs so far towards each end of DEGRADED."""
    run_count = document["recovery_runs_needed"]
    console.print(f"  Calm runs: {document['calm_runs']} of {run_count} needed to recover")
    if document["runs_without_severe"]:
        console.print(
            f"  Runs without a severe reading: {document['runs_without_severe']} of {run_count} needed for WARNING"
        )


def print_status(document: dict[str, Any]) -> None:
    """Print the text of `status`."""
    state = colour_markup(document["state"], STATE_STYLE)
    console.print(f"{escape(document['service'])}: {state}  {escape(document['reason'])}")
    if hold := document["held"]:
        since = format_time(hold["at"])
        console.print(f"  [bold red]Held[/] by {escape(hold['by'])} since {since}: {escape(hold['reason'])}")
    if document["progress"]:
        console.print(f"  {escape(document['progress'])}")
    _print_monitor(document)
    _print_judging(document)
    _print_spool(document)
    if document["mode"] == "observe":
        console.print("  Mode: observe. The model is never bypassed, whatever the state.")
    console.print(f"  Model version {escape(document['model_version'])}, {document['prediction_count']} predictions")
    _print_labels_and_watch(document)
    for key, streak in document["streaks"].items():
        console.print(f"  {escape(key)}: deviating for {streak['deviating']} runs, severe for {streak['severe']}")
    if document["state"] == "DEGRADED" and not document["held"]:
        _print_recovery(document)
    if document["shadow_score_problem"]:
        problem = escape(document["shadow_score_problem"])
        console.print(f"  [bold red]No recovery once the model is bypassed[/]: {problem}")
    if document["incident"]:
        console.print(f"  Incident {document['incident']['incident_id']}: see `stillsafe explain`")
    if document["explanations_pending"]:
        counts = f"{document['explanations_pending']} pending, {document['explanation_failures']} attempts failed"
        console.print(f"  Explanations by the language model: {counts}; see `stillsafe explain --pending`")


def _print_labels_and_watch(document: dict[str, Any]) -> None:
    if document["realised"]:
        console.print(f"  Labels of the last 7 days: {escape(document['realised']['sentence'])}")
    if document["watch"]:
        console.print(f"  {escape(document['watch'])}")


def _print_judging(document: dict[str, Any]) -> None:
    """Print which versions are not judged, the other versions, and the rows that the last run left out."""
    if document["not_judged"]:
        console.print(f"  [bold red]Not judged[/]{escape(document['not_judged'].removeprefix('Not judged'))}")
    for version in document["versions"]:
        if version["model_version"] != document["model_version"]:
            state = colour_markup(version["state"], STATE_STYLE)
            last = format_time(version["last_request_at"]) if version["last_request_at"] else "never"
            monitored = "" if version["monitored"] else ", no monitor run"
            name = escape(version["model_version"])
            console.print(
                f"  Model version {name}: {state}{monitored}, last request {last}. {escape(version['not_judged'])}"
            )
    names = {"late_count": "late", "never_judged_count": "never judged", "synthetic_count": "synthetic"}
    if counts := ", ".join(f"{document[key]} {name}" for key, name in names.items() if document[key]):
        console.print(f"  Rows of the last run: {counts}")


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
