"""The first stored value that a recomputation contradicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stillsafe.core.evidence.time_text import exact_time_text
from stillsafe.core.signals import Reading
from stillsafe.core.state import Memory
from stillsafe.core.window import Window
from stillsafe.store.codec import dumps, stored_value, to_document
from stillsafe.store.read.runs import RunRecord

FIRST_VERSION = 1
"""The rules and the wording of a run that does not name them: it was written before runs did."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first stored value that a recomputation contradicts.

    Attributes:
        run_id: the run, or 0 for the current state and the incidents.
        window_end: the end of its window, or `now`.
        what: the path to the value.
        stored, recomputed: the value as JSON.
    """

    run_id: int
    window_end: str
    what: str
    stored: str
    recomputed: str

    def __str__(self) -> str:
        return (
            f"Run {self.run_id} ({self.window_end}): {self.what} differs.\n"
            f"  stored:     {self.stored}\n  recomputed: {self.recomputed}"
        )


_KINDS: Mapping[str, Any] = {"memory": Memory, "window": Window, "readings": tuple[Reading, ...]}


def complete(what: str, document: Any) -> Any:
    """A stored document with the fields that later releases added."""
    return to_document(stored_value(_KINDS[what], document) if what in _KINDS and document is not None else document)


def present_difference(
    what: str, stored_document: Mapping[str, Any], new_document: Mapping[str, Any]
) -> Difference | None:
    """The first value of the present that differs, such as of the state in force, or None."""
    if dumps(stored_document) == dumps(new_document):
        return None
    return Difference(0, "now", *_first_unequal(what, stored_document, new_document))


def run_difference(run: RunRecord, what: str, stored_document: Any, new_document: Any) -> Difference:
    """The first part of a run's column that differs."""
    return Difference(run.id, exact_time_text(run.window_end), *_first_unequal(what, stored_document, new_document))


def _first_unequal(path: str, stored_document: Any, new_document: Any) -> tuple[str, str, str]:
    """Path and values of the first part that differs, so that a person sees a number and not a page."""
    if isinstance(stored_document, dict) and isinstance(new_document, dict):
        for key in sorted(stored_document.keys() | new_document.keys()):
            if dumps(stored_document.get(key)) != dumps(new_document.get(key)):
                return _first_unequal(f"{path}.{key}", stored_document.get(key), new_document.get(key))
    if isinstance(stored_document, list) and isinstance(new_document, list):
        for index, (left, right) in enumerate(zip(stored_document, new_document, strict=False)):
            if dumps(left) != dumps(right):
                return _first_unequal(f"{path}[{index}]", left, right)
    return path, dumps(stored_document), dumps(new_document)
