"""The model: verified before it is parsed, fitted to the schema before it serves, and asked so that it cannot hurt.

With `model_file` and `model_input` the only import of scikit-learn, skops, joblib and pandas outside `demo` and
`init`, and a late one: most commands never touch a model.
"""

import json
import logging
import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row, Schema
from stillsafe.errors import ModelError
from stillsafe.model.artifact import parsed, read_estimator, sha256_of, verified
from stillsafe.model.compiled import equivalence
from stillsafe.model.compiled.predictors import CannotCompile, Compiled, Said, ask
from stillsafe.model.confidence import (
    QUANTILES,
    ConfidenceMethod,
    ConfidenceScale,
    choose_method,
    raw_confidence,
    scale_from,
    top_probability,
    transformed,
)
from stillsafe.model.frame import frame, inputs_of
from stillsafe.model.probe_rows import guessed, typical_row
from stillsafe.settings import Settings

__all__ = [
    "ConfidenceMethod",
    "ConfidenceScale",
    "Model",
    "ModelKind",
    "Score",
    "as_text",
    "choose_method",
    "classes_of",
    "fit_problem",
    "frame",
    "inputs_of",
    "kind_of",
    "load",
    "one_thread",
    "raw_confidence",
    "read_estimator",
    "scale_from",
    "sha256_of",
    "unbearable_gaps",
]

logger = logging.getLogger(__name__)

NOT_ASKED = "not asked"
TOLERANCE = 1e-6  # by how much a probability may lie outside [0, 1]


class ModelKind(StrEnum):
    """What the model answers: one of its classes, or a number."""

    CLASSIFIER = "classifier"
    REGRESSOR = "regressor"


@dataclass(frozen=True, slots=True)
class Score:
    """What the model says of one row.

    Attributes:
        prediction: its answer, or None where it failed.
        confidence: in [0, 1], or None where it failed.
        probabilities: per class (as text) its probability, or None where the model has none.
        error: how it failed in a few words, or None.
    """

    prediction: Answer | None
    confidence: float | None
    probabilities: dict[str, float] | None
    error: str | None

    @property
    def text(self) -> str | None:
        """The answer as the audit log writes it."""
        return None if self.prediction is None else as_text(self.prediction)


class _WrongShapeError(Exception):
    """The model's answers are not one for each row."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is known to fit the schema.

    Attributes:
        version: what every row and baseline calls it.
        kind: classifier or regressor.
        classes: a classifier's possible answers; empty for a regressor.
        features: the schema, in the order of the settings.
        estimator: the fitted scikit-learn object.
        scale: what makes a confidence of its raw scores.
        compiled: what is asked in the estimator's place, where it is proven to answer the same.
    """

    version: str
    kind: ModelKind
    classes: tuple[Answer, ...]
    features: Schema
    estimator: Any
    scale: ConfidenceScale
    compiled: Compiled | None = None

    def score(self, rows: Sequence[Row], most_halvings: int | None = None) -> list[Score]:
        """One score per row, in order. Never raises, and a row on which the model fails costs only itself.

        The rows go in one call. Where that fails they are halved until the rows at fault stand alone, or until there
        were as many halvings as allowed: then the rows that were only asked with others that fail are `not asked`.

        Args:
            rows: clean rows.
            most_halvings: most times that failing rows are halved, which takes two calls each; None for as many as
                it takes, which is one fewer than there are rows.
        """
        scores, failures = self.searched(rows, most_halvings)
        if failures:
            _tell(scores, failures)
        return scores

    def searched(self, rows: Sequence[Row], most_halvings: int | None = None) -> tuple[list[Score], Counter[str]]:
        """The same without a word in the log: the scores, and which calls failed, how often."""
        halvings = len(rows) if most_halvings is None else most_halvings
        scores = [_failed(NOT_ASKED)] * len(rows)
        failures: Counter[str] = Counter()
        waiting = deque([(0, len(rows))] if rows else [])
        while waiting:  # the widest first, so that what is left over in the end is as narrow as can be
            start, end = waiting.popleft()
            try:
                scores[start:end] = self._scored(rows[start:end])
            except BaseException as error:  # noqa: BLE001 - somebody else's code, whose panics may be no Exceptions
                failures[_place_of(error)] += 1
                if end - start == 1:
                    scores[start] = _failed(_kind_of_failure(error))
                elif halvings > 0:
                    halvings -= 1
                    middle = (start + end) // 2
                    waiting += [(start, middle), (middle, end)]
        return scores, failures

    def _scored(self, rows: Sequence[Row]) -> list[Score]:
        with one_thread():
            answers, raw, probabilities = self._asked(rows)
        if probabilities is not None:
            if probabilities.shape != (len(rows), len(self.classes)):
                raise _WrongShapeError
            raw = top_probability(probabilities)
        if raw is None or not answers.shape == raw.shape == (len(rows),):
            raise _WrongShapeError
        confidences = self.scale.confidence(raw)
        numbers = confidences[:, np.newaxis] if probabilities is None else np.column_stack([confidences, probabilities])
        finite = np.all(np.isfinite(numbers), axis=1).tolist()
        shares = np.all((numbers >= -TOLERANCE) & (numbers <= 1 + TOLERANCE), axis=1).tolist()
        labels = [as_text(each) for each in self.classes]
        said = zip(answers.tolist(), finite, shares, numbers.tolist(), strict=True)
        return [self._judged(labels, *each) for each in said]

    def _asked(self, rows: Sequence[Row]) -> Said:
        if self.compiled is not None:
            return self.compiled(rows)
        estimator, inputs = self.estimator, inputs_of(self.estimator, frame(self.features, rows))
        if _is_plain_pipeline(estimator):
            # Its steps are the same for the answer and for the confidence: taken once, not twice.
            estimator, inputs = estimator.steps[-1][1], transformed(estimator, inputs)
        return ask(estimator, inputs, self.scale.method, classifies=self.kind is ModelKind.CLASSIFIER)

    def _judged(
        self, labels: Sequence[str], answer: Any, finite: bool, shares: bool, numbers: Sequence[float]
    ) -> Score:
        prediction, confidence = _plain(answer), numbers[0]
        if not finite or (isinstance(prediction, float) and not math.isfinite(prediction)):
            return _failed("not finite")
        if self.kind is ModelKind.CLASSIFIER and prediction not in self.classes:
            return _failed("unknown class")
        if not shares:
            return _failed("not a probability")
        named = dict(zip(labels, numbers[1:], strict=True)) if len(numbers) > 1 else None
        return Score(prediction, min(max(confidence, 0.0), 1.0), named, None)


def as_text(answer: Answer) -> str:
    """An answer as the audit log and a baseline's counts write it: text as it is, the rest as JSON writes it."""
    return answer if isinstance(answer, str) else json.dumps(answer)


def load(settings: Settings) -> Model:
    """The model that the settings name: verified, parsed, and tried on one row.

    Raises:
        ModelError: it is not the file meant, holds types that are not trusted, or does not fit the schema.
    """
    chosen, path = settings.model, settings.path(settings.model.file)
    content = verified(path, chosen.sha256)
    estimator = parsed(content, path, kind=chosen.format, trusted=chosen.trusted, trusted_types=chosen.trusted_types)
    _use_one_job(estimator)
    reference = _reference(settings.path(chosen.reference))
    schema = settings.schema_of_features
    try:
        kind, classes = kind_of(estimator), classes_of(estimator)
        model = Model(chosen.version, kind, classes, schema, estimator, _scale(estimator, reference))
    except ValueError as error:
        raise ModelError(f"The model cannot be served: {error}.", _REMEDY, file=str(path)) from error
    if problem := fit_problem(model, reference):
        raise ModelError(f"The model does not fit the schema: {problem}.", _REMEDY, file=str(path))
    return _compiled(model, reference) if chosen.compiled else model


_REMEDY = "Make the service folder again with `stillsafe init`."


def _compiled(model: Model, reference: Mapping[str, Any]) -> Model:
    """The model compiled, where that can be proven once more: another scikit-learn may have come since `init`."""
    try:
        return equivalence.compiled(model, reference)
    except CannotCompile as error:
        told = {"why": str(error), "instead": "scikit-learn answers"}
        logger.warning("the model is not served compiled", extra={"fields": told})
        return model


def kind_of(estimator: Any) -> ModelKind:
    """Classifier or regressor.

    Raises:
        ValueError: it is neither, is not fitted, or gives several answers for a row.
    """
    from sklearn.base import is_classifier, is_regressor

    if not hasattr(estimator, "predict"):
        raise ValueError(f"{type(estimator).__name__} makes no predictions")
    if is_classifier(estimator):
        return ModelKind.CLASSIFIER
    if is_regressor(estimator):
        return ModelKind.REGRESSOR
    raise ValueError(f"{type(estimator).__name__} is neither a classifier nor a regressor")


def classes_of(estimator: Any) -> tuple[Answer, ...]:
    """A classifier's answers as plain values, in the order of its probabilities; empty for a regressor.

    Raises:
        ValueError: it is not fitted, or its classes are no plain values.
    """
    if kind_of(estimator) is ModelKind.REGRESSOR:
        return ()
    found = getattr(estimator, "classes_", None)
    if found is None:
        raise ValueError("the classifier is not fitted")
    classes = tuple(_plain(c) for c in found)
    if not all(isinstance(c, bool | int | float | str) for c in classes):
        raise ValueError("its classes must be strings, numbers, true or false, and one of them for each row")
    return classes


def fit_problem(model: Model, reference: Mapping[str, Any]) -> str | None:
    """Why a model cannot serve its schema, or None if it can: names, number of features, and one row tried.

    Args:
        model: the model.
        reference: the reference file, whose healthy values make the row; without them a failure on the row tells
            nothing, and is let pass.
    """
    if told := _features_problem(model):
        return told
    error = model.score([typical_row(model.features, reference)])[0].error
    if error is None or guessed(model.features, reference):
        return None
    return f"on a typical row its answer is: {error}"


def unbearable_gaps(model: Model, reference: Mapping[str, Any]) -> list[str]:
    """Features that the schema lets be missing, and that the model cannot do without on an otherwise typical row.

    A request without one of them is answered by the fallback. Nothing can be told, and nothing is named, where the
    model fails on the typical row itself.
    """
    row = typical_row(model.features, reference)
    optional = [spec.name for spec in model.features.features if not spec.required]
    whole, *lacking = model.score([row, *({**row, name: None} for name in optional)])
    return [] if whole.error else [name for name, score in zip(optional, lacking, strict=True) if score.error]


def _features_problem(model: Model) -> str | None:
    names, wanted = model.features.names, getattr(model.estimator, "feature_names_in_", None)
    if wanted is None:
        count = getattr(model.estimator, "n_features_in_", len(names))
        told = f"it was fitted with {count} features, and the settings describe {len(names)}"
        return None if count == len(names) else told
    lacking = ", ".join(repr(str(name)) for name in wanted if name not in names)
    strange = ", ".join(repr(name) for name in names if name not in set(wanted))
    sides = [f"the settings lack {lacking}"] if lacking else []
    return " and ".join([*sides, *([f"the model was not fitted with {strange}"] if strange else [])]) or None


def _use_one_job(estimator: Any) -> None:
    """Threads cost more than they gain on the few rows of a request, and deciding is deterministic without them."""
    wide = {
        name: 1
        for name, value in estimator.get_params().items()
        if name.split("__")[-1] == "n_jobs" and value not in (None, 1)
    }
    estimator.set_params(**wide)


def one_thread() -> "AbstractContextManager[Any]":
    """While it is entered, models compute in one thread: for few rows more threads only wait for one another."""
    limited: AbstractContextManager[Any] = _thread_pools().limit(limits=1)
    return limited


@cache
def _thread_pools() -> Any:
    import sklearn  # noqa: F401 - the controller finds the thread pools that are loaded by now
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped] # it ships no types

    return ThreadpoolController()


def _reference(path: Path) -> Mapping[str, Any]:
    """The reference file, or nothing where there is none."""
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError("It is not a reference file.", _REMEDY, file=str(path)) from error
    return document if isinstance(document, dict) else {}


def _scale(estimator: Any, reference: Mapping[str, Any]) -> ConfidenceScale:
    method = choose_method(estimator)
    if method is ConfidenceMethod.CLASS_PROBABILITY:
        return ConfidenceScale(method)
    written = reference.get("confidence")
    if not isinstance(written, dict) or written.get("method") != method.value:
        raise ValueError(f"its confidence ({method.value}) needs a scale, which the reference file lacks")
    quantiles = written.get("quantiles")
    if not isinstance(quantiles, list) or len(quantiles) != QUANTILES or not _increasing(quantiles):
        raise ValueError(f"the reference file's confidence scale is not {QUANTILES} increasing numbers")
    return ConfidenceScale(method, tuple(float(q) for q in quantiles))


def _increasing(numbers: Sequence[object]) -> bool:
    finite = [n for n in numbers if isinstance(n, int | float) and math.isfinite(n)]
    return len(finite) == len(numbers) and finite == sorted(finite)


def _is_plain_pipeline(estimator: Any) -> bool:
    return type(estimator).__name__ == "Pipeline" and type(estimator).__module__ == "sklearn.pipeline"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _failed(error: str) -> Score:
    return Score(None, None, None, error)


def _kind_of_failure(error: BaseException) -> str:
    """A few words. The message is left out: it may quote the client's values."""
    return "wrong shape" if isinstance(error, _WrongShapeError) else f"raised {type(error).__name__}"


def _place_of(error: BaseException) -> str:
    """What was raised, and where."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
    return f"{type(error).__name__} at {where}"


def _tell(scores: Sequence[Score], failures: Counter[str]) -> None:
    """Log a search for bad rows: once, however many there were."""
    errors = Counter(score.error for score in scores if score.error is not None)
    told = {"rows": len(scores), "failed": dict(errors), "failing_calls": dict(failures.most_common(5))}
    logger.warning("the model failed on rows", extra={"fields": told})
