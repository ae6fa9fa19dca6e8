"""`model`: the libraries of the served model, and the acceptance of answers that they changed."""

import getpass
import logging
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app
from stillsafe.cli.command_table import command_group
from stillsafe.cli.hold import log_action, one_line
from stillsafe.cli.output import print_plain, print_result
from stillsafe.core.evidence.time_text import exact_time_text, time_text
from stillsafe.logs import LogEvent, log_event

if TYPE_CHECKING:
    from stillsafe.model.consistency import Consistency

logger = logging.getLogger(__name__)

model_app = command_group("The served model and its libraries.")
app.add_typer(model_app, name="model")


@model_app.command("show")
def model_show(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Show the versions of the model's libraries, and whether its answers are those of `init`."""
    # Imported here: scikit-learn takes seconds to import.
    from stillsafe.model.consistency import consistency_of
    from stillsafe.model.load import load_scoring_model

    settings = service.settings_of(config)
    consistency = consistency_of(load_scoring_model(settings, "libraries"), settings)
    print_result(model_document(consistency), as_json, lambda: print_model(consistency))


@model_app.command("accept")
def model_accept(
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    config: Config = DEFAULT_CONFIG,
    by: Annotated[str | None, typer.Option(help="Who; default: the user of this shell.")] = None,
    as_json: Json = False,
) -> None:
    """Accept the model's answers with the libraries of this Python, on record with who and why.

    The next start of `serve` takes them for those of `init`.
    """
    from stillsafe.model.consistency import accept
    from stillsafe.model.load import load_scoring_model

    settings = service.settings_of(config)
    log_action(settings)
    operator, cause = one_line(by or getpass.getuser()), one_line(reason)
    acceptance = accept(
        load_scoring_model(settings, "libraries"), settings, by=operator, reason=cause, at=service.utc_now()
    )
    fields = {"service": settings.service.name, "model_version": settings.model.version, "by": operator}
    log_event(logger, LogEvent.MODEL_ACCEPTED, {**fields, "message": cause})
    document = {
        "by": operator,
        "reason": cause,
        "library_versions_before": dict(acceptance.versions_before),
        "library_versions": dict(acceptance.versions_after),
        "changed_rows": acceptance.changed_count,
    }
    sentence = "Accepted, on record. Restart `stillsafe serve`, so that the model answers again."
    print_result(document, as_json, lambda: print_plain(sentence))


def model_document(consistency: "Consistency") -> dict[str, Any]:
    """The JSON of `model show`."""
    change, acceptance = consistency.change, consistency.acceptance
    return {
        "library_versions": dict(consistency.versions),
        "library_versions_before": dict(consistency.versions_before),
        "origin_versions": dict(consistency.origin_versions),
        "compared_rows": None if change is None else change.row_count,
        "changed_rows": None if change is None else change.changed_count,
        "answer_change": consistency.problem,
        "accepted_by": None if acceptance is None else acceptance.by,
        "accepted_at": None if acceptance is None else exact_time_text(acceptance.at),
        "accepted_reason": None if acceptance is None else acceptance.reason,
    }


def print_model(consistency: "Consistency") -> None:
    """Print the text of `model show`."""
    columns = (consistency.versions, consistency.versions_before, consistency.origin_versions)
    for name in sorted({name for versions in columns for name in versions}):
        running, reference, origin = (versions.get(name, "not known") for versions in columns)
        print_plain(f"{name}: {running} here, {reference} at the last measurement, {origin} in the model file")
    change = consistency.change
    if consistency.problem is not None:
        print_plain(f"{consistency.problem}. {consistency.remedy}")
    elif change is not None:
        print_plain(f"The answers for {change.row_count} synthetic rows are those of the last measurement.")
    if (acceptance := consistency.acceptance) is not None:
        print_plain(f"Accepted by {acceptance.by} on {time_text(acceptance.at)}: {acceptance.reason}")
