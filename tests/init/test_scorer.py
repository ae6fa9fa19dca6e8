"""Laws of the scorer: rare classes are studied, and the studied rows stand for the sample."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.core.score import Score
from stillsafe.init.scorer import Scorer, scorer_of
from stillsafe.model.confidence import scale_from
from stillsafe.model.frame import frame
from stillsafe.model.metrics import labels_of
from stillsafe.model.model import Model, ModelKind

COUNT = 20_000
SCHEMA = Schema((FeatureSpec("size", FeatureType.NUMERIC),))
RANDOM = np.random.default_rng(3)
SIZES = RANDOM.normal(size=COUNT)
TRUTHS = (RANDOM.random(COUNT) < 1 / (1 + np.exp(6 - 2 * SIZES))).astype(int)
TABLE = frame(SCHEMA, [{"size": size} for size in SIZES.tolist()])


def model(estimator: Any = None) -> Model:
    estimator_on_table = (estimator or LogisticRegression()).fit(TABLE, TRUTHS)
    return Model("1", ModelKind.CLASSIFIER, (0, 1), SCHEMA, estimator_on_table, scale_from(estimator_on_table, TABLE))


@pytest.mark.parametrize("metric", [Metric.AUC, Metric.RECALL, Metric.BALANCED_ACCURACY, Metric.F1])
def test_a_rare_class_is_studied_and_its_weight_kept(metric: Metric) -> None:
    """Of 1,500 rows up to half are of the rare class, and the weighted error is that of the whole sample."""
    scorer = Scorer(MetricDefinition(metric, 1), labels_of(TRUTHS.tolist(), (0, 1)))
    rows, weights = scorer.studied_rows(1_500, np.random.default_rng(0))
    assert len(rows) == 1_500
    assert weights is not None
    assert TRUTHS[rows].sum() == min(750, TRUTHS.sum())
    assert weights.sum() == pytest.approx(COUNT)
    whole = scorer.errors(scorer.outcome(model(), TABLE), np.arange(COUNT)).mean()
    part = scorer.errors(scorer.outcome(model(), TABLE.iloc[rows]), rows, weights)
    assert part.mean() == pytest.approx(whole, abs=4 * part.std() / np.sqrt(len(rows)) + 1e-9)


def test_accuracy_is_studied_on_rows_as_they_come() -> None:
    """Accuracy needs no rare rows: as before, all rows count alike."""
    scorer = Scorer(MetricDefinition(Metric.ACCURACY), labels_of(TRUTHS.tolist(), (0, 1)))
    rows, weights = scorer.studied_rows(1_500, np.random.default_rng(0))
    assert weights is None
    assert len(rows) == 1_500


def test_a_model_without_probabilities_is_ranked_by_its_margin() -> None:
    """The AUC of either class comes from the decision function."""
    ranking_model = model(RidgeClassifier())
    labels = labels_of(TRUTHS.tolist(), (0, 1))
    areas = []
    for positive in (0, 1):
        scorer = Scorer(MetricDefinition(Metric.AUC, positive), labels)
        areas.append(1 - scorer.errors(scorer.outcome(ranking_model, TABLE), np.arange(COUNT)).mean())
    assert areas[0] == pytest.approx(areas[1])
    assert areas[1] > 0.8


def test_without_labels_the_probabilities_stand_in_for_them() -> None:
    """A calibrated model expects the performance that labels would show."""
    own_model = model()
    probabilities = own_model.estimator.predict_proba(TABLE)
    scores = [Score(int(p > 0.5), 1.0, {"0": 1 - p, "1": p}, None) for p in probabilities[:, 1].tolist()]
    definition = MetricDefinition(Metric.AUC, 1)
    expected = scorer_of(own_model, scores, TRUTHS.tolist(), definition)
    assumption = scorer_of(own_model, scores, None, definition)
    assert expected is not None
    assert assumption is not None
    outcome, rows = expected.outcome(own_model, TABLE), np.arange(COUNT)
    assert assumption.errors(outcome, rows).mean() == pytest.approx(expected.errors(outcome, rows).mean(), abs=0.03)
