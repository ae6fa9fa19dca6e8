"""Whether a model's answer for a row depends on the rows that are scored in the same batch.

A service scores the rows of concurrent requests in one batch. A step that computes statistics of the batch at hand
makes an answer depend on other people's requests, so such a model cannot be served.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.schema import Row, Schema
from stillsafe.model.model import Model, one_thread
from stillsafe.model.parts import class_name, estimator_parts
from stillsafe.model.probe_rows import healthy_values
from stillsafe.model.reference import Reference

MOST_ROWS, MOST_INCOMPLETE_ROWS = 60, 30
"""Rows that are scored one by one: of the sample, and with one value missing."""
FEWEST_ROWS = 3
TOLERANCE = 1e-6
"""Largest difference that is rounding, as a share of the range of the answers."""
SEED = 1


@dataclass(frozen=True, slots=True)
class BatchDependence:
    """How a model's answers depend on the batch.

    Attributes:
        differing_count: rows with another answer.
        row_count: rows compared.
        largest_difference: of a number, as a share of the range of the answers.
        random: whether even the same batch gets another answer the second time.
        suspects: the steps that are the likely cause.
    """

    differing_count: int
    row_count: int
    largest_difference: float
    random: bool
    suspects: tuple[str, ...]

    @property
    def problem(self) -> str:
        """What is wrong, in one sentence."""
        count = f"{self.differing_count} of {self.row_count} rows"
        size = f"largest difference {self.largest_difference:.2g} of the answers' range"
        if self.random:
            return f"The model's answers are random: {count} get another answer from the same batch ({size})."
        return (
            f"The model's answers depend on the other rows of a batch: {count} get another answer one by one than "
            f"together or in another order ({size})."
        )

    @property
    def remedy(self) -> str:
        """The likely cause, and what to do."""
        if self.random:
            return f"Fix the random numbers of the prediction{self._likely_cause}, then save the model again."
        return (
            f"The likely cause is a step that computes statistics of the batch at hand{self._likely_cause}. "
            "Put a step in its place that learns them when it is fitted, such as StandardScaler."
        )

    @property
    def _likely_cause(self) -> str:
        return f" ({', '.join(self.suspects)})" if self.suspects else ""


def batch_dependence(model: Model, rows: Sequence[Row]) -> BatchDependence | None:
    """Score rows one by one, together, and shuffled; None if the answers are equal except for rounding.

    Args:
        model: the model; its estimator is scored, not the compiled model.
        rows: rows that the model accepts. At most 60 of them are used, and some again with one value missing.
    """
    plain = replace(model, compiled=None)
    compared_rows = _scored_rows(plain, [*rows[:: max(1, len(rows) // MOST_ROWS)][:MOST_ROWS]], model.features)
    if len(compared_rows) < FEWEST_ROWS:
        return None
    together = _answers(plain, compared_rows)
    repeat_scores = _answers(plain, compared_rows)
    order = np.random.default_rng(SEED).permutation(len(compared_rows))
    shuffled_scores = _answers(plain, [compared_rows[index] for index in order.tolist()])
    single = [_answers(plain, [row]) for row in compared_rows]
    if together is None or repeat_scores is None or shuffled_scores is None:
        return None
    single_scores = _Answers(
        np.concatenate([each.classes if each else np.array([None], dtype=object) for each in single]),
        np.concatenate([each.numbers if each else np.full((1, together.numbers.shape[1]), np.nan) for each in single]),
    )
    random = together.differences(repeat_scores)
    inverse = np.argsort(order)
    in_order = _Answers(shuffled_scores.classes[inverse], shuffled_scores.numbers[inverse])
    differences = np.maximum(together.differences(single_scores), together.differences(in_order))
    row_values = random if (random > TOLERANCE).any() else differences
    if not (row_values > TOLERANCE).any():
        return None
    return BatchDependence(
        int((row_values > TOLERANCE).sum()),
        len(compared_rows),
        float(min(row_values.max(), 1.0)),
        row_values is random,
        tuple(dict.fromkeys(_suspects(model.estimator))),
    )


def healthy_rows(schema: Schema, reference: Reference) -> list[Row]:
    """Rows whose values a reference shows to be healthy, each feature independent of the others.

    Empty if the reference has no values of a feature that needs one.
    """
    random = Random(SEED)  # noqa: S311 - the same rows every time
    values = {spec.name: healthy_values(spec, reference.profile(spec)) for spec in schema.features}
    if not all(values.values()):
        return []
    return [{name: random.choice(each) for name, each in values.items()} for _ in range(MOST_ROWS)]


@dataclass(frozen=True, slots=True)
class _Answers:
    """The answers for n rows: the classes, or empty texts of a regressor, and all numbers (n, k)."""

    classes: NDArray[Any]
    numbers: NDArray[np.float64]
    are_probabilities: bool = False

    def differences(self, other: "_Answers") -> NDArray[np.float64]:
        """(n,) the largest difference of each row as a share of the answers' range; 1 for another class."""
        spans = np.ones(1) if self.are_probabilities else np.ptp(self.numbers, axis=0)
        spans = np.where(spans > 0, spans, np.maximum(1.0, np.abs(self.numbers).max(axis=0)))
        shares = np.abs(self.numbers - other.numbers) / spans
        largest = np.where(np.isnan(shares), 1.0, shares).max(axis=1)
        # Between two classes of equal probability, rounding decides.
        return np.where((self.classes != other.classes) & (self._margins() > TOLERANCE), 1.0, largest)

    def _margins(self) -> NDArray[np.float64]:
        if self.numbers.shape[1] == 1:
            return np.asarray(self.numbers[:, 0])
        batch_scores = np.sort(self.numbers, axis=1)
        return np.asarray(batch_scores[:, -1] - batch_scores[:, -2])


def _answers(model: Model, rows: Sequence[Row]) -> _Answers | None:
    """The answers of one batch; None if the model fails on it or gives a number that is not finite."""
    try:
        with one_thread():
            predictions, raw, probabilities = model.raw_output(rows)
    except Exception:  # noqa: BLE001 - third-party code; a failure is a result
        return None
    count = len(rows)
    if not model.classes:
        columns = [predictions, *([] if raw is None else [raw])]
        numbers = np.column_stack([np.asarray(column, np.float64) for column in columns])
        return _Answers(np.full(count, "", dtype=object), numbers) if np.isfinite(numbers).all() else None
    numbers = probabilities if probabilities is not None else np.asarray(raw, np.float64).reshape(count, -1)
    return (
        _Answers(predictions.astype(object), numbers, probabilities is not None) if np.isfinite(numbers).all() else None
    )


def _scored_rows(model: Model, rows: Sequence[Row], schema: Schema) -> list[Row]:
    """The rows, and some of them with one optional value missing, without those on which the model fails."""
    optional = [spec.name for spec in schema.features if not spec.required]
    incomplete = [
        {**row, name: None}
        for row, name in zip(rows, (optional * MOST_INCOMPLETE_ROWS)[:MOST_INCOMPLETE_ROWS], strict=False)
    ]
    candidates = [*rows, *incomplete]
    scores = model.score_with_failures(candidates)[0]
    return [row for row, score in zip(candidates, scores, strict=True) if score.error is None]


def _suspects(estimator: Any) -> Iterator[str]:
    """Steps that call a function, and transformers of other packages."""
    for part in estimator_parts(estimator):
        if class_name(part) == "FunctionTransformer" and part.func is not None:
            yield f"FunctionTransformer({getattr(part.func, '__name__', type(part.func).__name__)})"
        elif not class_name(part) and hasattr(part, "transform"):
            yield type(part).__name__
