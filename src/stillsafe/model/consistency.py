"""Whether a model still answers as it did when `init` measured it, although its libraries may have changed since."""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from stillsafe.logs import LogEvent, log_event
from stillsafe.model import library_versions
from stillsafe.model.acceptance import Acceptance, read_acceptances, write_acceptance
from stillsafe.model.library_versions import Versions
from stillsafe.model.model import Model
from stillsafe.model.probe_answers import AnswerChange, answers_again, compare, probe_answers
from stillsafe.model.reference import ProbeAnswers, Reference, read_reference
from stillsafe.settings import Settings

logger = logging.getLogger(__name__)

COMMAND = "stillsafe model accept --reason WHY"


@dataclass(frozen=True, slots=True)
class Consistency:
    """The comparison of a model with its reference file.

    Attributes:
        versions: of the model's libraries in this Python.
        versions_before: at `init`, or when a person last accepted a change; empty where they are not known.
        origin_versions: that the model file named when `init` read it.
        change: how the answers for synthetic rows differ; None where none are stored for this model file.
        acceptance: the newest acceptance of this model file, or None.
    """

    versions: Versions = field(default_factory=dict)
    versions_before: Versions = field(default_factory=dict)
    origin_versions: Versions = field(default_factory=dict)
    change: AnswerChange | None = None
    acceptance: Acceptance | None = None

    @property
    def problem(self) -> str | None:
        """Why the model must not answer before a person accepts it, one sentence; None if it may."""
        if self.change is None or not self.change.changed_count:
            return None
        differences = library_versions.changes(self.versions_before, self.versions)
        counts = f"{self.change.changed_count} of {self.change.row_count}"
        libraries = f": {library_versions.change_text(differences)}" if differences else ", with the same libraries"
        return f"The model's answers for {counts} synthetic rows are not those of `init`{libraries}"

    @property
    def remedy(self) -> str:
        """What to do about the problem."""
        differences = library_versions.changes(self.versions_before, self.versions)
        install = f"Install {library_versions.install_text(differences)}" if differences else "Restore the model"
        return f"{install}, or compare the answers and accept them on record: `{COMMAND}`, then restart."

    @property
    def origin_changes(self) -> dict[str, tuple[str, str]]:
        """Libraries with which the file was saved, in another version than here, unless a person accepted these."""
        if self.acceptance is not None and not library_versions.changes(self.acceptance.versions_after, self.versions):
            return {}
        return library_versions.changes(self.origin_versions, self.versions)


UNKNOWN_CONSISTENCY = Consistency()


def consistency_of(model: Model, settings: Settings) -> Consistency:
    """Compare a model with its reference file and with what a person accepted since. Of an external one, nothing.

    Raises:
        ModelError: one of these files is unreadable.
    """
    if model.is_external:
        return UNKNOWN_CONSISTENCY
    path = settings.path(settings.model.reference)
    reference, versions = read_reference(path), library_versions.running_versions(model.estimator)
    facts, sha256 = reference.model, settings.model.sha256
    if facts is None or facts.sha256 != sha256:
        return Consistency(versions)
    acceptances = [each for each in read_acceptances(path) if each.sha256 == sha256]
    newest = acceptances[-1] if acceptances else None
    probes = reference.probes if newest is None or newest.probes is None else newest.probes
    return Consistency(
        versions,
        facts.versions if newest is None else newest.versions_after,
        facts.origin_versions,
        _change(model, probes),
        newest,
    )


def _change(model: Model, probes: ProbeAnswers | None) -> AnswerChange | None:
    """How the answers differ; None without stored ones, or where they are of other features."""
    if probes is None or set(probes.names) != set(model.features.names):
        return None
    return compare(probes, answers_again(model, probes))


def accept(model: Model, settings: Settings, *, by: str, reason: str, at: datetime) -> Acceptance:
    """Record that a person accepts the model's answers and libraries as they are here; they are in force at next start.

    Raises:
        ModelError: the reference file or the record cannot be read or written.
    """
    path = settings.path(settings.model.reference)
    consistency, reference = consistency_of(model, settings), read_reference(path)
    acceptance = Acceptance(
        at,
        by,
        reason,
        settings.model.sha256,
        consistency.versions_before,
        consistency.versions,
        0 if consistency.change is None else consistency.change.changed_count,
        _accepted_answers(model, reference, consistency),
    )
    write_acceptance(path, acceptance)
    return acceptance


def _accepted_answers(model: Model, reference: Reference, consistency: Consistency) -> ProbeAnswers:
    last = consistency.acceptance
    probes = reference.probes if last is None or last.probes is None else last.probes
    if probes is None or set(probes.names) != set(model.features.names):
        return probe_answers(model, reference)
    return answers_again(model, probes)


def log_consistency(consistency: Consistency, settings: Settings) -> None:
    """Log answers that changed, or libraries that did; nothing where neither did."""
    names = {"service": settings.service.name, "model_version": settings.model.version}
    if problem := consistency.problem:
        log_event(logger, LogEvent.MODEL_CHANGED, {**names, "message": f"{problem}. {consistency.remedy}"})
        return
    differences = consistency.origin_changes
    if differences:
        sentence = f"The model was saved with {library_versions.change_text(differences)}."
        log_event(logger, LogEvent.MODEL_VERSIONS, {**names, "message": sentence})
