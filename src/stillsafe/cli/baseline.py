"""`baseline`: create, activate, list and show baselines."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Engine

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app, parse_time, require_span
from stillsafe.cli.command_table import command_group
from stillsafe.cli.output import (
    console,
    core_document,
    format_number,
    format_time,
    print_plain,
    print_result,
    print_rows,
    progress_bar,
)
from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.errors import ConfigurationError, RefusedError
from stillsafe.init.label_study import LabelStudy, learning_report
from stillsafe.model.load import load_scoring_model
from stillsafe.monitoring import baseline as baselines
from stillsafe.monitoring import extension
from stillsafe.monitoring.clock_sentences import clock_sentences
from stillsafe.progress import Progress
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.baselines import BaselineRecord, active_baseline, all_baselines, baseline_by_id

WithLabels = Annotated[
    bool, typer.Option("--with-labels", help="Learn harm again from the period's labelled rows, not from `init`'s.")
]

baseline_app = command_group("What healthy looks like: make, list, show and activate baselines.")
app.add_typer(baseline_app, name="baseline")


@baseline_app.command("create")
def baseline_create(
    config: Config = DEFAULT_CONFIG,
    first: Annotated[
        int | None, typer.Option(min=1, help="From the first N healthy predictions (default 10,000).")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="From a span of time: its start (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option("--to", help="From a span of time: its end (ISO 8601).")] = None,
    reference: Annotated[Path | None, typer.Option("--file", help="From a reference file that `init` wrote.")] = None,
    accept_contradiction: Annotated[
        bool, typer.Option("--accept-contradiction", help="Make it although its halves deviate from one another.")
    ] = False,
    with_labels: WithLabels = False,
    as_json: Json = False,
) -> None:
    """Make a baseline of the served model version and make it the active one."""
    sources = [first is not None, since is not None or until is not None, reference is not None]
    if sum(sources) > 1:
        raise ConfigurationError("A baseline has one source.", "Use one of --first, --from/--to and --file.")
    if reference is not None and with_labels:
        raise ConfigurationError("A reference file has its own study.", "Leave --with-labels out.")
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    previous = _study_in_force(engine, settings)
    if reference is not None:
        baseline = baselines.load_reference(engine, settings, reference)
    else:
        start, end = (None if time is None else parse_time(time) for time in (since, until))
        require_span("--from", start, end)
        period = baselines.HealthyPeriod(first, start, end, accept_contradiction)
        with progress_bar("Reading the log") as progress:
            study = _label_study(settings, progress, accept_contradiction) if with_labels else None
            baseline = baselines.create(engine, settings, period, at=service.utc_now(), study=study)
    _print_new(baseline, previous, as_json)


@baseline_app.command("extend")
def baseline_extend(
    config: Config = DEFAULT_CONFIG,
    since: Annotated[
        str | None, typer.Option("--from", help="Start of the healthy span (ISO 8601; default seven days ago).")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Its end (ISO 8601; default now).")] = None,
    accept_contradiction: Annotated[
        bool,
        typer.Option("--accept-contradiction", help="Count rows although runs deviated on them: they are healthy."),
    ] = False,
    with_labels: WithLabels = False,
    as_json: Json = False,
) -> None:
    """Widen the active baseline by a healthy span of the log: more hours, weekdays and values are known.

    Rows count that the model answered in NORMAL in runs without a deviation. The result is a new, active baseline.
    """
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    start, end = (None if time is None else parse_time(time) for time in (since, until))
    require_span("--from", start, end)
    span = extension.HealthySpan(start, end, accept_contradiction)
    previous = _study_in_force(engine, settings)
    with progress_bar("Reading the log") as progress:
        study = _label_study(settings, progress, accept_contradiction) if with_labels else None
        baseline = extension.extend(engine, settings, span, at=service.utc_now(), study=study)
    _print_new(baseline, previous, as_json)


@baseline_app.command("activate")
def baseline_activate(baseline_id: str, config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Make a stored baseline the active one of its model version."""
    baseline = baselines.activate(service.open_store(service.settings_of(config)), baseline_id)
    document = {"baseline_id": baseline.baseline_id, "model_version": baseline.model_version, "active": True}
    sentence = f"{baseline.baseline_id} is now the active baseline of model version {baseline.model_version}."
    print_result(document, as_json, lambda: print_plain(sentence))


@baseline_app.command("list")
def baseline_list(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Every baseline, newest first."""
    with database.reading(service.open_store(service.settings_of(config))) as connection:
        records = all_baselines(connection)
    documents = [baseline_document(record.baseline, active=record.active) for record in records]
    print_result(documents, as_json, lambda: print_baselines(records))


@baseline_app.command("show")
def baseline_show(
    baseline_id: Annotated[str | None, typer.Argument(help="Which one; default: the active one.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """One baseline in numbers."""
    settings = service.settings_of(config)
    with database.reading(service.open_store(settings)) as connection:
        current = active_baseline(connection, settings.model.version)
        baseline = baseline_by_id(connection, baseline_id) if baseline_id else current
    if baseline is None:
        raise RefusedError("there is no such baseline; `stillsafe baseline list` shows them.")
    active = current is not None and current.baseline_id == baseline.baseline_id
    print_result(baseline_document(baseline, active=active), as_json, lambda: print_baseline(baseline, active=active))


def _study_in_force(engine: Engine, settings: Settings) -> PerformanceImpact | None:
    """The impact study of the active baseline."""
    with database.reading(engine) as connection:
        active = active_baseline(connection, settings.model.version)
    return None if active is None else active.harm


def _label_study(settings: Settings, progress: Progress, accept_contradiction: bool) -> LabelStudy:
    """Learns harm from the labels of the log with the served model."""
    return LabelStudy(load_scoring_model(settings, "labels"), settings, accept_contradiction, progress)


def _print_new(baseline: Baseline, previous: PerformanceImpact | None, as_json: bool) -> None:
    """Print a new baseline, and what it learnt from labels beside what was in force before."""
    report = learning_report(baseline, previous)
    document = baseline_document(baseline, active=True) | {"learning": None if report is None else asdict(report)}

    def print_text() -> None:
        print_baseline(baseline, active=True)
        if report is not None:
            print_plain(f"  {report.sentence}")

    print_result(document, as_json, print_text)


def baseline_document(baseline: Baseline, *, active: bool) -> dict[str, Any]:
    """The JSON of one baseline."""
    return {**core_document(baseline), "active": active}


def print_baseline(baseline: Baseline, *, active: bool) -> None:
    """Print the text of one baseline: its period, its confidence and its features."""
    console.print(f"[bold]{escape(baseline.baseline_id)}[/]{' (active)' if active else ''}")
    console.print(
        f"  {baseline.sample_size} predictions of model version {escape(baseline.model_version)}, made "
        f"{format_time(baseline.created_at)}; mean confidence {format_number(baseline.avg_confidence)}, share below "
        f"{format_number(baseline.low_confidence_threshold)}: {format_number(baseline.low_confidence_rate)}"
    )
    rows = []
    for name, feature in baseline.features.items():
        values = f"{feature.minimum:g} to {feature.maximum:g}" if feature.minimum is not None else ""
        if feature.category_counts:
            values = f"{len(feature.category_counts)} categories"
        rows.append({"feature": escape(name), "missing": f"{feature.missing_rate:.1%}", "values": values})
    print_rows(rows)
    for sentence in clock_sentences(baseline):
        print_plain(f"  {sentence}")


def print_baselines(records: list[BaselineRecord]) -> None:
    """Print the text of `baseline list`: a row per baseline."""
    print_rows([_row(record) for record in records])


def _row(record: BaselineRecord) -> dict[str, str]:
    baseline = record.baseline
    return {
        "baseline": escape(baseline.baseline_id),
        "model version": escape(baseline.model_version),
        "made": format_time(baseline.created_at),
        "predictions": str(baseline.sample_size),
        "confidence": format_number(baseline.avg_confidence),
        "active": "yes" if record.active else "",
    }
