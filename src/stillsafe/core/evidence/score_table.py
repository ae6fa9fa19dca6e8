"""The healthy rows of a classifier by label and score: what a metric of scores would be on those that get a label.

Labels are missing for a reason, often one that depends on the score: only loans with a low risk come back. A metric of
scores on such rows differs from that on all rows although nothing is wrong. The run counts how many predictions of each
range of scores, or of each answer, got a label; the same share of the healthy rows gives the healthy error to compare
with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.evidence.label_errors import MeanError, cell_error
from stillsafe.core.evidence.label_tally import GroupCoverage
from stillsafe.core.evidence.metric import Metric, MetricDefinition

Numbers = NDArray[np.float64]


class ScoreOrigin(StrEnum):
    """Where the score of a row comes from."""

    PROBABILITY = "probability"  #: The log: its confidence is the probability of the answer, one of two.
    RANK = "rank"  #: The log: its confidence is the rank of the distance from the boundary between two answers.
    MODEL = "model"  #: The model, which scores the row again: with several classes the log has one probability only.


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The healthy rows by label and stratum.

    Attributes:
        origin: where later scores come from.
        positive: the class that scores are of, as text.
        classes: all classes as text.
        edges: inner edges of the ranges of scores, ascending; a score on an edge belongs to the range above it.
        cells: (label, answer, stratum, rows), where the answer is by the owner's threshold if there is one. A stratum
            is a range of scores, and of origin `model` that range times the answer: `answer * ranges + range`.
        error_sums, error_square_sums: of a log loss, per stratum the sum of the rows' errors and of their squares.
    """

    origin: ScoreOrigin
    positive: str
    classes: tuple[str, ...]
    edges: tuple[float, ...]
    cells: tuple[tuple[str, str, int, int], ...] = ()
    error_sums: tuple[float, ...] = ()
    error_square_sums: tuple[float, ...] = ()

    @property
    def range_count(self) -> int:
        """Ranges of scores."""
        return len(self.edges) + 1

    @property
    def stratum_count(self) -> int:
        """Strata."""
        return self.range_count * (len(self.classes) if self.origin is ScoreOrigin.MODEL else 1)

    def group_of(self, stratum: int) -> int:
        """The group of a stratum, by which a run counts labels: its answer with origin `model`, else its range."""
        return stratum // self.range_count if self.origin is ScoreOrigin.MODEL else stratum

    def row_counts(self) -> Numbers:
        """(strata,) healthy rows."""
        counts = np.zeros(self.stratum_count)
        for _, _, stratum, count in self.cells:
            counts[stratum] += count
        return counts


def healthy_part(
    table: ScoreTable, definition: MetricDefinition, healthy_error: float, coverage: Sequence[GroupCoverage]
) -> MeanError:
    """The healthy error on rows that get labels as those of a run did.

    The difference that the selection makes is computed from the table and added to the exact error of all rows, so that
    the width of the ranges matters little.
    """
    counts = table.row_counts()
    weights = stratum_weights(table, counts, coverage)
    selected_count = float(weights @ counts)
    whole = _table_error(table, definition, np.ones(table.stratum_count))
    part = None if selected_count <= 0 else _table_error(table, definition, weights)
    if whole is None or part is None:
        return MeanError(healthy_error, 0.0 if whole is None else whole.variance, float(counts.sum()))
    rows = selected_count**2 / float(weights**2 @ counts)
    return MeanError(healthy_error + part.mean - whole.mean, part.variance, rows)


def stratum_weights(table: ScoreTable, counts: Numbers, coverage: Sequence[GroupCoverage]) -> Numbers:
    """(strata,) share of the predictions that got a label; where predictions are not known, of the healthy rows."""
    labels = sum(each[2] for each in coverage)
    if not labels:
        return np.ones(table.stratum_count)
    groups = [table.group_of(stratum) for stratum in range(table.stratum_count)]
    bases: dict[int, float] = {group: float(count) for group, count, _ in coverage}
    if not any(bases.values()):
        bases = {}
        for group, count in zip(groups, counts.tolist(), strict=True):
            bases[group] = bases.get(group, 0.0) + count
    mean = labels / max(sum(bases.values()), 1.0)
    got = {group: count for group, _, count in coverage}
    shares = {group: got.get(group, 0) / base if base else mean for group, base in bases.items()}
    return np.array([shares.get(group, mean) for group in groups])


def _table_error(table: ScoreTable, definition: MetricDefinition, weights: Numbers) -> MeanError | None:
    """The error and the variance of a row's share in it, of weighted strata; None where it is not defined."""
    if definition.metric is Metric.AUC:
        return _ranking_error(table, weights)
    if definition.metric is Metric.LOG_LOSS:
        total = float(weights @ table.row_counts())
        mean = float(weights @ np.array(table.error_sums)) / total
        square = float(weights @ np.array(table.error_square_sums)) / total
        return MeanError(mean, max(square - mean * mean, 0.0), total)
    cells: dict[tuple[str, str], float] = {}
    for label, answer, stratum, count in table.cells:
        cells[label, answer] = cells.get((label, answer), 0.0) + float(weights[stratum]) * count
    present = {cell: count for cell, count in cells.items() if count > 0}
    return cell_error(definition, present) if present else None


def _ranking_error(table: ScoreTable, weights: Numbers) -> MeanError | None:
    """One minus the area under the ROC curve by ranges of scores, of which ties count half.

    The variance is that of the placement values: E. DeLong, D. DeLong and D. Clarke-Pearson, "Comparing the areas under
    two or more correlated receiver operating characteristic curves", Biometrics 44, 1988.
    """
    ranges = np.zeros((2, table.range_count))
    for label, _, stratum, count in table.cells:
        ranges[int(label == table.positive), stratum % table.range_count] += float(weights[stratum]) * count
    totals = ranges.sum(axis=1)
    if totals.min() <= 0:
        return None
    negatives, positives = ranges / totals[:, np.newaxis]
    below = np.cumsum(negatives) - negatives / 2
    above = 1 - np.cumsum(positives) + positives / 2
    area = float(positives @ below)
    shares = totals / totals.sum()
    variance = float(positives @ (below - area) ** 2 / shares[1] + negatives @ (above - area) ** 2 / shares[0])
    return MeanError(1 - area, variance, float(totals.sum()))
