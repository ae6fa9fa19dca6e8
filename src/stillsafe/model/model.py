"""The served model: its kind, its classes, and its scores, computed so that a failure costs only the failing rows.

Only `model/`, `init/` and `demo` import scikit-learn, skops and joblib. They import them late, because most commands
never need a model.
"""

import logging
import math
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row, Schema
from stillsafe.core.score import Score, as_text
from stillsafe.logs import LogEvent, log_event
from stillsafe.model.compiled.predictors import CompiledModel, RawOutput, predict_raw
from stillsafe.model.confidence import (
    ConfidenceMethod,
    ConfidenceScale,
    Numbers,
    answer_probability,
    top_probability,
    transform_inputs,
)
from stillsafe.model.estimator_kind import DeclaredKind, declared_kind, is_of_scikit_learn, last_estimator
from stillsafe.model.frame import frame, inputs_of

logger = logging.getLogger(__name__)

NOT_SCORED = "not asked"
"""The error of a row that was only scored together with failing rows. The prediction log stores this text."""
DETECTOR_CLASSES = (-1, 1)
"""What an anomaly detector answers: -1 for an outlier, 1 for any other row."""
TOLERANCE = 1e-6
"""By how much a probability may lie outside [0, 1]."""


class ModelKind(StrEnum):
    """What the model predicts."""

    CLASSIFIER = "classifier"
    """One of its classes."""
    REGRESSOR = "regressor"
    """A number."""


class _WrongShapeError(Exception):
    """The model's output is not one prediction per row."""


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """Scores of rows by column; the model failed on none of them.

    Attributes:
        predictions: the answers.
        confidences: in [0, 1].
        class_names: the classes as text, in the order of the probabilities.
        probabilities: (n, classes), or None if the model has none.
    """

    predictions: list[Answer]
    confidences: list[float]
    class_names: tuple[str, ...]
    probabilities: Numbers | None


def join_scores(parts: Sequence[ScoreColumns]) -> ScoreColumns:
    """The scores of some blocks of rows, one at least, as of one."""
    first, *others = parts
    if not others:
        return first
    chances = [each.probabilities for each in parts if each.probabilities is not None]
    return ScoreColumns(
        [answer for each in parts for answer in each.predictions],
        [confidence for each in parts for confidence in each.confidences],
        first.class_names,
        np.concatenate(chances) if chances else None,
    )


@dataclass(frozen=True, slots=True)
class Model:
    """A model that fits the schema.

    Attributes:
        version: the version that every row and baseline stores.
        kind: classifier or regressor.
        classes: a classifier's classes, in the order of its probabilities; empty for a regressor.
        features: the schema, in the order of the settings.
        estimator: the fitted scikit-learn object; None of an external model, which runs elsewhere and scores nothing
            here.
        scale: turns raw confidence scores into confidences.
        compiled: the faster equivalent of the estimator, or None if scikit-learn predicts.
    """

    version: str
    kind: ModelKind
    classes: tuple[Answer, ...]
    features: Schema
    estimator: Any
    scale: ConfidenceScale
    compiled: CompiledModel | None = None

    @property
    def is_external(self) -> bool:
        """Whether the model runs elsewhere: its answers are recorded, and it scores no row here."""
        return self.estimator is None

    @property
    def has_probabilities(self) -> bool:
        """Whether the confidence of an answer is its probability."""
        return bool(self.classes) and self.scale.method is ConfidenceMethod.CLASS_PROBABILITY

    def score(self, rows: Sequence[Row], most_halvings: int | None = None) -> list[Score]:
        """Score rows, one score per row, in order. Never raises; a row on which the model fails costs only itself.

        All rows go into one call. If the call fails, the rows are halved until each failing row is isolated or
        `most_halvings` is reached. Rows that were then only scored together with failing rows get the error
        `NOT_SCORED`.

        Args:
            rows: clean rows.
            most_halvings: upper limit of halvings, each of which costs two calls; None for no limit, which needs at
                most one fewer than there are rows.
        """
        scores, failures = self.score_with_failures(rows, most_halvings)
        if failures:
            _log_failures(scores, failures)
        return scores

    def score_with_failures(
        self, rows: Sequence[Row], most_halvings: int | None = None
    ) -> tuple[list[Score], Counter[str]]:
        """Score rows like `score`, without logging; also return exception and source line -> failed calls."""
        halvings = len(rows) if most_halvings is None else most_halvings
        scores = [_failure(NOT_SCORED)] * len(rows)
        failures: Counter[str] = Counter()
        ranges = deque([(0, len(rows))] if rows else [])
        while ranges:  # the widest range first, so that the ranges left at the limit are as narrow as possible
            start, end = ranges.popleft()
            try:
                scores[start:end] = self._score_batch(rows[start:end])
            except BaseException as error:  # noqa: BLE001 - third-party code, which may raise more than Exceptions
                failures[error_location(error)] += 1
                if end - start == 1:
                    scores[start] = _failure(_failure_kind(error))
                elif halvings > 0:
                    halvings -= 1
                    middle = (start + end) // 2
                    ranges += [(start, middle), (middle, end)]
        return scores, failures

    def score_columns(self, rows: Sequence[Row]) -> ScoreColumns | None:
        """The scores of rows by column, the same as those of `score`; None if the model fails on a row, or on all."""
        try:
            predictions, numbers = self._numbers_of(rows)
        except Exception:  # noqa: BLE001 - third-party code; `score` says on which rows and why
            return None
        in_range = np.all((numbers >= -TOLERANCE) & (numbers <= 1 + TOLERANCE))
        if not np.all(np.isfinite(numbers)) or not in_range:
            return None
        answers = [*map(_plain, predictions.tolist())] if predictions.dtype == object else predictions.tolist()
        distinct = set(answers)
        if self.kind is ModelKind.CLASSIFIER and not all(each in self.classes for each in distinct):
            return None
        if not all(math.isfinite(each) for each in distinct if isinstance(each, float)):
            return None
        probabilities = numbers[:, 1:] if numbers.shape[1] > 1 else None
        class_names = tuple(as_text(name) for name in self.classes)
        return ScoreColumns(answers, np.clip(numbers[:, 0], 0.0, 1.0).tolist(), class_names, probabilities)

    def _score_batch(self, rows: Sequence[Row]) -> list[Score]:
        predictions, numbers = self._numbers_of(rows)
        finite = np.all(np.isfinite(numbers), axis=1).tolist()
        in_range = np.all((numbers >= -TOLERANCE) & (numbers <= 1 + TOLERANCE), axis=1).tolist()
        class_names = [as_text(name) for name in self.classes]
        outputs = zip(predictions.tolist(), finite, in_range, numbers.tolist(), strict=True)
        return [self._score(class_names, *output) for output in outputs]

    def _numbers_of(self, rows: Sequence[Row]) -> tuple[Any, Any]:
        """(n,) the predictions, and (n, 1 or 1 + classes) the confidences and the probabilities."""
        with one_thread():
            predictions, raw, probabilities = self.raw_output(rows)
        if probabilities is not None:
            if probabilities.shape != (len(rows), len(self.classes)):
                raise _WrongShapeError
            raw = (
                answer_probability(predictions, probabilities, self.classes)
                if self.scale.of_answer and predictions.shape == (len(rows),)
                else top_probability(probabilities)
            )
        if raw is None or not predictions.shape == raw.shape == (len(rows),):
            raise _WrongShapeError
        confidences = self.scale.confidence(raw)
        if probabilities is None:
            return predictions, confidences[:, np.newaxis]
        return predictions, np.column_stack([confidences, probabilities])

    def raw_output(self, rows: Sequence[Row]) -> RawOutput:
        """Per row the prediction, and its raw confidence or the probabilities of the classes; the model may raise."""
        if self.compiled is not None:
            return self.compiled(rows)
        estimator, inputs = self.estimator, inputs_of(self.estimator, frame(self.features, rows))
        if _is_plain_pipeline(estimator):
            # Prediction and confidence need the same transformed inputs, so we transform once, not twice.
            estimator, inputs = estimator.steps[-1][1], transform_inputs(estimator, inputs)
        return predict_raw(estimator, inputs, self.scale.method, classifies=self.kind is ModelKind.CLASSIFIER)

    def _score(
        self, class_names: Sequence[str], output: Any, is_finite: bool, in_range: bool, numbers: Sequence[float]
    ) -> Score:
        prediction, confidence = _plain(output), numbers[0]
        if not is_finite or (isinstance(prediction, float) and not math.isfinite(prediction)):
            return _failure("not finite")
        if self.kind is ModelKind.CLASSIFIER and prediction not in self.classes:
            return _failure("unknown class")
        if not in_range:
            return _failure("not a probability")
        probabilities = dict(zip(class_names, numbers[1:], strict=True)) if len(numbers) > 1 else None
        return Score(prediction, min(max(confidence, 0.0), 1.0), probabilities, None)


def kind_of(estimator: Any) -> ModelKind:
    """Classifier or regressor. An anomaly detector is a classifier with the classes -1 (an outlier) and 1.

    Raises:
        ValueError: it is neither, is not fitted, or predicts several values per row.
    """
    if not hasattr(estimator, "predict"):
        raise ValueError(f"{type(estimator).__name__} makes no predictions")
    kind = declared_kind(estimator)
    if kind is None:
        last = last_estimator(estimator)
        verb = "is" if is_of_scikit_learn(last) else "does not say that it is"
        what = "neither a classifier nor a regressor" if verb == "is" else "a classifier or a regressor"
        raise ValueError(f"{type(last).__name__} {verb} {what}")
    return ModelKind.REGRESSOR if kind is DeclaredKind.REGRESSOR else ModelKind.CLASSIFIER


def classes_of(estimator: Any) -> tuple[Answer, ...]:
    """A classifier's classes as plain values, in the order of its probabilities; empty for a regressor.

    Raises:
        ValueError: it is not fitted, or its classes are not plain values.
    """
    if kind_of(estimator) is ModelKind.REGRESSOR:
        return ()
    if declared_kind(estimator) is DeclaredKind.OUTLIER_DETECTOR:
        return DETECTOR_CLASSES
    fitted_classes = getattr(estimator, "classes_", None)
    if fitted_classes is None:
        raise ValueError("the classifier is not fitted")
    classes = tuple(_plain(c) for c in fitted_classes)
    if not all(isinstance(c, bool | int | float | str) for c in classes):
        raise ValueError("its classes must be strings, numbers, true or false, and one of them for each row")
    return classes


def one_thread() -> "AbstractContextManager[Any]":
    """Limit numeric libraries to one thread while entered: for few rows, more threads only wait for each other."""
    limit: AbstractContextManager[Any] = _thread_pools().limit(limits=1)
    return limit


@cache
def _thread_pools() -> Any:
    import sklearn  # noqa: F401 - the controller only finds thread pools of libraries that are already loaded
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped] # it ships no types

    return ThreadpoolController()


def _is_plain_pipeline(estimator: Any) -> bool:
    return type(estimator).__name__ == "Pipeline" and type(estimator).__module__ == "sklearn.pipeline"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _failure(error: str) -> Score:
    return Score(None, None, None, error)


def _failure_kind(error: BaseException) -> str:
    """The failure in a few words, without the exception's message, which may quote the client's values."""
    return "wrong shape" if isinstance(error, _WrongShapeError) else f"raised {type(error).__name__}"


def error_location(error: BaseException) -> str:
    """The exception's type, and the file and line that raised it; not its message, which may quote values."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
    return f"{type(error).__name__} at {where}"


def _log_failures(scores: Sequence[Score], failures: Counter[str]) -> None:
    """Log one line for all failures of a batch."""
    errors = Counter(score.error for score in scores if score.error is not None)
    fields = {"rows": len(scores), "failed": dict(errors), "failing_calls": dict(failures.most_common(5))}
    log_event(logger, LogEvent.MODEL_FAILED, fields)
