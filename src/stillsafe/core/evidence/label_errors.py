"""Errors of answers by their labels, from counts: the metrics of `model.metrics` that need no probabilities.

A metric is the mean of one number per row. Of a ratio of two sums these are its pseudo-values, whose mean is the metric
and whose variance divided by the rows is its sampling variance (F. Hampel, "The influence curve and its role in robust
estimation", Journal of the American Statistical Association 69, 1974).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stillsafe.core.evidence.label_tally import AnswerTally
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.score import as_text

Cell = tuple[str, str]
"""A label and an answer, each as text."""


@dataclass(frozen=True, slots=True)
class MeanError:
    """A mean error, the variance of one row's share in it, and the rows behind it."""

    mean: float
    variance: float
    count: float


def tally_error(definition: MetricDefinition, tally: AnswerTally) -> MeanError:
    """The error of a tally with at least one row."""
    if tally.outcomes and not definition.metric.uses_probabilities:
        return cell_error(definition, {(label, answer): count for label, answer, count in tally.outcomes})
    mean = tally.error_sum / tally.count
    variance = max(tally.error_square_sum / tally.count - mean * mean, 0.0)
    return MeanError(mean, variance, tally.count)


def cell_error(definition: MetricDefinition, cells: Mapping[Cell, float]) -> MeanError:
    """The error of a classifier's answers, counted by label and answer; the counts may be expected ones."""
    total = sum(cells.values())
    values = _row_errors(definition, cells, total)
    mean = sum(weight * values[cell] for cell, weight in cells.items()) / total
    square = sum(weight * (values[cell] - mean) ** 2 for cell, weight in cells.items()) / total
    return MeanError(mean, square, total)


def _row_errors(definition: MetricDefinition, cells: Mapping[Cell, float], total: float) -> dict[Cell, float]:
    match definition.metric:
        case Metric.EXPECTED_COST:
            costs = {(label, answer): cost for label, answer, cost in definition.costs}
            return {cell: costs.get(cell, 0.0) for cell in cells}
        case Metric.BALANCED_ACCURACY:
            labels = sorted({label for label, _ in cells})
            recalls = [_ratios(cells, total, _right(cells, label), _of_label(cells, label)) for label in labels]
            return {cell: 1 - sum(each[cell] for each in recalls) / len(recalls) for cell in cells}
        case Metric.RECALL | Metric.PRECISION | Metric.F1:
            return _positive_errors(definition, cells, total)
        case _:
            return {(label, answer): float(label != answer) for label, answer in cells}


def _right(cells: Mapping[Cell, float], label: str) -> dict[Cell, float]:
    """1 for the cell of a label that was answered right, else 0."""
    return {cell: float(cell == (label, label)) for cell in cells}


def _of_label(cells: Mapping[Cell, float], label: str) -> dict[Cell, float]:
    """1 for each cell of a label, else 0."""
    return {cell: float(cell[0] == label) for cell in cells}


def _positive_errors(definition: MetricDefinition, cells: Mapping[Cell, float], total: float) -> dict[Cell, float]:
    positive = "" if definition.positive is None else as_text(definition.positive)
    both = 2.0 if definition.metric is Metric.F1 else 1.0
    parts = {cell: both * value for cell, value in _right(cells, positive).items()}
    wholes = {
        Metric.RECALL: _of_label(cells, positive),
        Metric.PRECISION: {cell: float(cell[1] == positive) for cell in cells},
    }.get(definition.metric, {cell: float((cell[0] == positive) + (cell[1] == positive)) for cell in cells})
    return {cell: 1 - ratio for cell, ratio in _ratios(cells, total, parts, wholes).items()}


def _ratios(
    cells: Mapping[Cell, float], total: float, parts: Mapping[Cell, float], wholes: Mapping[Cell, float]
) -> dict[Cell, float]:
    """Pseudo-values of the ratio of two means; 0 where the whole is 0."""
    part, whole = (sum(weight * each[cell] for cell, weight in cells.items()) / total for each in (parts, wholes))
    if whole <= 0:
        return dict.fromkeys(cells, 0.0)
    return {cell: part / whole + (parts[cell] - part / whole * wholes[cell]) / whole for cell in cells}
