"""Commands that only look: status, windows, incidents, baseline list and show, explain."""

import json
import sys
from typing import Annotated

import typer
from sqlalchemy import Engine

from stillsafe import incident_explanation, logs, service
from stillsafe.cli import show
from stillsafe.cli.app import (
    DEFAULT_CONFIG,
    DONE,
    FAILED,
    Config,
    Json,
    answer,
    app,
    baseline_app,
    complaints,
    incidents_app,
)
from stillsafe.errors import SchemaMismatch, StoreError
from stillsafe.incident_explanation import Outcome
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.connection_registry import patience
from stillsafe.store.read.baselines import active_baseline, all_baselines, baseline_by_id
from stillsafe.store.read.incidents import incident_by_id, incident_explanations, recent_incidents
from stillsafe.store.read.runs import recent_runs

PATIENCE_SECONDS = 10.0
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")]


@app.command()
def status(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Is it still safe to trust, since when, why, and is the watcher itself alive?"""
    settings = service.settings_of(config)
    spooled = service.spool_of(settings).count()
    engine = database.connect(settings.database_url)
    try:
        with patience(engine, PATIENCE_SECONDS):
            service.make_ready(engine, settings)
            document = show.status_document(engine, settings, service.utc_now(), spooled)
    except SchemaMismatch:
        raise
    except StoreError as error:
        out = show.outage_document(settings, error, spooled)
        answer(out, as_json, lambda: show.outage(out))
        sys.exit(FAILED)
    answer(document, as_json, lambda: show.status(document))


@app.command()
def windows(config: Config = DEFAULT_CONFIG, limit: Limit = 20, as_json: Json = False) -> None:
    """The last monitoring runs: what was counted and what was concluded."""
    with database.reading(service.open_store(service.settings_of(config))) as connection:
        runs = recent_runs(connection, limit)
    answer([show.window_document(run) for run in runs], as_json, lambda: show.windows(runs))


@incidents_app.command("list")
def incidents_list(
    config: Config = DEFAULT_CONFIG,
    limit: Limit = 20,
    unresolved: Annotated[bool, typer.Option("--unresolved", help="Only those still open.")] = False,
    as_json: Json = False,
) -> None:
    """Incidents, newest first."""
    with database.reading(service.open_store(service.settings_of(config))) as connection:
        found = recent_incidents(connection, limit, unresolved_only=unresolved)
    answer([show.incident_document(incident) for incident in found], as_json, lambda: show.incidents(found))


@incidents_app.command("show")
def incidents_show(incident_id: str, config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """One incident with its numbers and its explanations."""
    engine = service.open_store(service.settings_of(config))
    _show_incident(engine, _incident_id(engine, incident_id), as_json)


@app.command()
def explain(
    incident_id: Annotated[str | None, typer.Argument(help="Which incident; default: the newest.")] = None,
    config: Config = DEFAULT_CONFIG,
    pending: Annotated[
        bool, typer.Option("--pending", help="Ask the language model about all that it has not explained; for cron.")
    ] = False,
    show_request: Annotated[
        bool, typer.Option("--show-request", help="Print what a language model would be sent, and send nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What happened, in plain words, and what to look at first. Asks the language model once, where one is set."""
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    if pending:
        _explain_pending(engine, settings, as_json)
        return
    chosen = _incident_id(engine, incident_id)
    if show_request:
        _show_request(engine, settings, chosen, as_json)
        return
    outcome = incident_explanation.explain_newest(engine, settings, chosen, now=service.utc_now())
    if outcome in (Outcome.FAILED, Outcome.UNUSABLE):
        told = "the language model gave no explanation; `stillsafe explain --pending` tries again."
        complaints.print(f"stillsafe: {told}", markup=False)
    _show_incident(engine, chosen, as_json)


def _explain_pending(engine: Engine, settings: Settings, as_json: bool) -> None:
    logs.set_up("INFO")
    told = incident_explanation.explain_pending(engine, settings, now=service.utc_now())
    waiting = len(incident_explanation.pending(engine, settings))
    steps = [{"incident_id": step.incident_id, "status": step.status, "outcome": told[step].value} for step in told]
    document = {"steps": steps, "pending": waiting}
    answer(document, as_json, lambda: show.explained(document))
    sys.exit(FAILED if waiting else DONE)


def _show_request(engine: Engine, settings: Settings, incident_id: str, as_json: bool) -> None:
    made = incident_explanation.request(engine, settings, incident_id)
    if made is None:
        complaints.print("stillsafe: the run that it would tell of is no longer stored.", markup=False)
        sys.exit(FAILED)
    document = {"payload": json.loads(made[0]), "messages": made[1]}
    answer(document, as_json, lambda: show.request(made[1]))


def _incident_id(engine: Engine, named: str | None) -> str:
    """The incident that is meant: the one named, or the newest."""
    with database.reading(engine) as connection:
        newest = recent_incidents(connection, 1)
        found = incident_by_id(connection, named) if named else newest[0] if newest else None
    if found is None:
        what = f"There is no incident {named!r}." if named else "There has been no incident."
        complaints.print(f"stillsafe: {what}", markup=False)
        sys.exit(FAILED)
    return found.incident_id


def _show_incident(engine: Engine, incident_id: str, as_json: bool) -> None:
    with database.reading(engine) as connection:
        found = incident_by_id(connection, incident_id)
        told = incident_explanations(connection, incident_id)
    if found is not None:
        document = show.incident_document(found) | {"explanations": [show.explanation_document(e) for e in told]}
        answer(document, as_json, lambda: show.incident(found, told))


@baseline_app.command("list")
def baseline_list(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Every baseline, newest first."""
    with database.reading(service.open_store(service.settings_of(config))) as connection:
        found = all_baselines(connection)
    documents = [show.baseline_document(record.baseline, active=record.active) for record in found]
    answer(documents, as_json, lambda: show.baselines(found))


@baseline_app.command("show")
def baseline_show(
    baseline_id: Annotated[str | None, typer.Argument(help="Which one; default: the active one.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """One baseline in numbers."""
    settings = service.settings_of(config)
    with database.reading(service.open_store(settings)) as connection:
        active = active_baseline(connection, settings.model.version)
        found = baseline_by_id(connection, baseline_id) if baseline_id else active
    if found is None:
        complaints.print("stillsafe: there is no such baseline; `stillsafe baseline list` shows them.", markup=False)
        sys.exit(FAILED)
    is_active = active is not None and active.baseline_id == found.baseline_id
    answer(show.baseline_document(found, active=is_active), as_json, lambda: show.baseline(found, active=is_active))
