"""Checks of the reference file and the active baseline: what an older one lacks, and whether either shows too much."""

from collections.abc import Iterator

from stillsafe.check.findings import Finding, ok, warning
from stillsafe.core.baseline import Baseline, BaselineSource
from stillsafe.core.text import join_names
from stillsafe.model.reference import FORMAT, Reference
from stillsafe.monitoring.clock_sentences import clock_sentences
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.logged_baseline import shown_features
from stillsafe.settings import Settings

SUBJECT = "reference"
REFRESH = "`stillsafe init --refresh --sample DATA`"
EXTERNAL_REFRESH = "`stillsafe init --force --sample DATA --predictions COLUMN`"
MOST_NAMES = 5


def reference_findings(settings: Settings, reference: Reference) -> Iterator[Finding]:
    """What the reference file lacks, and the one command that adds it.

    Args:
        settings: of the service.
        reference: the file's content, with a baseline.
    """
    if reference.baseline is None:
        return
    command = refresh_command(settings)
    names = shown_features(reference.baseline, LogFormat.of(settings))
    if names:
        name_list = join_names(names, MOST_NAMES)
        message = f"It shows values of {name_list}, which the log hides. {command} makes one that hides them too."
        yield warning(SUBJECT, message)
    lacks = list(_missing_parts(settings, reference))
    if not lacks:
        yield ok(SUBJECT, f"format {reference.format}, complete")
        return
    parts = "; ".join(lacks)
    if reference.format < FORMAT:
        message = f"It is of format {reference.format} and is used as it is. It lacks {parts}. {command} adds them."
        yield warning(SUBJECT, f"{message} Your settings stay as they are.")
    else:
        yield ok(SUBJECT, f"format {reference.format}, without {parts}. {command} adds what DATA allows")


def refresh_command(settings: Settings) -> str:
    """The command that makes a new reference."""
    return EXTERNAL_REFRESH if settings.model.external else REFRESH


def time_findings(reference: Reference) -> Iterator[Finding]:
    """What the reference knows about time: a warning where features look like a clock and no times are known."""
    if reference.baseline is not None:
        report = warning if reference.baseline.slots is None else ok
        yield from (report("time", sentence) for sentence in clock_sentences(reference.baseline))


def baseline_finding(settings: Settings, reference: Reference, active: Baseline) -> Finding | None:
    """A warning if the active baseline is not the reference that the settings name, or shows more than they allow."""
    subject, baseline, least = "baseline", reference.baseline, settings.privacy.min_count
    is_reference = active.source is BaselineSource.REFERENCE
    if baseline is not None and is_reference and baseline.baseline_id != active.baseline_id:
        message = f"{active.baseline_id} is active, and the settings name a file with {baseline.baseline_id}."
        return warning(subject, f"{message} Run `stillsafe baseline activate {baseline.baseline_id}`.")
    if active.min_count >= least:
        return None
    remedy = refresh_command(settings) if is_reference else "`stillsafe baseline create`"
    message = (
        f"{active.baseline_id} shows categories, numbers and ranges of fewer than {least} values, which `min_count` in "
        f"[privacy] forbids for new ones: it was made before. {remedy} makes one that obeys it."
    )
    return warning(subject, message)


def _missing_parts(settings: Settings, reference: Reference) -> Iterator[str]:
    """What an older reference, or a sample without it, left out; a phrase each."""
    baseline = reference.baseline
    if baseline is None:
        return
    if baseline.slots is None:
        yield "the hours of the week (DATA needs a `timestamp` column)"
    if settings.model.external:
        return
    if baseline.harm is None:
        yield "the losses that damage causes (DATA needs 200 rows, better with labels)"
    elif not any(impact.permuted_error for impact in baseline.harm.features.values()):
        yield "the standard errors of the estimated losses"
    if settings.fallback.model_score is None:
        yield "the prices of the fallback (so `bypass` is `always`)"
    if reference.shows_rare_values or baseline.min_count < settings.privacy.min_count:
        yield f"the threshold of [privacy]: it shows values that fewer than {settings.privacy.min_count} rows share"
