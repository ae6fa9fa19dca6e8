"""Laws of rules for a rare class: they are learnt and priced in what the owner measures."""

import numpy as np
import pytest

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.core.score import Score
from stillsafe.init.rule_learner import Targets
from stillsafe.init.rule_pricing import SearchSample, answer_costs
from stillsafe.init.rule_search import search
from stillsafe.model.model import ModelKind

COUNT = 8_000
SCHEMA = Schema((FeatureSpec("amount", FeatureType.NUMERIC), FeatureSpec("noise", FeatureType.NUMERIC)))
RANDOM = np.random.default_rng(5)
AMOUNTS = RANDOM.normal(size=COUNT)
PROBABILITIES = 1 / (1 + np.exp(5.5 - 2 * AMOUNTS))
LABELS = (RANDOM.random(COUNT) < PROBABILITIES).astype(int).tolist()
ROWS = [{"amount": a, "noise": n} for a, n in zip(AMOUNTS.tolist(), RANDOM.normal(size=COUNT).tolist(), strict=True)]
SCORES = [Score(int(p > 0.5), max(p, 1 - p), {"0": 1 - p, "1": p}, None) for p in PROBABILITIES.tolist()]
AUC = MetricDefinition(Metric.AUC, 1)


def sample(definition: MetricDefinition | None) -> SearchSample:
    predictions = [score.prediction for score in SCORES]
    return SearchSample(SCHEMA, ROWS, list(LABELS), ModelKind.CLASSIFIER, predictions, definition, SCORES)


def test_by_accuracy_a_rare_class_has_no_rules_and_by_its_ranking_it_has() -> None:
    """Rules that answer the rare class cost accuracy and win balanced accuracy."""
    by_accuracy, by_ranking = search(sample(None), 0, 0), search(sample(AUC), 0, 0)
    assert not by_accuracy.lists
    assert {rule.answer for rule in by_ranking.rules} == {0, 1}
    assert by_ranking.lists[0].score > 0.7


def test_prices_are_in_the_metric() -> None:
    """The model's price is its AUC, and the default, which always answers the majority, has one half."""
    proposal = search(sample(AUC), 0, 0)
    assert proposal.model_score == pytest.approx(0.92, abs=0.05)
    assert proposal.default_score == pytest.approx(0.5)
    assert proposal.evaluation is not None
    assert proposal.evaluation.metric == "balanced accuracy"


def test_a_cost_matrix_decides_what_rules_answer() -> None:
    """Where a miss costs a hundred alarms, rules answer the rare class earlier."""
    dear, cheap = (
        MetricDefinition(Metric.EXPECTED_COST, costs=(("1", "0", miss), ("0", "1", 1.0))) for miss in (100.0, 0.01)
    )
    alarms = []
    for definition in (dear, cheap):
        costs = answer_costs(definition, Targets(np.array(LABELS, float), (0, 1)))
        assert costs is not None
        assert costs[1, 0] == definition.costs[0][2]
        alarms.append({rule.answer for rule in search(sample(definition), 0, 0).rules})
    assert 1 in alarms[0]
    assert 1 not in alarms[1]


@pytest.mark.parametrize("metric", [Metric.LOG_LOSS, Metric.MEAN_SQUARED_ERROR])
def test_what_an_answer_alone_does_not_show_has_no_price(metric: Metric) -> None:
    """A log loss needs probabilities: without a price every CRITICAL bypasses."""
    pricing = sample(MetricDefinition(metric)).pricing(range(100))
    assert not pricing.is_priced


def test_recall_is_priced_as_recall() -> None:
    """The model's price is its recall at its threshold, and a default that never answers the class has none."""
    proposal = search(sample(MetricDefinition(Metric.RECALL, 1)), 0, 0)
    expected = np.mean([score.prediction == 1 for score, label in zip(SCORES, LABELS, strict=True) if label == 1])
    assert proposal.model_score == pytest.approx(expected, abs=0.1)
    assert proposal.default_score == 0


def test_a_class_that_missing_values_alone_tell_needs_no_threshold() -> None:
    """A tree that splits missing values from all others, at an infinite threshold, ends there and raises nothing."""
    random = np.random.default_rng(8)
    missing = random.random(COUNT) < 0.05
    values = random.normal(size=COUNT).tolist()
    rows = [
        {"amount": None if is_missing else value, "noise": 0.0}
        for is_missing, value in zip(missing.tolist(), values, strict=True)
    ]
    labels = missing.astype(int).tolist()
    searched_sample = SearchSample(SCHEMA, rows, list(labels), ModelKind.CLASSIFIER, list(labels), AUC)
    assert search(searched_sample, 0, 0).model_score is not None
