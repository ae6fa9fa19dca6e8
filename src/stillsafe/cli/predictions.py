"""`predictions`: one logged prediction, or those of a time in a file."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app, parse_time, require_span
from stillsafe.cli.command_table import command_group
from stillsafe.cli.output import (
    console,
    format_number,
    format_time,
    print_plain,
    print_result,
    print_rows,
    progress_bar,
)
from stillsafe.errors import ConfigurationError, RefusedError
from stillsafe.monitoring import log_export
from stillsafe.store import database
from stillsafe.store.read.request_id import LoggedPrediction, prediction_by_id, predictions_of_request

FIRST_TIME = "1970-01-01"
predictions_app = command_group("The logged predictions.")
app.add_typer(predictions_app, name="predictions")


@predictions_app.command("show")
def predictions_show(
    prediction_id: Annotated[str | None, typer.Argument(help="The prediction's identifier.")] = None,
    request_id: Annotated[str | None, typer.Option("--id", help="The client's id of the request instead.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """What was answered to one request, and with which features."""
    if (prediction_id is None) == (request_id is None):
        raise ConfigurationError("One prediction is needed.", "Give its identifier, or --id with the client's id.")
    with database.reading(service.open_store(service.settings_of(config))) as connection:
        if request_id is not None:
            predictions = predictions_of_request(connection, request_id)
        else:
            prediction = prediction_by_id(connection, prediction_id or "")
            predictions = [] if prediction is None else [prediction]
    if not predictions:
        raise RefusedError("The log has no such prediction.")
    documents = [asdict(each) for each in predictions]
    print_result(documents if request_id is not None else documents[0], as_json, lambda: print_predictions(predictions))


@predictions_app.command("export")
def predictions_export(
    file: Annotated[Path, typer.Argument(help="The new file: Parquet if it ends in .parquet, else CSV.")],
    since: Annotated[str, typer.Option(help="The first time, ISO 8601.")] = FIRST_TIME,
    until: Annotated[str | None, typer.Option(help="The end, ISO 8601; by default now.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Write the logged predictions of a time to a file: a row each, with a column per feature."""
    settings = service.settings_of(config)
    span: tuple[datetime, datetime] = parse_time(since), service.utc_now() if until is None else parse_time(until)
    require_span("--since", *span)
    engine = service.open_store(settings)
    with progress_bar("Exporting") as progress:
        count = log_export.export_predictions(engine, settings.schema_of_features, file, span, progress)
    print_result({"file": str(file), "predictions": count}, as_json, lambda: print_plain(f"{file}: {count:,} rows."))


def print_predictions(predictions: list[LoggedPrediction]) -> None:
    """Print the text of `predictions show`: a table of fields for each."""
    for prediction in predictions:
        console.print(f"[bold]{escape(prediction.prediction_id)}[/]")
        values = asdict(prediction)
        features = values.pop("features")
        values["timestamp"] = format_time(prediction.timestamp)
        values["confidence"] = format_number(prediction.confidence)
        texts = {name: "" if value is None else str(value) for name, value in {**values, **features}.items()}
        print_rows([{"field": escape(name), "value": escape(text)} for name, text in texts.items()])
