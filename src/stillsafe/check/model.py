"""Checks of the served model: its libraries and answers, missing values, batches, and the compiled form."""

from collections.abc import Iterator

from stillsafe.check.findings import Finding, error, ok, warning
from stillsafe.core.evidence.time_text import time_text
from stillsafe.errors import StillsafeError
from stillsafe.model.batch_independence import batch_dependence, healthy_rows
from stillsafe.model.consistency import COMMAND, consistency_of
from stillsafe.model.library_versions import change_text, remedy
from stillsafe.model.load import features_required_by_model
from stillsafe.model.model import Model
from stillsafe.model.reference import read_reference
from stillsafe.settings import Settings

REFRESH = "`stillsafe init --refresh --sample DATA`"


def model_findings(model: Model, settings: Settings) -> Iterator[Finding]:
    """Whether the model answers as it did at `init`, and what it does with missing values and with batches."""
    yield from _model_versions(model, settings)
    yield _missing_values(model, settings)
    yield _batches(model, settings)
    yield _compiled_model(model, settings)


def _model_versions(model: Model, settings: Settings) -> Iterator[Finding]:
    """Whether the libraries are those of the model file and of `init`, and whether the answers still are."""
    subject = "model versions"
    try:
        consistency = consistency_of(model, settings)
    except StillsafeError as failure:
        yield error(subject, str(failure))
        return
    if consistency.problem is not None:
        yield error(subject, f"{consistency.problem}. {consistency.remedy}")
        return
    if differences := consistency.origin_changes:
        message = f"The model was saved with {change_text(differences)}, and its answers there are not known."
        yield warning(subject, f"{message} {remedy(differences)} Or take them as they are: `{COMMAND}`.")
        return
    versions = ", ".join(f"{name} {version}" for name, version in consistency.versions.items())
    if consistency.change is None:
        yield ok(subject, f"{versions}; the reference file has no answers to compare. {REFRESH} stores them")
        return
    message = f"{versions}; the answers for {consistency.change.row_count} synthetic rows are those of `init`"
    if (acceptance := consistency.acceptance) is not None:
        message = f"{message}, as {acceptance.by} accepted on {time_text(acceptance.at)}: {acceptance.reason}"
    yield ok(subject, message)


def _missing_values(model: Model, settings: Settings) -> Finding:
    """Whether the model accepts every missing value that the schema accepts."""
    names = features_required_by_model(model, read_reference(settings.path(settings.model.reference)))
    if not names:
        return ok("missing values", "the model accepts every missing value that the schema accepts")
    message = f"The schema accepts requests without {', '.join(names)}, and the model fails on them. Require them."
    return warning("missing values", message)


def _batches(model: Model, settings: Settings) -> Finding:
    """Whether the model's answers depend on the other rows of a batch."""
    subject = "batches"
    rows = healthy_rows(model.features, read_reference(settings.path(settings.model.reference)))
    dependence = batch_dependence(model, rows)
    if dependence is not None:
        return error(subject, f"{dependence.problem} {dependence.remedy}")
    if not rows:
        return ok(subject, "not known: the reference file has no values to score")
    return ok(subject, "the model answers the same for rows one by one, together and in another order")


def _compiled_model(model: Model, settings: Settings) -> Finding:
    """Whether the compiled model is served, and what its equivalence to scikit-learn is based on."""
    subject = "compiled model"
    equivalence = None if model.compiled is None else model.compiled.equivalence
    if equivalence is not None:
        return ok(
            subject,
            f"answers as scikit-learn does on {equivalence.row_count} rows and on {equivalence.split_count} inputs "
            f"next to the splits of its trees; the largest difference is {equivalence.largest_difference:g}",
        )
    if settings.model.compiled:
        message = (
            "It is not shown to answer as scikit-learn does, so scikit-learn serves, slower. The log has the reason."
        )
        return warning(subject, message)
    return ok(
        subject,
        "off: scikit-learn serves. `compiled = true` in [model] uses it where its answers are the same",
    )
