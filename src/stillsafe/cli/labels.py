"""`labels`: adds what turned out to be true."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app
from stillsafe.cli.command_table import command_group
from stillsafe.cli.output import print_plain, print_result, progress_bar
from stillsafe.cli.table_options import Encoding, Separator
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.label_intake import LabelForm, LabelReport
from stillsafe.label_summary import AnswerCoverage, answer_coverage
from stillsafe.logged_value import logged_feature
from stillsafe.model.load import load_model
from stillsafe.store import database
from stillsafe.store.read.labels import outcome_groups

COVERAGE_SPAN = timedelta(days=30)
labels_app = command_group("The labels of predictions.")
app.add_typer(labels_app, name="labels")


@labels_app.callback()
def labels() -> None:
    """The labels of predictions: what turned out to be true."""


@labels_app.command("add")
def labels_add(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet, with an identifier and a label in each row.")],
    config: Config = DEFAULT_CONFIG,
    prediction_id: Annotated[
        str | None, typer.Option("--prediction-id", help="The column of the service's identifiers: `prediction_id`.")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option("--id", help="Or the column of the ids that your requests had: `id`.")
    ] = None,
    join: Annotated[
        str | None, typer.Option("--join", help="Or a column with the values of the feature of that name.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="The column of labels: `label`.")] = None,
    separator: Separator = None,
    encoding: Encoding = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be added.")] = False,
    as_json: Json = False,
) -> None:
    """Add labels from a file, while the service goes on. Adding a file again changes nothing."""
    from stillsafe.label_file import find_columns
    from stillsafe.monitoring.label_import import add_labels, joined_predictions

    settings = service.settings_of(config)
    engine = service.open_store(settings)
    table = TableFormat.of_options(separator, None, encoding, None, None)
    columns = find_columns(file, prediction_id=prediction_id, request_id=request_id, label=label, join=join, form=table)
    form = LabelForm(load_model(settings).classes)
    with progress_bar("Labels") as progress:
        if join is not None:
            spec = logged_feature(settings.schema_of_features, join)
            predictions = joined_predictions(engine, file, columns, spec, settings.service.hash_salt, progress)
            columns = columns._replace(predictions=predictions)
        report = add_labels(engine, file, columns, form, service.utc_now, dry_run=dry_run, progress=progress)
    now, version = service.utc_now(), settings.model.version
    with database.reading(engine) as connection:
        coverage = answer_coverage(outcome_groups(connection, now - COVERAGE_SPAN, now, version))
    document = report.document() | {"dry_run": dry_run, "coverage": coverage.document()}
    print_result(document, as_json, lambda: print_report(report, coverage, dry_run=dry_run))


def print_report(report: LabelReport, coverage: AnswerCoverage, *, dry_run: bool) -> None:
    """Print the text of `labels add`: what was added, and what was not and why."""
    verb = "would be added" if dry_run else "added"
    print_plain(
        f"{report.new_count:,} labels {verb}, {report.correction_count:,} corrected, {report.repeat_count:,} known "
        f"already, {report.absent_count:,} rows without a label."
    )
    if report.unknown_count:
        print_plain(f"{report.unknown_count:,} identifiers are not in the log: {', '.join(report.unknown_ids)}.")
    if report.refusal_count:
        print_plain(f"{report.refusal_count:,} rows are refused: {'; '.join(report.refusals)}.")
    print_plain(coverage.sentence)
