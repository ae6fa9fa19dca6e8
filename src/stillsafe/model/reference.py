"""The reference file `reference.json`: what `init` measured on the healthy sample.

The monitor takes its first baseline from it, and loading the model takes the confidence scale and probe rows.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureSpec, LogMode
from stillsafe.errors import ModelError
from stillsafe.model.compiled.predictors import EquivalenceCheck
from stillsafe.model.confidence import ConfidenceScale
from stillsafe.store.codec import dumps, from_document, to_document

REMEDY = "Make the service folder again with `stillsafe init`."

FORMAT, FIRST_FORMAT = 2, 1
"""The format that this version writes, and that of a file without a number. Every older one is read."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model that the reference was measured with, for people who compare files.

    Attributes:
        kind: `classifier` or `regressor`.
        classes: a classifier's classes; empty for a regressor.
        sklearn_version: version of scikit-learn that `init` loaded the model with.
        sha256: hash of the model file, hexadecimal.
        compiled: the equivalence check of the compiled model, or None if the model is not compiled.
    """

    kind: str
    classes: tuple[Answer, ...]
    sklearn_version: str
    sha256: str
    compiled: EquivalenceCheck | None


@dataclass(frozen=True, slots=True)
class Reference:
    """The sections of a reference file. A section that is absent or invalid is None.

    Attributes:
        baseline: the reference baseline.
        confidence: the scale that turns raw confidence scores into confidences.
        model: the model that both were measured with.
        format: number of the file's format.
    """

    baseline: Baseline | None = None
    confidence: ConfidenceScale | None = None
    model: ModelFacts | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        """The content of the file, canonical JSON."""
        return dumps(to_document(self))

    def profile(self, spec: FeatureSpec) -> FeatureBaseline | None:
        """The healthy profile of a feature; None if there is none, or if it counts hashes instead of values."""
        if self.baseline is None or spec.log is not LogMode.KEEP:
            return None
        return self.baseline.features.get(spec.name)


NO_REFERENCE = Reference()


def read_reference(path: Path) -> Reference:
    """Read a reference file; `NO_REFERENCE` if the file does not exist.

    Raises:
        ModelError: the file is unreadable, is not JSON, or is of a newer format.
    """
    if not path.exists():
        return NO_REFERENCE
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError("It is not a reference file.", REMEDY, file=str(path)) from error
    sections = document if isinstance(document, dict) else {}
    number = sections.get("format", FIRST_FORMAT)
    if not isinstance(number, int) or number > FORMAT:
        problem = f"The reference file has format {number}, and this version of Stillsafe reads formats up to {FORMAT}."
        raise ModelError(problem, "Update Stillsafe.", file=str(path))
    return Reference(
        _section(Baseline, sections.get("baseline")),
        _section(ConfidenceScale, sections.get("confidence")),
        _section(ModelFacts, sections.get("model")),
        number,
    )


def read_baseline(path: Path) -> Baseline:
    """Read the baseline of a reference file.

    Raises:
        ModelError: the file does not exist, is unreadable, or has no valid baseline.
    """
    if not path.exists():
        raise ModelError("There is no reference baseline.", REMEDY, file=str(path))
    baseline = read_reference(path).baseline
    if baseline is None:
        raise ModelError("The file contains no valid reference baseline.", REMEDY, file=str(path))
    return baseline


def _section(kind: type[T], document: Any) -> T | None:
    try:
        return from_document(kind, document)
    except ValueError:  # pydantic's ValidationError
        return None
