"""`incidents` and `explain`: degradations, from detection to recovery, and their explanations."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Engine

from stillsafe import incident_explanation, logs, service
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_FAILURE, EXIT_SUCCESS, Config, Json, Limit, app
from stillsafe.cli.command_table import command_group
from stillsafe.cli.output import console, format_time, print_error, print_plain, print_result
from stillsafe.core.evidence.bypass_price import BypassPrice
from stillsafe.dashboard.explanations import Advice, explanation_steps, newest_first
from stillsafe.errors import ConfigurationError, RefusedError
from stillsafe.incident_explanation import Outcome
from stillsafe.model.incident_price import incident_price
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.incidents import (
    ExplanationRecord,
    IncidentRecord,
    incident_by_id,
    incident_explanations,
    recent_incidents,
)

incidents_app = command_group("Degradations, from detection to recovery.")
app.add_typer(incidents_app, name="incidents")


@incidents_app.command("list")
def incidents_list(
    config: Config = DEFAULT_CONFIG,
    limit: Limit = 20,
    unresolved_only: Annotated[bool, typer.Option("--unresolved", help="Only those still open.")] = False,
    as_json: Json = False,
) -> None:
    """Incidents, newest first."""
    with database.reading(service.open_store(service.settings_of(config))) as connection:
        incidents = recent_incidents(connection, limit, unresolved_only=unresolved_only)
    print_result([asdict(incident) for incident in incidents], as_json, lambda: print_incidents(incidents))


@incidents_app.command("show")
def incidents_show(incident_id: str, config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """One incident with its numbers and its explanations."""
    engine = service.open_store(service.settings_of(config))
    _show_incident(engine, _require_incident(engine, incident_id).incident_id, as_json)


@incidents_app.command("export")
def incidents_export(
    incident_id: str,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The HTML file to write.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write one incident as a self-contained HTML file, to send to others."""
    # Imported here: no other command needs templates.
    from stillsafe.dashboard.incident_page import read_incident
    from stillsafe.dashboard.incident_report import render_incident

    settings = service.settings_of(config)
    detail = read_incident(service.open_store(settings), settings, service.utc_now(), incident_id)
    if detail is None:
        raise RefusedError(f"There is no incident {incident_id!r}.")
    try:
        out.write_text(render_incident(detail), encoding="utf-8", errors="replace")
    except OSError as error:
        problem = f"It cannot be written: {error.strerror or error}."
        raise ConfigurationError(problem, "Name another file.", file=str(out)) from error
    print_plain(f"Wrote {out}")


@app.command()
def explain(
    incident_id: Annotated[str | None, typer.Argument(help="Which incident; default: the newest.")] = None,
    config: Config = DEFAULT_CONFIG,
    pending: Annotated[
        bool,
        typer.Option("--pending", help="Have the language model explain every incident that it has not; for cron."),
    ] = False,
    show_request: Annotated[
        bool, typer.Option("--show-request", help="Print what a language model would be sent, and send nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Explain an incident in plain words, with what to check first. Calls the language model once, if one is set."""
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    if pending:
        _explain_pending(engine, settings, as_json)
        return
    chosen_id = _require_incident(engine, incident_id).incident_id
    if show_request:
        _show_request(engine, settings, chosen_id, as_json)
        return
    outcome = incident_explanation.explain_newest(engine, settings, chosen_id, now=service.utc_now())
    if outcome in (Outcome.FAILURE, Outcome.UNUSABLE):
        print_error("the language model gave no explanation; `stillsafe explain --pending` tries again.")
    if outcome is Outcome.NO_TABLE:
        print_error(f"{outcome.value}, so no explanation can be stored.")
    _show_incident(engine, chosen_id, as_json)


def _explain_pending(engine: Engine, settings: Settings, as_json: bool) -> None:
    logs.set_up("INFO")
    outcomes = incident_explanation.explain_pending(engine, settings, now=service.utc_now())
    pending_count = len(incident_explanation.pending_steps(engine, settings))
    steps = [
        {"incident_id": step.incident_id, "status": step.status, "outcome": outcome.value}
        for step, outcome in outcomes.items()
    ]
    document = {"steps": steps, "pending": pending_count}
    print_result(document, as_json, lambda: print_pending(document))
    sys.exit(EXIT_FAILURE if pending_count else EXIT_SUCCESS)


def _show_request(engine: Engine, settings: Settings, incident_id: str, as_json: bool) -> None:
    request = incident_explanation.request_preview(engine, settings, incident_id)
    if request is None:
        raise RefusedError("the run of this incident is no longer stored, so there is nothing to send.")
    payload, messages = request
    print_result({"payload": json.loads(payload), "messages": messages}, as_json, lambda: print_messages(messages))


def _require_incident(engine: Engine, incident_id: str | None) -> IncidentRecord:
    """The incident with an identifier, or the newest one; without any the command fails."""
    with database.reading(engine) as connection:
        if incident_id:
            incident = incident_by_id(connection, incident_id)
        else:
            incident = next(iter(recent_incidents(connection, 1)), None)
    if incident is None:
        raise RefusedError(f"There is no incident {incident_id!r}." if incident_id else "There has been no incident.")
    return incident


def _show_incident(engine: Engine, incident_id: str, as_json: bool) -> None:
    with database.reading(engine) as connection:
        incident = incident_by_id(connection, incident_id)
        explanations = incident_explanations(connection, incident_id)
        price = None if incident is None else incident_price(connection, incident)
    if incident is not None:
        document = asdict(incident) | {"explanations": [asdict(explanation) for explanation in explanations]}
        document["price"] = None if price is None else asdict(price) | {"sentence": price.sentence}
        print_result(document, as_json, lambda: print_incident(incident, explanations, price))


def print_incidents(incidents: list[IncidentRecord]) -> None:
    """Print the text of `incidents list`: two lines per incident."""
    if not incidents:
        print_plain("There has been no incident.")
    for incident in incidents:
        end = f"resolved {format_time(incident.resolved_at)}" if incident.resolved_at else "[bold red]open[/]"
        console.print(f"{_headline(incident)}, {end}")
        console.print(f"  {escape(incident.decision_reason)}")


def print_incident(
    incident: IncidentRecord, explanations: list[ExplanationRecord], price: BypassPrice | None = None
) -> None:
    """Print the text of one incident: what was detected, what was done, and the explanations, newest first.

    No sentence is printed twice.
    """
    console.print(_headline(incident))
    console.print(f"  {escape(incident.decision_reason)}")
    console.print(f"  Fallback activated: {'yes' if incident.fallback_activated else 'no'}")
    if incident.fallback_ended_at:
        ended_at = format_time(incident.fallback_ended_at)
        console.print(f"  Fallback ended {ended_at}. {escape(incident.fallback_ended_reason or '')}")
    if incident.resolved_at:
        console.print(f"  Resolved {format_time(incident.resolved_at)}. {escape(incident.resolution or '')}")
    if price is not None:
        console.print(f"  {escape(price.sentence)}")
    texts = [incident.decision_reason, incident.fallback_ended_reason or "", incident.resolution or ""]
    for step in explanation_steps(newest_first(explanations), texts):
        if step.summary or step.causes or step.recommendations:
            _print_explanation(step)


def _headline(incident: IncidentRecord) -> str:
    return f"[bold]{incident.incident_id}[/]  {incident.severity}, detected {format_time(incident.detected_at)}"


def _print_explanation(step: Advice) -> None:
    explanation = step.record
    status = escape(explanation.incident_status or "explanation")
    console.print(f"\n[bold]{status}[/] (explained by {escape(explanation.llm_model)})")
    if step.summary:
        console.print(escape(step.summary))
    for heading, points in (("Likely causes", step.causes), ("Recommendations", step.recommendations)):
        if points:
            console.print(f"{heading}:")
            for point in points:
                console.print(f"  - {escape(point)}")
    if explanation.unverified:
        count = len(explanation.unverified)
        numbers = "1 number is" if count == 1 else f"{count} numbers are"
        console.print(f"[yellow]{numbers} not in the incident's figures and marked above as unverified.[/]")


def print_messages(messages: list[dict[str, str]]) -> None:
    """Print the text of `explain --show-request`: the messages that a language model would receive."""
    for message in messages:
        console.print(f"[bold]{message['role']}[/]")
        console.print(escape(message["content"]))


def print_pending(document: dict[str, Any]) -> None:
    """Print the text of `explain --pending`: the outcome of each step, and how many remain."""
    for step in document["steps"]:
        print_plain(f"{step['incident_id']} {step['status']}: {step['outcome']}")
    print_plain(f"{document['pending']} still to be explained by the language model.")
