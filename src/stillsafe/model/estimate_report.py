"""Estimated and realised loss of the monitor's windows whose labels have come."""

import math
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.estimate_account import EstimateAccount, WindowAccount, account_of
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.label_errors import MeanError, cell_error
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.policy import EVIDENCE
from stillsafe.core.signals import METRIC_SIGNALS, SIGNALS
from stillsafe.model.label_scores import RowAnswer, label_judge, score_errors
from stillsafe.store.read.baselines import baseline_by_id
from stillsafe.store.read.labels import OutcomeGroup, last_labelled_at, outcome_groups
from stillsafe.store.read.runs import RunFigures, figures_before

MOST_WINDOWS = 40
MOST_RUNS = 200
MIN_LABELS = 30
"""Fewer labels of a window say too little of its loss."""


def estimate_windows(connection: Connection, model_version: str, most: int = MOST_WINDOWS) -> list[WindowAccount]:
    """Estimated and realised loss of the newest windows with labels, oldest first; empty where nothing is known."""
    last_at = last_labelled_at(connection, model_version)
    if last_at is None:
        return []
    baselines = cache(lambda baseline_id: baseline_by_id(connection, baseline_id))
    windows: list[WindowAccount] = []
    for run in figures_before(connection, model_version, last_at + timedelta(days=1), MOST_RUNS):
        if run.window_start > last_at or run.baseline_id is None:
            continue
        window = window_account(connection, run, baselines(run.baseline_id))
        windows += [] if window is None else [window]
        if len(windows) >= most:
            break
    return windows[::-1]


def estimate_account(connection: Connection, model_version: str) -> EstimateAccount | None:
    """The estimate of a model version held to account by the labels that have come; None without labelled windows."""
    windows = estimate_windows(connection, model_version)
    return account_of(windows, estimate_unit(connection, model_version)) if windows else None


def estimate_unit(connection: Connection, model_version: str) -> str:
    """The unit of the newest run's estimated loss: `points`, `growth` or `loss`."""
    for run in figures_before(connection, model_version, None, 1):
        baseline = None if run.baseline_id is None else baseline_by_id(connection, run.baseline_id)
        if baseline is not None and baseline.harm is not None:
            return SIGNALS[METRIC_SIGNALS[baseline.harm.metric]].unit.value
    return "loss"


def window_account(connection: Connection, run: RunFigures, baseline: Baseline | None) -> WindowAccount | None:
    """Estimated and realised loss of one run's window; None where either is unknown.

    The estimate is of rows that no earlier run has judged, the realised loss of all rows of the window.
    """
    harm = None if baseline is None else baseline.harm
    reading = None if harm is None else _estimate(run, harm)
    if harm is None or reading is None:
        return None
    span = run.window_start, run.window_end, run.model_version or ""
    groups = outcome_groups(connection, *span, with_confidence=harm.needs_scores)
    rows = [each for each in groups if not (each.fallback_used or each.label is None or each.prediction is None)]
    error = None if sum(each.count for each in rows) < MIN_LABELS else _error(harm, rows)
    if error is None:
        return None
    unit = max(harm.healthy_error, 1e-12) if harm.metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
    healthy_count = harm.row_count or (0 if baseline is None else baseline.sample_size)
    realised_error = math.sqrt(error.variance * (1 / error.count + 1 / max(healthy_count, 1))) / unit
    realised_loss = (error.mean - harm.healthy_error) / unit
    estimated_loss, estimate_error = float(reading["value"]), float(reading.get("standard_error") or 0.0)
    count = round(error.count)
    return WindowAccount(
        run.window_start, run.window_end, count, estimated_loss, estimate_error, realised_loss, realised_error
    )


def _estimate(run: RunFigures, harm: PerformanceImpact) -> Mapping[str, Any] | None:
    """The run's estimated loss in the first metric of the study."""
    for reading in run.readings or ():
        is_first = reading.get("metric") in (None, harm.metric.value)
        if reading.get("signal") == METRIC_SIGNALS[harm.metric] and is_first and reading.get("value") is not None:
            estimate: Mapping[str, Any] = reading
            return estimate
    return None


def _error(harm: PerformanceImpact, rows: list[OutcomeGroup]) -> MeanError | None:
    """The error of labelled answers; None where the log lacks their scores, or labels of one of two classes."""
    if harm.needs_scores:
        return _score_error(harm, rows)
    if not harm.metric.is_regression:
        cells: dict[tuple[str, str], float] = {}
        for row in rows:
            cell = row.label or "", row.prediction or ""
            cells[cell] = cells.get(cell, 0.0) + row.count
        return cell_error(harm.definition or MetricDefinition(harm.metric), cells)
    errors = [
        (_number_error(harm.metric, float(row.label or 0), float(row.prediction or 0)), row.count) for row in rows
    ]
    count = sum(n for _, n in errors)
    mean = sum(error * n for error, n in errors) / count
    return MeanError(mean, sum(n * (error - mean) ** 2 for error, n in errors) / count, count)


def _score_error(harm: PerformanceImpact, rows: list[OutcomeGroup]) -> MeanError | None:
    judge = label_judge([harm])
    if judge is None:
        return None
    pairs = [(judge.row_score(row.label or "", RowAnswer(row.prediction or "", row.confidence)), row) for row in rows]
    known_rows = [(score, row) for score, row in pairs if score is not None]
    if len(known_rows) < len(pairs):
        return None
    if not harm.metric.uses_probabilities:
        cells: dict[tuple[str, str], float] = {}
        for score, row in known_rows:
            cell = row.label or "", score.answer
            cells[cell] = cells.get(cell, 0.0) + row.count
        return cell_error(harm.definition or MetricDefinition(harm.metric), cells)
    scores = [score for score, row in known_rows for _ in range(row.count)]
    positives = sum(score.is_positive for score in scores)
    least = min(positives, len(scores) - positives)
    if harm.metric is Metric.AUC and least < EVIDENCE.realised_min_class_labels:
        return None
    errors = score_errors(harm.metric, scores)
    return MeanError(float(errors.mean()), float(errors.var()), len(errors))


def _number_error(metric: Metric, label: float, answer: float) -> float:
    distance = abs(answer - label)
    if metric is Metric.MAPE:
        return distance / abs(label) if label else 0.0
    return distance**2 if metric is Metric.MEAN_SQUARED_ERROR else distance
