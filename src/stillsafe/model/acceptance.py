"""Changed answers of a model that a person accepted, on record beside the reference file."""

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stillsafe.errors import ModelError
from stillsafe.model.library_versions import Versions
from stillsafe.model.reference import ProbeAnswers
from stillsafe.store.codec import dumps, from_document, to_document
from stillsafe.store.disk import sync, write_private

SUFFIX = ".accepted.json"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One acceptance.

    Attributes:
        at: when, aware UTC.
        by: who.
        reason: why.
        sha256: hash of the model file.
        versions_before, versions_after: of the model's libraries.
        changed_count: synthetic rows whose answers had changed.
        probes: the answers that were accepted; None if none were known before.
    """

    at: datetime
    by: str
    reason: str
    sha256: str
    versions_before: Versions
    versions_after: Versions
    changed_count: int
    probes: ProbeAnswers | None


def read_acceptances(reference: Path) -> tuple[Acceptance, ...]:
    """Every acceptance of a reference file, oldest first.

    Raises:
        ModelError: the record cannot be read.
    """
    path = record_of(reference)
    try:
        return from_document(tuple[Acceptance, ...], json.loads(path.read_bytes()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        problem = "It is not a record of accepted answers."
        raise ModelError(problem, "Restore it, or accept again without it.", file=str(path)) from error


def write_acceptance(reference: Path, acceptance: Acceptance) -> None:
    """Add an acceptance to the record, in a single step.

    Raises:
        ModelError: the record cannot be read or written.
    """
    path = record_of(reference)
    content = dumps(to_document((*read_acceptances(reference), acceptance))).encode()
    draft = path.with_suffix(".new")
    try:
        write_private(draft, content)
        sync(draft)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        problem = f"It cannot be written: {error.strerror}."
        raise ModelError(problem, "Check the permissions of the folder.", file=str(path)) from error


def record_of(reference: Path) -> Path:
    """The file of the record: beside the reference file, named after it."""
    return reference.with_suffix(SUFFIX)
