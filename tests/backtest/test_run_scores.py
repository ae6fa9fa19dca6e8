"""Laws of scores over runs: they are the metric of all rows together, and rare classes are gathered."""

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from stillsafe.backtest.run_scores import POSITIVE_ROWS, RunScores
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.score import Score

RUNS, ROWS = 12, 100
RANDOM = np.random.default_rng(1)
PROBABILITIES = RANDOM.beta(0.5, 6, RUNS * ROWS)
LABELS = (RANDOM.random(RUNS * ROWS) < PROBABILITIES).astype(int).tolist()
SCORES = [Score(int(p > 0.2), max(p, 1 - p), {"0": 1 - p, "1": p}, None) for p in PROBABILITIES.tolist()]


def run_scores(definition: MetricDefinition, fallback: int | None = 0) -> tuple[RunScores, list[float | None]]:
    """The scores of runs of which the last quarter is bypassed, and the model's score of each."""
    scores = RunScores(definition, (0, 1), SCORES, LABELS)
    runs = [slice(start, start + ROWS) for start in range(0, RUNS * ROWS, ROWS)]
    by_run = [scores.add(run, [fallback] * ROWS, by_fallback=number >= 9)[0] for number, run in enumerate(runs)]
    return scores, by_run


def test_a_total_is_the_metric_of_all_rows() -> None:
    """AUC and recall of the whole history, not the mean over runs."""
    everything = range(1, RUNS + 1)
    auc, _ = run_scores(MetricDefinition(Metric.AUC, 1))
    assert auc.total(everything, "model_score") == pytest.approx(roc_auc_score(LABELS, PROBABILITIES))
    recall, _ = run_scores(MetricDefinition(Metric.RECALL, 1))
    predictions = (PROBABILITIES > 0.2).astype(int)
    assert recall.total(everything, "model_score") == pytest.approx(recall_score(LABELS, predictions))
    assert recall.total(everything, "fallback_score") == 0
    predictions[9 * ROWS :] = 0
    assert recall.total(everything, "served_score") == pytest.approx(recall_score(LABELS, predictions))


def test_a_run_gathers_positive_rows() -> None:
    """The score of a run is over the latest runs that have enough positive rows together."""
    _, by_run = run_scores(MetricDefinition(Metric.AUC, 1))
    for number in range(6, RUNS):
        first = next(n for n in range(number, -1, -1) if sum(LABELS[n * ROWS : (number + 1) * ROWS]) >= POSITIVE_ROWS)
        rows = slice(first * ROWS, (number + 1) * ROWS)
        assert by_run[number] == pytest.approx(roc_auc_score(LABELS[rows], PROBABILITIES[rows]))


def test_silence_and_the_fallback_have_their_cost() -> None:
    """Each answer of the fallback costs its price, and no answer what the owner set."""
    costs = (("1", "0", 10.0), ("0", "1", 1.0))
    definition = MetricDefinition(Metric.EXPECTED_COST, costs=costs, fallback_cost=0.5, no_answer_cost=3.0)
    scores, _ = run_scores(definition)
    assert scores.total(range(1, RUNS + 1), "fallback_score") == pytest.approx(10 * np.mean(LABELS) + 0.5)
    silent, _ = run_scores(definition, None)
    assert silent.total([12], "served_score") == pytest.approx(3.0)
    assert silent.total([1], "served_score") == scores.total([1], "served_score")


def test_a_metric_without_its_class_is_unknown() -> None:
    """Rows without a positive label have no recall, and none have no score at all."""
    scores = RunScores(MetricDefinition(Metric.RECALL, 1), (0, 1), SCORES[:4], [0, 0, None, 0])
    assert scores.add(slice(0, 4), [0] * 4, by_fallback=False) == (None, None)
    assert scores.total([], "model_score") is None
