"""A history validated against the schema and scored by the model, once for all rows."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.backtest.history import History, Micros
from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.fallback import Answer, Fallback
from stillsafe.core.schema import Row, sanitise
from stillsafe.core.score import Score
from stillsafe.errors import ConfigurationError
from stillsafe.model.labels import parse_labels
from stillsafe.model.metrics import labels_of, with_positive_class
from stillsafe.monitoring.columns import Columns, Mask, RowOutcomes, columns_from_snapshots
from stillsafe.progress import Progress
from stillsafe.settings import Settings

SCORING_CHUNK = 5_000
PROGRESS_INTERVAL = 5_000

Numbers = NDArray[np.float64]
Scorer = Callable[[Sequence[Row]], Sequence[Score]]
"""Scores clean rows, one result per row."""


@dataclass(frozen=True, slots=True)
class BacktestContext:
    """What a backtest evaluates a history with.

    Attributes:
        settings: of the service.
        baseline: the reference baseline.
        score: the model.
        classes: a classifier's classes; empty for a regressor.
        fallback: compiled from the settings.
    """

    settings: Settings
    baseline: Baseline
    score: Scorer
    classes: tuple[Answer, ...]
    fallback: Fallback

    @property
    def metric(self) -> Metric:
        """The metric of all scores."""
        return self.definition.metric

    @property
    def definition(self) -> MetricDefinition:
        """The owner's metric; by default accuracy for a classifier, mean absolute error for a regressor."""
        owners = next(iter(self.settings.harm.definitions), None)
        if owners is None or owners.metric.is_regression is bool(self.classes):
            return MetricDefinition(Metric.ACCURACY if self.classes else Metric.MEAN_ABSOLUTE_ERROR)
        impact = self.baseline.harm
        if impact is not None and impact.definition is not None and impact.metric is owners.metric:
            return impact.definition
        return with_positive_class(owners, labels_of((), self.classes))


@dataclass(frozen=True, slots=True)
class ScoredHistory:
    """The valid rows of a history with the model's predictions. `n` rows, in time order.

    Attributes:
        rows: validated.
        times: (n,) times in the run schedule, in microseconds since 1970.
        request_times: (n,) times from the table, or None if it has none.
        columns: the rows as logged if the model had answered each of them.
        row_scores: (n,) of the model's predictions: 1 correct, 0 wrong; for a regressor the absolute error; NaN
            without a label.
        labels: (n,) parsed, None where unknown.
        refusal_times: (k,) times of the rows that the schema refuses.
        injection_start: time of the first row with an injected fault, or None.
        scores: (n,) of the model.
    """

    rows: Sequence[Row]
    times: Micros
    request_times: Micros | None
    columns: Columns
    row_scores: Numbers
    labels: Sequence[Answer | None]
    refusal_times: Micros
    injection_start: int | None
    scores: Sequence[Score] = ()


def score_history(
    history: History, context: BacktestContext, row_times: Micros, injected: Mask, progress: Progress
) -> ScoredHistory:
    """Validate and score a history.

    Args:
        history: past requests.
        context: the schema and the model.
        row_times: (n,) time of each row in the run schedule, in microseconds since 1970.
        injected: (n,) rows with an injected fault.
        progress: called at each step.

    Raises:
        ConfigurationError: the schema refuses every row, or no label fits the model.
    """
    history_labels = None if history.labels is None else parse_labels(history.labels, context.classes)
    rows, valid = _validate(history.columns, context, progress)
    scores = _score(rows, context, progress)
    labels = (
        [None] * len(rows)
        if history_labels is None
        else [history_labels[index] for index in np.flatnonzero(valid).tolist()]
    )
    times = np.empty(0, np.int64) if history.micros is None else history.micros[valid]
    return ScoredHistory(
        rows=rows,
        times=row_times[valid],
        request_times=None if history.micros is None else history.micros[valid],
        columns=replace(_log_columns(rows, scores, context.settings), times=times),
        row_scores=score_rows([score.prediction for score in scores], labels, context.metric),
        labels=labels,
        refusal_times=row_times[~valid],
        injection_start=int(row_times[injected][0]) if injected.any() else None,
        scores=scores,
    )


def _validate(
    columns: Mapping[str, Sequence[object]], context: BacktestContext, progress: Progress
) -> tuple[list[Row], Mask]:
    """The valid rows, and which rows of the history they are.

    Raises:
        ConfigurationError: the schema refuses every row.
    """
    schema = context.settings.schema_of_features
    count = len(next(iter(columns.values())))
    rows: list[Row] = []
    valid = np.zeros(count, dtype=np.bool_)
    violations: Counter[str] = Counter()
    for index, values in enumerate(zip(*(columns[name] for name in schema.names), strict=True)):
        result = schema.validate(dict(zip(schema.names, values, strict=True)))
        if isinstance(result, dict):
            rows.append(result)
            valid[index] = True
        else:
            violations.update(map(str, result))
        if index % PROGRESS_INTERVAL == 0:
            progress("Checking rows", index / count)
    if not rows:
        message = f"The schema refuses all {count} rows, most often because of {violations.most_common(1)[0][0]}."
        raise ConfigurationError(message, "Correct the columns' types, or [[features]] in the settings.")
    return rows, valid


def _score(rows: Sequence[Row], context: BacktestContext, progress: Progress) -> list[Score]:
    scores: list[Score] = []
    for start in range(0, len(rows), SCORING_CHUNK):
        progress("Scoring rows", start / len(rows))
        scores.extend(context.score(rows[start : start + SCORING_CHUNK]))
    return scores


def _log_columns(rows: Sequence[Row], scores: Sequence[Score], settings: Settings) -> Columns:
    """The rows as the prediction log would hold them in state NORMAL."""
    schema, salt = settings.schema_of_features, settings.service.hash_salt
    outcomes = RowOutcomes(
        confidences=[score.confidence for score in scores],
        model_errors=[score.error for score in scores],
        fallback_used=[score.error is not None for score in scores],
        predictions=[score.text for score in scores],
    )
    return columns_from_snapshots(sanitise(schema, rows, salt), schema, outcomes)


def score_rows(predictions: Sequence[Answer | None], labels: Sequence[Answer | None], metric: Metric) -> Numbers:
    """Score each prediction: 1 correct, 0 wrong; for a regressor the absolute error; NaN where either is None."""
    score = _absolute_error if metric.is_regression else _correctness
    return np.array([score(*pair) for pair in zip(predictions, labels, strict=True)], dtype=np.float64)


def _correctness(prediction: Answer | None, label: Answer | None) -> float:
    return math.nan if prediction is None or label is None else float(prediction == label)


def _absolute_error(prediction: Answer | None, label: Answer | None) -> float:
    if isinstance(prediction, int | float) and isinstance(label, int | float):
        return abs(prediction - label)
    return math.nan
