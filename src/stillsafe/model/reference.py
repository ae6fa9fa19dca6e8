"""The reference file `reference.json`: what `init` measured on the healthy sample.

The monitor takes its first baseline from it, and loading the model takes the confidence scale and probe rows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureSpec, LogMode, Value
from stillsafe.errors import ModelError
from stillsafe.model.compiled.predictors import EquivalenceCheck
from stillsafe.model.confidence import ConfidenceScale
from stillsafe.store.codec import dumps, from_document, to_document
from stillsafe.store.redaction import is_of_older_release, redacted_baseline

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
        library_versions: versions of the model's libraries when `init` measured it, by distribution; empty in files
            of older versions.
        origin_versions: versions that the model file named when `init` read it, before any conversion.
    """

    kind: str
    classes: tuple[Answer, ...]
    sklearn_version: str
    sha256: str
    compiled: EquivalenceCheck | None
    library_versions: Mapping[str, str] = field(default_factory=dict)
    origin_versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def versions(self) -> Mapping[str, str]:
        """The library versions of `init`, as far as they are known."""
        return self.library_versions or {"scikit-learn": self.sklearn_version}


@dataclass(frozen=True, slots=True)
class ProbeAnswers:
    """What a model answered for synthetic rows.

    Attributes:
        names: the features.
        rows: the rows, each with its values in the order of the names.
        predictions: one per row; None where the model failed.
        confidences: one per row, in [0, 1]; None where the model failed.
        probabilities: one tuple per row, in the order of the classes; empty without probabilities.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    predictions: tuple[Answer | None, ...]
    confidences: tuple[float | None, ...]
    probabilities: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Check that every row has its answer.

        Raises:
            ValueError: one has not.
        """
        counts = {len(self.rows), len(self.predictions), len(self.confidences), len(self.probabilities)}
        if len(counts) > 1 or {len(row) for row in self.rows} - {len(self.names)}:
            raise ValueError("a row lacks a value or its answer")


@dataclass(frozen=True, slots=True)
class Reference:
    """The sections of a reference file. A section that is absent or invalid is None.

    Attributes:
        baseline: the reference baseline.
        confidence: the scale that turns raw confidence scores into confidences.
        model: the model that both were measured with.
        format: number of the file's format.
        probes: the model's answers for synthetic rows, with which those at each start are compared.
        shows_rare_values: whether the file of an older release lists what few values share. The baseline does not:
            it is read without them.
    """

    baseline: Baseline | None = None
    confidence: ConfidenceScale | None = None
    model: ModelFacts | None = None
    format: int = FORMAT
    probes: ProbeAnswers | None = None
    shows_rare_values: bool = False

    def to_json(self) -> str:
        """The content of the file, canonical JSON."""
        document = to_document(self)
        del document["shows_rare_values"]
        return dumps(document)

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
    document = sections.get("baseline")
    baseline = _baseline(document)
    return Reference(
        baseline,
        _section(ConfidenceScale, sections.get("confidence")),
        _section(ModelFacts, sections.get("model")),
        number,
        _section(ProbeAnswers, sections.get("probes")),
        baseline is not None and is_of_older_release(document),
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


def _baseline(document: Any) -> Baseline | None:
    """The baseline without what few values of the sample share, whatever release wrote it."""
    if _section(Baseline, document) is None or not is_of_older_release(document):
        return _section(Baseline, document)
    return _section(Baseline, redacted_baseline(document))


def _section(kind: type[T], document: Any) -> T | None:
    try:
        return from_document(kind, document)
    except ValueError:  # pydantic's ValidationError
        return None
