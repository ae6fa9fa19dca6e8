"""The reference files of a service folder, and which of them show more than a new one would."""

import os
from pathlib import Path

from stillsafe.core.text import join_names
from stillsafe.errors import ModelError
from stillsafe.model.reference import Reference, read_reference
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.logged_baseline import logged_baseline
from stillsafe.store.disk import write_private

PATTERN, MOST_NAMES = "reference*.json", 5


def undisclosed_reference(reference: Reference, log_format: LogFormat) -> Reference | None:
    """The reference without what few values share and what the log hides; None where it shows neither."""
    if reference.baseline is None:
        return None
    baseline = logged_baseline(reference.baseline, log_format)
    is_changed = reference.shows_rare_values or baseline != reference.baseline
    return Reference(baseline, reference.confidence, reference.model, reference.format) if is_changed else None


def disclosing_files(folder: Path, log_format: LogFormat) -> list[Path]:
    """The reference files of a folder that show what few values share, or what the log hides; in order."""
    return [file for file, _ in _replacements(folder, log_format)]


def redact_files(folder: Path, log_format: LogFormat) -> list[Path]:
    """Write these files again without that; each is replaced in a single step. Returns them.

    Raises:
        OSError: a file cannot be written.
    """
    replacements = _replacements(folder, log_format)
    for file, reference in replacements:
        draft = file.with_name(f".{file.name}.new")
        write_private(draft, reference.to_json().encode())
        os.replace(draft, file)
    return [file for file, _ in replacements]


def redaction_sentence(files: list[Path]) -> str:
    """What `redact_files` did; empty where it did nothing."""
    if not files:
        return ""
    names = join_names([file.name for file in files], MOST_NAMES)
    return f"Values of few rows, and of features that the log hides, were removed from {names}."


def _replacements(folder: Path, log_format: LogFormat) -> list[tuple[Path, Reference]]:
    replacements = []
    for file in sorted(folder.glob(PATTERN)):
        try:
            reference = undisclosed_reference(read_reference(file), log_format)
        except ModelError:  # it is another file of that name, or of a newer version
            continue
        if reference is not None:
            replacements.append((file, reference))
    return replacements
