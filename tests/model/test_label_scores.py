"""Answers with their labels by metrics of scores: from the log with two classes, by the model with more."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.label_errors import tally_error
from stillsafe.core.evidence.label_tally import AnswerTally
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.score_table import ScoreOrigin, ScoreTable
from stillsafe.model.label_scores import LabelJudge, RowAnswer, label_judge, probability_metric, score_sums

TWO = ScoreTable(ScoreOrigin.PROBABILITY, "yes", ("no", "yes"), (0.2, 0.5))
RANK = ScoreTable(ScoreOrigin.RANK, "yes", ("no", "yes"), (0.5,))
THREE = ScoreTable(ScoreOrigin.MODEL, "b", ("a", "b", "c"), (0.5,))


def test_the_confidence_is_the_score_of_either_class() -> None:
    """With two classes, what the answer is not has the rest of the probability; a rank is mirrored at the boundary."""
    row = LabelJudge(TWO).row_score("yes", RowAnswer("no", 0.9))
    assert row is not None
    assert (row.score, row.label_probability) == pytest.approx((0.1, 0.1))
    assert (row.answer, row.group, row.is_positive) == ("no", 0, True)
    scores = [LabelJudge(RANK).score(RowAnswer(*answer)) for answer in (("no", 0.8), ("no", 0.1), ("yes", 0.3))]
    assert scores == pytest.approx([0.1, 0.45, 0.65])
    assert LabelJudge(TWO).row_score("yes", RowAnswer("no")) is None


def test_a_score_on_an_edge_belongs_above_and_the_threshold_decides_the_answer() -> None:
    """The owner takes a row for positive from the threshold on; the fallback's answer stays as it is."""
    judge = LabelJudge(TWO, 0.2)
    on_edge = judge.row_score("no", RowAnswer("yes", 0.2))
    below = judge.row_score("no", RowAnswer("yes", 0.19))
    assert on_edge is not None
    assert below is not None
    assert (on_edge.answer, on_edge.group, below.answer, below.group) == ("yes", 1, "no", 0)
    hard = judge.row_score("yes", RowAnswer("no", is_hard=True))
    assert hard is not None
    assert (hard.score, hard.label_probability, hard.answer) == (0.0, 0.0, "no")


def test_several_classes_need_the_model() -> None:
    """Without the probabilities of a new score a row says nothing; with them the next likeliest class is below it."""
    judge = LabelJudge(THREE, 0.6)
    assert judge.needs_features
    assert judge.row_score("c", RowAnswer("b", 0.5)) is None
    row = judge.row_score("c", RowAnswer("b", 0.5, {"a": 0.2, "b": 0.5, "c": 0.3}))
    assert row is not None
    assert (row.score, row.label_probability, row.answer, row.group) == (0.5, 0.3, "c", 1)


@pytest.mark.parametrize("metric", [Metric.AUC, Metric.LOG_LOSS])
def test_the_sums_are_the_metric_of_scikit_learn(metric: Metric) -> None:
    """Mean and standard error follow from two rounded sums, in whatever order the rows come."""
    random = np.random.default_rng(4)
    scores = random.random(400)
    labels = random.random(400) < scores
    answers = [RowAnswer("yes" if score >= 0.5 else "no", max(score, 1 - score)) for score in scores.tolist()]
    rows = [
        row
        for label, answer in zip(labels.tolist(), answers, strict=True)
        if (row := LabelJudge(TWO).row_score("yes" if label else "no", answer)) is not None
    ]
    sums = score_sums(metric, rows)
    assert sums == score_sums(metric, rows[::-1])
    error = tally_error(MetricDefinition(metric, "yes"), AnswerTally(len(rows), (("no", "no", 1),), *sums))
    expected = 1 - roc_auc_score(labels, scores) if metric is Metric.AUC else log_loss(labels, scores)
    assert error.mean == pytest.approx(expected)
    # Resampling rows (B. Efron, "Bootstrap methods", Annals of Statistics 7, 1979) shows the same standard error.
    picks = random.integers(0, 400, (300, 400))
    means = [
        roc_auc_score(labels[p], scores[p]) if metric is Metric.AUC else log_loss(labels[p], scores[p]) for p in picks
    ]
    assert (error.variance / 400) ** 0.5 == pytest.approx(float(np.std(means)), rel=0.2)
    assert sums[2] == (min(labels.sum(), (~labels).sum()) if metric is Metric.AUC else None)


def test_rows_of_one_class_are_counted_as_such() -> None:
    """An area needs both classes; no rows have none."""
    row = LabelJudge(TWO).row_score("yes", RowAnswer("yes", 0.9))
    assert row is not None
    assert score_sums(Metric.AUC, [row] * 5)[2] == 0
    assert score_sums(Metric.AUC, []) == (0.0, 0.0, 0)


def test_the_judge_is_that_of_the_studied_metrics() -> None:
    """The first table, and the threshold of whatever metric has one; none where answers are enough."""
    recall = MetricDefinition(Metric.RECALL, "yes", 0.2)
    impacts = (
        PerformanceImpact(Metric.AUC, True, 0.1, 0.4, {}, score_table=TWO),
        PerformanceImpact(Metric.RECALL, True, 0.1, 0.4, {}, definition=recall, score_table=TWO),
    )
    assert label_judge(impacts) == LabelJudge(TWO, 0.2)
    assert probability_metric(impacts) is Metric.AUC
    plain = (PerformanceImpact(Metric.ACCURACY, True, 0.1, 0.4, {}),)
    assert (label_judge(plain), probability_metric(plain)) == (None, None)
