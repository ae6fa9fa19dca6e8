"""`performance`: how good the answers were, by the labels that have come."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app
from stillsafe.cli.output import format_time, print_plain, print_result, print_rows
from stillsafe.errors import ConfigurationError
from stillsafe.model.class_probability import with_areas
from stillsafe.model.estimate_report import estimate_account
from stillsafe.model.label_performance import Figures
from stillsafe.model.load import load_model
from stillsafe.model.performance_report import Period, PeriodKind, performance_report
from stillsafe.model.probability_performance import Estimate
from stillsafe.store import database

KINDS: dict[str, PeriodKind] = {"day": "day", "window": "window", "version": "version"}


@app.command()
def performance(
    config: Config = DEFAULT_CONFIG,
    by: Annotated[str, typer.Option(help="`day`, `window` of the monitor's runs, or `version` of the model.")] = "day",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 7,
    as_json: Json = False,
) -> None:
    """How good the answers were, by the labels that have come, with their coverage and their intervals."""
    kind = KINDS.get(by)
    if kind is None:
        raise ConfigurationError(f"{by!r} is no period.", f"Write --by {', --by '.join(KINDS)}.")
    settings = service.settings_of(config)
    model, now = load_model(settings), service.utc_now()
    with database.reading(service.open_store(settings)) as connection:
        periods = performance_report(
            connection, settings, model.classes, now, kind=kind, limit=limit, has_probabilities=model.has_probabilities
        )
        periods = with_areas(connection, periods, model)
        account = estimate_account(connection, settings.model.version)

    def print_text() -> None:
        print_periods(periods)
        if account is not None:
            print_plain(account.sentence)

    # A list has no place for what is true of the version, so each of its periods has it.
    estimate = None if account is None else {**asdict(account), "sentence": account.sentence}
    own_version = settings.model.version
    documents = [
        period.document() | {"estimate": estimate if period.model_version == own_version else None}
        for period in periods
    ]
    print_result(documents, as_json, print_text)


def print_periods(periods: list[Period]) -> None:
    """Print the text of `performance`: a row per period with labels."""
    with_labels = [period for period in periods if period.performance.overall is not None]
    if not with_labels:
        print_plain("No label has come for these periods. Add them with `stillsafe labels add` or POST /v1/labels.")
        return
    rows = []
    has_versions = len({period.model_version for period in periods}) > 1
    for period in with_labels:
        record = period.performance
        for name in record.overall.metrics if record.overall else ():
            figures = {"all": record.overall, "model": record.model, "fallback": record.fallback}
            period_name = escape(period.model_version) if has_versions else format_time(period.start)
            row = {
                "version" if has_versions else "from": period_name,
                "answers": f"{record.prediction_count:,}",
                "labels": f"{record.coverage or 0.0:.1%}",
                "metric": name.replace("_", " "),
            }
            rows.append(row | {by: _cell(each, name) for by, each in figures.items()})
    print_rows(rows)
    print_plain("Brackets hold 95% intervals. Labels that are missing may be missing for a reason.")


def _cell(figures: Figures | None, name: str) -> str:
    estimate: Estimate | None = None if figures is None else figures.metrics.get(name)
    if estimate is None:
        return "-"
    ends = "" if estimate.low is None else f" \\[{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.3f}{ends}"
