"""`init`: create a service folder from a fitted model and a sample of healthy data."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from stillsafe import logs, service
from stillsafe.cli import refresh as refresh_command
from stillsafe.cli.app import Json, app
from stillsafe.cli.output import (
    console,
    core_document,
    format_number,
    print_plain,
    print_result,
    print_rows,
    progress_bar,
)
from stillsafe.cli.table_options import Dates, Decimal, Encoding, Missing, Separator
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError, StillsafeError
from stillsafe.model.model import ModelKind
from stillsafe.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from stillsafe.init.create import CreatedService

MOST_FEATURES, SMALLEST_LOSS = 5, 0.005  # features in the impact sentence, and the loss from which one is listed


@app.command()
def init(
    sample: Annotated[Path, typer.Option(help="Healthy data that the model was not trained on: CSV or Parquet.")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="The fitted model: .skops, a booster's .txt, .json, .ubj or .cbm, or .joblib with --trust-joblib."
        ),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(help="In place of --model, for a model that runs elsewhere: the column with its answers."),
    ] = None,
    probabilities: Annotated[
        list[str] | None,
        typer.Option(help="With --predictions: a column per class, by commas; COLUMN ends with it, or CLASS=COLUMN."),
    ] = None,
    confidence: Annotated[
        str | None, typer.Option(help="With --predictions: a column with the model's confidence, from 0 to 1.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column with the true labels, if the sample has one.")] = None,
    out: Annotated[Path | None, typer.Option(help="The service folder to write; default: service.")] = None,
    name: Annotated[str | None, typer.Option(help="The service's name; default: the folder's.")] = None,
    version: Annotated[str | None, typer.Option(help="The model's version; default: from its hash.")] = None,
    trust_joblib: Annotated[
        bool, typer.Option("--trust-joblib", help="Load a joblib or pickle file: it can run any code.")
    ] = False,
    fallback_models: Annotated[
        bool,
        typer.Option(
            "--fallback-models", help="Train second models for the fallback, without the features that may fail."
        ),
    ] = False,
    python_path: Annotated[
        list[Path] | None, typer.Option(help="A folder with your own modules that the model needs; repeatable.")
    ] = None,
    module: Annotated[
        list[str] | None, typer.Option(help="A module to import before the model is loaded; repeatable.")
    ] = None,
    trusted_type: Annotated[
        list[str] | None,
        typer.Option(help="Exact name of a further type that a skops file may contain; repeatable."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="How performance is measured: accuracy, auc, recall, expected_cost, ...")
    ] = None,
    positive: Annotated[str | None, typer.Option(help="The class that recall, precision and AUC are about.")] = None,
    cost: Annotated[
        list[str] | None, typer.Option(help="Of expected_cost: LABEL:PREDICTION=NUMBER, for each error; repeatable.")
    ] = None,
    class_names: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="A class of a LightGBM or XGBoost file, or of --predictions; repeat it in their order."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Give an existing service folder new settings; its log and its old settings are kept."
        ),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh", help="Measure the sample again for a service folder, and add the settings that it lacks."
        ),
    ] = False,
    separator: Separator = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    missing: Missing = None,
    dates: Dates = None,
    as_json: Json = False,
) -> None:
    """Inspect a fitted model and a sample of healthy data, and write a service folder for review."""
    form = TableFormat.of_options(separator, decimal, encoding, missing, dates)
    if refresh:
        refresh_command.refresh(out, sample, label, form, as_json=as_json)
        return
    _require_one_source(model, predictions, [*(probabilities or ()), *([] if confidence is None else [confidence])])
    # Imported here: scikit-learn takes seconds to import.
    from stillsafe.init.create import ServiceRequest, create_service
    from stillsafe.init.recorded_answers import AnswerColumns, class_arguments

    answers = predictions and AnswerColumns(
        predictions, class_arguments(probabilities or []), confidence, tuple(class_names or ())
    )

    logs.set_up("ERROR")  # the model is probed with values that it may not tolerate, and each failure would be logged

    with progress_bar("Reading the model") as progress:
        created_service = create_service(
            ServiceRequest(
                model,
                sample,
                label=label,
                out=out or refresh_command.DEFAULT_FOLDER,
                name=name,
                version=version,
                trust_joblib=trust_joblib,
                force=force,
                fallback_models=fallback_models,
                python_path=tuple(python_path or ()),
                modules=tuple(module or ()),
                trusted_types=tuple(trusted_type or ()),
                harm=_harm(metric, positive, cost or []),
                form=form,
                classes=tuple(class_names or ()),
                answers=answers or None,
                now=service.utc_now(),
                salt=secrets.token_hex(16),
            ),
            progress,
        )
    created_service = with_store(created_service)
    print_result(service_document(created_service), as_json, lambda: print_service(created_service))


def _require_one_source(model: Path | None, predictions: str | None, others: Sequence[str]) -> None:
    """Require either a model file or a column of answers."""
    if model is None and not predictions:
        remedy = "or --predictions for one that runs elsewhere"
        raise typer.BadParameter(
            f"The fitted model is required ({remedy}), unless --refresh is given.", param_hint="--model"
        )
    if model is not None and (predictions or others):
        raise typer.BadParameter(
            "--predictions and its columns belong to a model that runs elsewhere: leave out --model."
        )


def with_store(created_service: "CreatedService") -> "CreatedService":
    """A new service with its database, or with a warning where that cannot be created now.

    A service folder that existed has its database already, wherever that is now: nothing is created for it.
    """
    config = created_service.folder / DEFAULT_FILE
    if config.with_stem(f"{config.stem}-1").exists():
        return created_service
    try:
        service.open_store(service.settings_of(config), create=True).dispose()
    except StillsafeError as failure:
        remedy = f"Once that is corrected, run `stillsafe db upgrade --config {config}`."
        warning = f"The service has no database yet. {failure} {remedy}"
        return replace(created_service, warnings=(*created_service.warnings, warning))
    return created_service


def _harm(metric: str | None, positive: str | None, costs: list[str]) -> dict[str, Any]:
    """The keys of `[harm]` that the options give.

    Raises:
        ConfigurationError: an option is invalid.
    """
    if metric is None:
        if positive is not None or costs:
            raise ConfigurationError("--positive and --cost belong to a metric.", "Name it with --metric.")
        return {}
    if metric not in {each.value for each in Metric}:
        names = ", ".join(each.value for each in Metric)
        raise ConfigurationError(f"There is no metric {metric!r}.", f"Name one of {names}.")
    section: dict[str, Any] = {"metric": metric} | ({} if positive is None else {"positive": positive})
    for text in costs:
        parts = re.fullmatch(r"(.+):(.+)=(\d+(?:\.\d+)?)", text)
        if parts is None:
            raise ConfigurationError(f"{text!r} is no cost.", "Write --cost LABEL:PREDICTION=NUMBER.")
        section.setdefault("costs", {}).setdefault(parts[1], {})[parts[2]] = float(parts[3])
    return section


def service_document(created_service: "CreatedService") -> dict[str, Any]:
    """The JSON of `init`."""
    return {
        "folder": str(created_service.folder),
        "config": str(created_service.folder / DEFAULT_FILE),
        "kind": created_service.kind.value,
        "model_version": created_service.version,
        "confidence_method": created_service.method.value,
        "features": [core_document(spec) for spec in created_service.schema.features],
        "baseline_id": created_service.baseline.baseline_id,
        "sample_size": created_service.baseline.sample_size,
        "fallback_default": created_service.default,
        "model_score": created_service.model_score,
        "fallback_score": created_service.fallback_score,
        "fallback_rules": [{"when": rule.when, "answer": rule.answer} for rule in created_service.proposal.rules],
        "warnings": list(created_service.warnings),
    }


def print_service(created_service: "CreatedService") -> None:
    """Print the text of `init`: the schema, the scores, the impact of features, warnings and the next commands."""
    kind, version = created_service.kind, escape(created_service.version)
    noun = f"an external {kind.value}" if created_service.is_external else f"a {kind.value}"
    console.print(f"Wrote {escape(str(created_service.folder))}: {noun}, version {version}.")
    rows = []
    for spec in created_service.schema.features:
        missing = "refused" if spec.required else "served" if spec.omittable else "null is served"
        allowed = escape(replace(spec, required=True).allowed)
        rows.append({"feature": escape(spec.name), "type": spec.type.value, "missing": missing, "allowed": allowed})
    print_rows(rows)
    if not created_service.is_external:
        print_plain("If a type is wrong, set `type` of the feature in the settings and run `stillsafe init --refresh`.")
    if created_service.model_score is not None and created_service.fallback_score is not None:
        metric = "Accuracy" if kind is ModelKind.CLASSIFIER else "Mean absolute error"
        answers = fallback_answers(len(created_service.proposal.rules), repr(created_service.default))
        print_plain(
            f"{metric} on the sample: model {created_service.model_score:.3f}, fallback "
            f"{created_service.fallback_score:.3f} ({answers})."
        )
    if created_service.metric_reason:
        print_plain(created_service.metric_reason)
    baseline = created_service.baseline
    if baseline.harm is not None:
        print_plain(impact_sentence(baseline.harm))
    console.print(
        f"Reference baseline: {baseline.sample_size} rows, mean confidence {format_number(baseline.avg_confidence)}. "
        "If the model was trained on these rows, its confidence on new data is lower than that."
    )
    for warning in created_service.warnings:
        console.print(f"[yellow]Check this:[/] {escape(warning)}")
    console.print("Next: review the settings, then", style="bold")
    if created_service.is_external:
        print_plain("  record each answer of the model: `Guard.record`, or POST /v1/record (docs/how-to.md)")
    for command in ("check", "serve", "monitor"):
        print_plain(f"  stillsafe {command} --config {created_service.folder / DEFAULT_FILE}")


def fallback_answers(rule_count: int, default: str) -> str:
    """How the proposed fallback answers, in words."""
    if not rule_count:
        return f"it always answers {default}"
    return f"{rule_count} {'rule' if rule_count == 1 else 'rules'}, evaluated on held-out rows, otherwise {default}"


def impact_sentence(harm: PerformanceImpact) -> str:
    """What the model loses if the values of its most important features go to the wrong rows."""
    unit = max(harm.healthy_error, 1e-12) if harm.metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
    impacts = {name: impact for name, impact in harm.features.items() if impact.view_of is None}
    losses = sorted(((impact.permuted / unit, name) for name, impact in impacts.items()), reverse=True)
    costs = [f"{name} {_cost(harm.metric, loss)}" for loss, name in losses[:MOST_FEATURES] if loss > SMALLEST_LOSS]
    basis = "" if harm.labelled else " (estimated from the model's own predictions, without labels)"
    if not costs:
        return f"No single feature costs the model much if its values go to the wrong rows{basis}."
    return f"What the model loses if a feature's values go to the wrong rows{basis}: {', '.join(costs)}."


def _cost(metric: Metric, loss: float) -> str:
    if metric is Metric.MEAN_ABSOLUTE_ERROR:
        return f"{loss:.0%} more error"
    return f"{100 * loss:.1f} points of {metric.phrase}" if metric.is_score else f"{loss:.3g} more {metric.phrase}"
