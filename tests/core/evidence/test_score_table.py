"""The healthy error on rows that get labels alike, from the healthy rows by label and score."""

from dataclasses import replace

import pytest

from stillsafe.core.evidence.label_tally import GroupCoverage
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.score_table import ScoreOrigin, ScoreTable, healthy_part, stratum_weights

AUC = MetricDefinition(Metric.AUC, "yes")
CELLS = tuple((label, "no", stratum, 10 + 5 * stratum) for stratum in range(10) for label in ("no", "yes"))


def coverage(shares: dict[int, tuple[int, int]]) -> tuple[GroupCoverage, ...]:
    """Predictions and labels of each group."""
    return tuple((group, *counts) for group, counts in sorted(shares.items()))


def test_a_loss_is_that_of_the_ranges_with_labels() -> None:
    """Means and variances are weighted by the share of each range that got a label; few weights mean few rows."""
    cells = (("no", "no", 0, 60), ("yes", "yes", 1, 40))
    table = ScoreTable(ScoreOrigin.PROBABILITY, "yes", ("no", "yes"), (0.5,), cells, (6.0, 20.0), (1.2, 14.0))
    definition = MetricDefinition(Metric.LOG_LOSS)
    assert healthy_part(table, definition, 0.26, coverage({0: (10, 5), 1: (10, 0)})).mean == pytest.approx(0.1)
    part = healthy_part(table, definition, 0.26, coverage({0: (10, 10), 1: (10, 5)}))
    assert part.mean == pytest.approx((6 + 10) / 80)
    assert part.variance == pytest.approx((1.2 + 7) / 80 - 0.04)
    assert part.count == pytest.approx(80**2 / 70)


def test_without_predictions_by_score_the_labels_give_the_mix() -> None:
    """Shadow scores are not in the log: the healthy rows are weighted like the labelled ones."""
    edges = tuple(number / 10 for number in range(1, 10))
    table = ScoreTable(ScoreOrigin.PROBABILITY, "yes", ("no", "yes"), edges, CELLS)
    counts = table.row_counts()
    weights = stratum_weights(table, counts, coverage({3: (0, 30), 7: (0, 10)}))
    assert (weights > 0).nonzero()[0].tolist() == [3, 7]
    assert weights[3] * counts[3] == pytest.approx(3 * weights[7] * counts[7])


def test_labels_of_one_class_only_leave_the_error_as_it_is() -> None:
    """An area of one class is not defined, so nothing is subtracted."""
    table = ScoreTable(
        ScoreOrigin.PROBABILITY, "yes", ("no", "yes"), (0.5,), (("no", "no", 0, 90), ("yes", "yes", 1, 10))
    )
    assert healthy_part(table, AUC, 0.2, coverage({0: (90, 90), 1: (10, 0)})).mean == 0.2
    assert healthy_part(replace(table, cells=()), AUC, 0.2, ()).mean == 0.2


def test_with_several_classes_groups_are_answers() -> None:
    """A stratum is a range of the positive class's score for one answer."""
    table = ScoreTable(
        ScoreOrigin.MODEL, "b", ("a", "b", "c"), (0.5,),
        (("a", "a", 0, 40), ("b", "a", 1, 10), ("b", "b", 3, 30), ("c", "c", 4, 20)),
    )  # fmt: skip
    assert [table.group_of(stratum) for stratum in range(table.stratum_count)] == [0, 0, 1, 1, 2, 2]
    weights = stratum_weights(table, table.row_counts(), coverage({0: (50, 25), 1: (10, 10), 2: (20, 0)}))
    assert weights.tolist() == [0.5, 0.5, 1.0, 1.0, 0.0, 0.0]
