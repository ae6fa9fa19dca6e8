"""What commands print: each answer as a document for a program and as words and tables for a person."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from stillsafe import incident_explanation
from stillsafe.check import Finding, Verdict
from stillsafe.cli.app import complaints, console
from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.impact import Harm, Metric
from stillsafe.core.state import recovery_runs_needed
from stillsafe.core.window import Tally, Window
from stillsafe.errors import StoreError
from stillsafe.model.model import ModelKind
from stillsafe.monitoring.replay import Replayed
from stillsafe.monitoring.run import Outcome, Run
from stillsafe.settings import DEFAULT_FILE, Settings
from stillsafe.store import database
from stillsafe.store.codec import stored_value, to_document
from stillsafe.store.read.baselines import BaselineRecord, active_baseline
from stillsafe.store.read.incidents import (
    ExplanationRecord,
    IncidentRecord,
    explanation_failure_count,
    recent_incidents,
)
from stillsafe.store.read.requests import prediction_count
from stillsafe.store.read.runs import RunRecord, last_run
from stillsafe.store.read.state import current_state

if TYPE_CHECKING:
    from stillsafe.init.create import Created

WIDE = 120  # columns, below which a table leaves out its sentences
MOST_DEAR, LEAST_DEAR = 5, 0.005  # features told, and the loss below which none is worth a word
STATE_STYLE = {"NORMAL": "bold green", "WARNING": "bold yellow", "DEGRADED": "bold red"}
_VERDICT_STYLE = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.ERROR: "bold red"}


@contextmanager
def progress(first: str) -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is being done; silent where nobody watches."""
    if not complaints.is_terminal:
        yield lambda _message: None
        return
    with complaints.status(first) as line:
        yield line.update


def created_document(made: "Created") -> dict[str, Any]:
    """`init` for a program."""
    return {
        "folder": str(made.folder),
        "config": str(made.folder / DEFAULT_FILE),
        "kind": made.kind.value,
        "model_version": made.version,
        "confidence_method": made.method.value,
        "features": [to_document(spec) for spec in made.schema.features],
        "baseline_id": made.baseline.baseline_id,
        "sample_size": made.baseline.sample_size,
        "fallback_default": made.default,
        "model_score": made.model_score,
        "fallback_score": made.fallback_score,
        "fallback_rules": [{"when": rule.when, "answer": rule.answer} for rule in made.proposal.rules],
        "warnings": list(made.warnings),
    }


def created(made: "Created") -> None:
    """`init` for a person."""
    config = made.folder / DEFAULT_FILE
    console.print(f"Wrote {escape(str(made.folder))}: a {made.kind.value}, version {escape(made.version)}.")
    table = Table("feature", "type", "missing", "allowed")
    for spec in made.schema.features:
        missing = "refused" if spec.required else "served"
        table.add_row(escape(spec.name), spec.type.value, missing, escape(replace(spec, required=True).allowed))
    console.print(table)
    if made.model_score is not None and made.fallback_score is not None:
        what = "accuracy" if made.kind is ModelKind.CLASSIFIER else "mean absolute error"
        console.print(
            f"On the sample the model has {what} {made.model_score:.3f}, the fallback {made.fallback_score:.3f} "
            f"({_how(len(made.proposal.rules))}{escape(repr(made.default))})."
        )
    if made.baseline.harm is not None:
        console.print(dearest(made.baseline.harm))
    console.print(
        f"Reference baseline: {made.baseline.sample_size} rows, mean confidence "
        f"{_figure(made.baseline.avg_confidence)}. If the model was trained on these rows, it looks surer than it will "
        "ever be again."
    )
    for warning in made.warnings:
        console.print(f"[yellow]Look at this:[/] {escape(warning)}")
    console.print("Next: review the settings, then", style="bold")
    for command in ("check", "serve", "monitor"):
        console.print(f"  stillsafe {command} --config {config}", markup=False)


def findings(found: list[Finding]) -> None:
    """`check` for a person."""
    for finding in found:
        verdict = f"[{_VERDICT_STYLE[finding.verdict]}]{finding.verdict.value:>7}[/]"
        console.print(f"{verdict}  {finding.subject}: {escape(finding.told)}")


def run_document(done: Run) -> dict[str, Any]:
    """`monitor` for a program."""
    document: dict[str, Any] = {"outcome": done.outcome.value}
    if done.decision is not None and done.window is not None and done.before is not None:
        decision = done.decision
        document |= {
            "run": done.run_id,
            "window_start": done.window.start,
            "window_end": done.window.end,
            "prediction_count": done.window.total.prediction_count,
            "fresh_prediction_count": done.window.fresh.prediction_count,
            "evidence": decision.evidence.value,
            "severity": decision.severity.value,
            "state_before": done.before.effective_state.value,
            "state": decision.memory.effective_state.value,
            "reason": decision.reason,
            "incident_id": decision.memory.incident_id,
            "readings": to_document(decision.readings),
        }
    return document


def run(done: Run) -> None:
    """`monitor` for a person."""
    if done.outcome is not Outcome.DONE or done.decision is None or done.before is None:
        console.print(f"Nothing to do: {done.outcome.value}.", markup=False)
        return
    before, after = done.before.effective_state.value, done.decision.memory.effective_state.value
    move = _state(after) if before == after else f"{_state(before)} -> {_state(after)}"
    console.print(f"Run {done.run_id}: {move}, severity {done.decision.severity.value}")
    console.print(f"  {escape(done.decision.reason)}")


def replayed(found: Replayed) -> None:
    """`replay` for a person."""
    console.print(f"{found.runs} decisions recomputed, {found.windows} windows recounted from the log.")
    for run_id, why in found.not_recounted.items():
        console.print(f"  window of run {run_id} not recounted: {escape(why)}")
    if found.difference is None:
        console.print("[green]No difference.[/]")
    else:
        console.print(f"[bold red]The first difference:[/] {escape(str(found.difference))}")


def status_document(engine: Engine, settings: Settings, now: datetime, spooled_rows: int) -> dict[str, Any]:
    """`status` for a program: state, its validity, what it rests on."""
    version = settings.model.version
    with database.reading(engine) as connection:
        state = current_state(connection)
        baseline_now = active_baseline(connection, version)
        last = last_run(connection)
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
        "watched": baseline_now is not None,
        "baseline_id": baseline_now.baseline_id if baseline_now else None,
        "prediction_count": predictions,
        "calm_runs": memory.calm_runs if memory else 0,
        "recovery_runs_needed": recovery_runs_needed(settings.policy, memory) if memory else None,
        "streaks": to_document(memory.streaks) if memory else {},
        "incident": incident_document(open_incidents[0]) if open_incidents else None,
        "explanations_pending": len(incident_explanation.pending(engine, settings)),
        "explanation_failures": failures,
        "last_run": window_document(last) if last else None,
    }


def outage_document(settings: Settings, error: StoreError, spooled_rows: int) -> dict[str, Any]:
    """`status` while the database cannot be asked: the state is unknown, which is not NORMAL."""
    return {
        "store": f"out: {error}",
        "spooled_rows": spooled_rows,
        "service": settings.service.name,
        "mode": settings.service.mode,
        "state": None,
        "model_version": settings.model.version,
    }


def outage(document: dict[str, Any]) -> None:
    """The same for a person."""
    console.print(f"{escape(document['service'])}: [bold red]state unknown[/]")
    console.print(f"  The database is {escape(document['store'])}")
    console.print("  A running API obeys the last state that it read, for `max_state_age_seconds`; then it falls back.")
    _spooling(document)


def _spooling(document: dict[str, Any]) -> None:
    if document["spooled_rows"]:
        told = f"{document['spooled_rows']} entries wait on this host's disk for the database."
        console.print(f"  [bold yellow]Spooling[/]: {told}")


def status(document: dict[str, Any]) -> None:
    """`status` for a person."""
    console.print(f"{escape(document['service'])}: {_state(document['state'])}  {escape(document['reason'])}")
    if document["held"]:
        held = document["held"]
        console.print(f"  [bold red]Held[/] by {escape(held['by'])} since {_at(held['at'])}: {escape(held['reason'])}")
    if document["stale"]:
        last = _at(document["checked_at"]) if document["checked_at"] else "never"
        console.print(f"  [bold red]The monitor is not running[/] (last run: {last}). Nobody is watching this model.")
    else:
        console.print(f"  Monitor: last run {_at(document['checked_at'])}, valid until {_at(document['valid_until'])}")
    if not document["watched"]:
        version = escape(document["model_version"])
        console.print(f"  [bold yellow]Unwatched[/]: model version {version} has no active baseline.")
    _spooling(document)
    if document["mode"] == "observe":
        console.print("  Mode: observe. The model is never bypassed, whatever the state.")
    console.print(f"  Model version {escape(document['model_version'])}, {document['prediction_count']} predictions")
    for key, streak in document["streaks"].items():
        console.print(f"  {escape(key)}: deviating for {streak['deviating']} runs, severe for {streak['severe']}")
    if document["state"] == "DEGRADED" and not document["held"]:
        console.print(f"  Calm runs: {document['calm_runs']} of {document['recovery_runs_needed']} that end it")
    if document["incident"]:
        console.print(f"  Incident {document['incident']['incident_id']}: see `stillsafe explain`")
    if document["explanations_pending"]:
        told = f"{document['explanations_pending']} to come, {document['explanation_failures']} attempts failed"
        console.print(f"  Explanations by the language model: {told}; see `stillsafe explain --pending`")


def window_document(run: RunRecord) -> dict[str, Any]:
    """One run for a program, without its bulky documents."""
    left_out = {"policy", "window", "memory"}
    return {name: value for name, value in asdict(run).items() if name not in left_out}


def windows(runs: list[RunRecord]) -> None:
    """`windows` for a person."""
    if not runs:
        console.print("The monitor has never run. Start it with `stillsafe monitor`.", markup=False)
        return
    wide = console.width >= WIDE
    table = Table(
        "until (UTC)", "new", "confidence", "low", "evidence", "severity", "state", *(["reason"] if wide else [])
    )
    for one in runs:
        judged = stored_value(Window, one.window).fresh if one.window is not None else Tally()
        cells = [
            f"{one.window_end:%m-%d %H:%M:%S}",
            str(judged.prediction_count) + (" (shadow)" if one.shadow else ""),
            _figure(judged.avg_confidence),
            _figure(judged.low_confidence_rate),
            one.evidence or "",
            one.severity or "",
            _state(one.state_after or ""),
        ]
        table.add_row(*cells, *([escape((one.reason or "")[:100])] if wide else []))
    console.print(table)
    console.print("Counted on the predictions that no earlier run had judged; --json has the whole windows too.")


def incident_document(record: IncidentRecord) -> dict[str, Any]:
    """One incident for a program."""
    return asdict(record)


def incidents(found: list[IncidentRecord]) -> None:
    """`incidents list` for a person."""
    if not found:
        console.print("There has been no incident.", markup=False)
        return
    for one in found:
        resolved = f"resolved {_at(one.resolved_at)}" if one.resolved_at else "[bold red]open[/]"
        console.print(f"[bold]{one.incident_id}[/]  {one.severity}, detected {_at(one.detected_at)}, {resolved}")
        console.print(f"  {escape(one.decision_reason)}")


def incident(record: IncidentRecord, told: list[ExplanationRecord]) -> None:
    """One incident for a person."""
    console.print(f"[bold]{record.incident_id}[/]  {record.severity}, detected {_at(record.detected_at)}")
    console.print(f"  {escape(record.decision_reason)}")
    console.print(f"  Fallback activated: {'yes' if record.fallback_activated else 'no'}")
    if record.resolved_at:
        console.print(f"  Resolved {_at(record.resolved_at)}. {escape(record.resolution or '')}")
    for explanation in told:
        _explanation(explanation)


def _explanation(told: ExplanationRecord) -> None:
    console.print(f"\n[bold]{escape(told.incident_status or 'told')}[/] (explained by {escape(told.llm_model)})")
    console.print(escape(told.summary))
    for heading, points in (("Likely causes", told.likely_causes), ("Recommendations", told.recommendations)):
        if points:
            console.print(f"{heading}:")
            for point in points.splitlines():
                console.print(f"  - {escape(point)}")
    if told.unverified:
        doubts = "1 number is" if len(told.unverified) == 1 else f"{len(told.unverified)} numbers are"
        console.print(f"[yellow]{doubts} not in the incident's figures and marked above as unverified.[/]")


def request(messages: list[dict[str, str]]) -> None:
    """What a language model would be sent, for a person."""
    for message in messages:
        console.print(f"[bold]{message['role']}[/]")
        console.print(escape(message["content"]))


def explained(document: dict[str, Any]) -> None:
    """`explain --pending` for a person."""
    for step in document["steps"]:
        console.print(f"{step['incident_id']} {step['status']}: {step['outcome']}", markup=False)
    console.print(f"{document['pending']} still to be explained by the language model.", markup=False)


def explanation_document(record: ExplanationRecord) -> dict[str, Any]:
    """One explanation for a program."""
    return asdict(record)


def baseline_document(made: Baseline, *, active: bool) -> dict[str, Any]:
    """One baseline for a program."""
    return {**to_document(made), "active": active}


def baseline(made: Baseline, *, active: bool) -> None:
    """One baseline for a person."""
    console.print(f"[bold]{escape(made.baseline_id)}[/]{' (active)' if active else ''}")
    console.print(
        f"  {made.sample_size} predictions of model version {escape(made.model_version)}, made {_at(made.created_at)}; "
        f"mean confidence {_figure(made.avg_confidence)}, {_figure(made.low_confidence_rate)} of them below "
        f"{_figure(made.low_confidence_threshold)}"
    )
    table = Table("feature", "missing", "seen")
    for name, feature in made.features.items():
        seen = f"{feature.minimum:g} to {feature.maximum:g}" if feature.minimum is not None else ""
        if feature.category_counts:
            seen = f"{len(feature.category_counts)} categories"
        table.add_row(escape(name), f"{feature.missing_rate:.1%}", seen)
    console.print(table)


def baselines(found: list[BaselineRecord]) -> None:
    """`baseline list` for a person."""
    table = Table("baseline", "model version", "made (UTC)", "predictions", "confidence", "active")
    for record in found:
        one = record.baseline
        table.add_row(
            escape(one.baseline_id),
            escape(one.model_version),
            f"{one.created_at:%Y-%m-%d %H:%M:%S}",
            str(one.sample_size),
            _figure(one.avg_confidence),
            "yes" if record.active else "",
        )
    console.print(table)


def _state(name: str) -> str:
    return f"[{STATE_STYLE[name]}]{name}[/]" if name in STATE_STYLE else escape(name)


def _at(when: datetime | str) -> str:
    return when[:19] if isinstance(when, str) else f"{when:%Y-%m-%d %H:%M:%S} UTC"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _how(rules: int) -> str:
    """How the fallback answers, up to its default."""
    if not rules:
        return "it always answers "
    return f"{rules} {'rule' if rules == 1 else 'rules'}, judged on rows kept aside, else "


def dearest(harm: Harm) -> str:
    """What damage to the dearest features would cost."""
    unit = 1.0 if harm.metric is Metric.ACCURACY else max(harm.healthy_error, 1e-12)
    costs = sorted(((one.permuted / unit, name) for name, one in harm.features.items()), reverse=True)
    dear = [f"{escape(name)} {_cost(harm.metric, cost)}" for cost, name in costs[:MOST_DEAR] if cost > LEAST_DEAR]
    whose = "" if harm.labelled else " (told by its own answers, without labels)"
    if not dear:
        return f"No feature alone costs the model much if its values go to the wrong rows{whose}."
    return f"What the model loses if a feature's values go to the wrong rows{whose}: {', '.join(dear)}."


def _cost(metric: Metric, cost: float) -> str:
    return f"{100 * cost:.1f} points of accuracy" if metric is Metric.ACCURACY else f"{cost:.0%} more error"
