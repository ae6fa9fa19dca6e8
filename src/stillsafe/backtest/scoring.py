"""A history as the service would have met it: checked, refused or scored, once and for all rows."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.backtest.history import History, true_answers
from stillsafe.backtest.run_schedule import Micros
from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.impact import Metric
from stillsafe.core.fallback import Answer, Fallback
from stillsafe.core.schema import Row, sanitise
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring.columns import Columns, Mask, from_snapshots
from stillsafe.settings import Settings

SCORED_AT_ONCE = 5_000
CHECKED_AT_ONCE = 5_000

Numbers = NDArray[np.float64]
Progress = Callable[[str, float], None]
"""Told what is being done and the share of it that is done, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model says of one row: its answer, the same as the log writes it, its confidence, or how it failed."""

    prediction: Answer | None
    text: str | None
    confidence: float | None
    error: str | None


Scorer = Callable[[Sequence[Row]], Sequence[Scored]]


@dataclass(frozen=True, slots=True)
class Judges:
    """All that the history is judged by.

    Attributes:
        settings: the service.
        baseline: what healthy looks like.
        score: the model.
        classes: the answers of a classifier; empty of a regressor.
        fallback: the conservative answer.
    """

    settings: Settings
    baseline: Baseline
    score: Scorer
    classes: tuple[Answer, ...]
    fallback: Fallback

    @property
    def metric(self) -> Metric:
        """What an answer is measured by."""
        return Metric.ACCURACY if self.classes else Metric.MEAN_ABSOLUTE_ERROR


@dataclass(frozen=True, slots=True)
class Served:
    """The rows that the schema lets pass, scored. `n` rows, in time order.

    Attributes:
        rows: clean.
        at: (n,) microseconds since 1970.
        dated: (n,) when they really came, or None where that is unknown.
        found: as the log would hold them, had the model answered each.
        worth: (n,) of the model's answers: 1 if right, else 0, of a regressor how far off; NaN where unknown.
        truth: (n,) true answers, None where unknown.
        refused_at: (k,) when the refused ones came.
        broken_at: when the first row that was broken on purpose came, or None.
    """

    rows: Sequence[Row]
    at: Micros
    dated: Micros | None
    found: Columns
    worth: Numbers
    truth: Sequence[Answer | None]
    refused_at: Micros
    broken_at: int | None


def serve(history: History, judges: Judges, at: Micros, broken: Mask, tell: Progress) -> Served:
    """The history checked and scored.

    Args:
        history: requests of the past.
        judges: the schema and the model.
        at: (n,) when each row came, in microseconds since 1970.
        broken: (n,) rows that were broken on purpose.
        tell: told what is being done.

    Raises:
        ConfigurationError: the schema refuses every row, or the labels are not the model's.
    """
    truth = None if history.labels is None else true_answers(history.labels, judges.classes)
    rows, passed = _checked(history.columns, judges, tell)
    scores = _scored(judges, rows, tell)
    known = [None] * len(rows) if truth is None else [truth[i] for i in np.flatnonzero(passed).tolist()]
    return Served(
        rows,
        at[passed],
        None if history.micros is None else history.micros[passed],
        _logged(rows, scores, judges.settings),
        worth([score.prediction for score in scores], known, judges.metric),
        known,
        at[~passed],
        int(at[broken][0]) if broken.any() else None,
    )


def _checked(columns: Mapping[str, Sequence[object]], judges: Judges, tell: Progress) -> tuple[list[Row], Mask]:
    """The clean rows, and which of the history's they are.

    Raises:
        ConfigurationError: the schema refuses all of them.
    """
    schema = judges.settings.schema_of_features
    count = len(next(iter(columns.values())))
    rows: list[Row] = []
    passed = np.zeros(count, dtype=np.bool_)
    wrong: Counter[str] = Counter()
    for i, values in enumerate(zip(*(columns[name] for name in schema.names), strict=True)):
        checked = schema.validate(dict(zip(schema.names, values, strict=True)))
        if isinstance(checked, dict):
            rows.append(checked)
            passed[i] = True
        else:
            wrong.update(map(str, checked))
        if i % CHECKED_AT_ONCE == 0:
            tell("Checking rows", i / count)
    if not rows:
        told = f"The schema refuses all {count} rows, most often because of {wrong.most_common(1)[0][0]}."
        raise ConfigurationError(told, "Mend the columns' types, or [[features]] of the settings.")
    return rows, passed


def _scored(judges: Judges, rows: Sequence[Row], tell: Progress) -> list[Scored]:
    scores: list[Scored] = []
    for start in range(0, len(rows), SCORED_AT_ONCE):
        tell("Scoring", start / len(rows))
        scores.extend(judges.score(rows[start : start + SCORED_AT_ONCE]))
    return scores


def _logged(rows: Sequence[Row], scores: Sequence[Scored], settings: Settings) -> Columns:
    """The rows as the log holds them where the model answers."""
    schema, salt = settings.schema_of_features, settings.service.hash_salt
    return from_snapshots(
        sanitise(schema, rows, salt),
        schema,
        confidences=[score.confidence for score in scores],
        model_errors=[score.error for score in scores],
        fallback_used=[score.error is not None for score in scores],
        predictions=[score.text for score in scores],
    )


def worth(answers: Sequence[Answer | None], truth: Sequence[Answer | None], metric: Metric) -> Numbers:
    """What each answer is worth: 1 if it is right, else 0; of a number how far off it is; NaN where unknown."""
    pairs = zip(answers, truth, strict=True)
    if metric is Metric.ACCURACY:
        return np.array([math.nan if t is None or a is None else float(a == t) for a, t in pairs], dtype=np.float64)
    return np.array([_apart(a, t) for a, t in pairs], dtype=np.float64)


def _apart(answer: Answer | None, truth: Answer | None) -> float:
    if isinstance(answer, int | float) and isinstance(truth, int | float):
        return abs(answer - truth)
    return math.nan


def conservative(fallback: Fallback, row: Row, damaged: Sequence[str]) -> Answer:
    """The fallback's answer to a row, without the rules that read a damaged feature."""
    try:
        return fallback.answer(row, damaged).answer
    except Exception:  # noqa: BLE001 - as in serving: a rule that breaks on one row costs that row its rules, no more
        return replace(fallback, rules=()).answer(row).answer
