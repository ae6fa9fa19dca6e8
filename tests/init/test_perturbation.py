"""Laws of perturbations: what is tried, and that metrics which study the same rows share the model's answers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.init.perturbation import KnownOutcomes, Losses, Perturbation, Trials
from stillsafe.init.scorer import Scorer
from stillsafe.model.confidence import scale_from
from stillsafe.model.frame import frame
from stillsafe.model.metrics import labels_of
from stillsafe.model.model import Model, ModelKind
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.monitoring.binning import feature_bin_codes
from stillsafe.progress import no_progress

COUNT = 3_000
AT = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("strong", "weak")
SCHEMA = Schema(tuple(FeatureSpec(name, FeatureType.NUMERIC) for name in NAMES))
RANDOM = np.random.default_rng(6)
VALUES = RANDOM.normal(10, 1, (COUNT, 2))
LABELS = (RANDOM.random(COUNT) < 1 / (1 + np.exp(33 - 3 * VALUES[:, 0] - 0.1 * VALUES[:, 1]))).astype(int)
ROWS = [dict(zip(NAMES, values, strict=True)) for values in VALUES.tolist()]


@dataclass
class CountingEstimator:
    """An estimator that counts its calls."""

    estimator: LogisticRegression
    calls: int = 0

    def predict(self, table: object) -> object:
        """The predictions of a table."""
        self.calls += 1
        return self.estimator.predict(table)

    def predict_proba(self, table: object) -> object:
        """The probabilities of a table."""
        return self.estimator.predict_proba(table)


@cache
def losses_by(metric: Metric) -> tuple[Losses, int, int]:
    """The losses by a metric, the calls that they took, and those of a second metric with the same answers."""
    table = frame(SCHEMA, ROWS)
    regression = LogisticRegression(max_iter=1_000).fit(table, LABELS)
    estimator = CountingEstimator(regression)
    model = Model("1", ModelKind.CLASSIFIER, (0, 1), SCHEMA, estimator, scale_from(regression, table))
    columns = reference_columns(SCHEMA, ROWS, [0.9] * COUNT, [str(label) for label in LABELS], salt="")
    baseline = reference_baseline(columns, SCHEMA, model_version="1", at=AT)
    codes = feature_bin_codes(columns, baseline.features, slice(None))
    known_outcomes: KnownOutcomes = {}
    losses, calls = [], []
    for each in (metric, Metric.F1):
        calls_before = estimator.calls
        scorer = Scorer(MetricDefinition(each, 1), labels_of(LABELS.tolist(), (0, 1)), with_scores=True)
        perturbation = Perturbation(model, ROWS, scorer, codes, baseline)
        losses.append(perturbation.losses(Trials(known_outcomes, no_progress)))
        calls.append(estimator.calls - calls_before)
    return losses[0], calls[0], calls[1]


@pytest.mark.parametrize("metric", [Metric.AUC, Metric.RECALL, Metric.BALANCED_ACCURACY])
def test_what_the_model_leans_on_costs_most(metric: Metric) -> None:
    """The strong feature costs more than the weak one, permuted or set to one value, and all together no less."""
    losses, _, _ = losses_by(metric)
    strong, weak = (losses.features[name] for name in NAMES)
    assert strong.permuted > 0.1
    assert abs(weak.permuted) < 0.05
    assert losses.all_permuted == pytest.approx(strong.permuted, abs=0.1)
    assert len(strong.at) == len(strong.at_errors)


def test_a_ranking_is_tried_in_another_unit() -> None:
    """Numbers a hundred times as large are tried where a single number far outside shows nothing."""
    weak = losses_by(Metric.AUC)[0].features["weak"]
    assert weak.scaled_loss is not None
    assert weak.scaled_loss > weak.permuted + 0.1
    assert losses_by(Metric.RECALL)[0].features["weak"].scaled_loss is None


def test_metrics_of_the_same_rows_share_the_models_answers() -> None:
    """A second metric asks the model about nothing that the first one has tried."""
    _, first_calls, second_calls = losses_by(Metric.AUC)
    assert 6 < first_calls < 20  # all values of a feature are tried in one call
    assert second_calls <= 3


@dataclass
class Fragile(CountingEstimator):
    """An estimator that fails on numbers far outside the healthy range."""

    def predict(self, table: object) -> object:
        """The predictions of a table, or a failure."""
        if float(np.max(np.abs(np.asarray(table)))) > 15:
            raise ValueError("too large")
        return super().predict(table)


def test_a_failure_on_one_value_costs_only_that_value() -> None:
    """All values are tried in one call; where it fails, each is tried alone, with the results of a sound model."""
    table = frame(SCHEMA, ROWS)
    regression = LogisticRegression(max_iter=1_000).fit(table, LABELS)
    columns = reference_columns(SCHEMA, ROWS, [0.9] * COUNT, [str(label) for label in LABELS], salt="")
    baseline = reference_baseline(columns, SCHEMA, model_version="1", at=AT)
    codes = feature_bin_codes(columns, baseline.features, slice(None))
    scorer = Scorer(MetricDefinition(Metric.ACCURACY), labels_of(LABELS.tolist(), (0, 1)), with_scores=False)
    sound, fragile = (
        Perturbation(
            Model("1", ModelKind.CLASSIFIER, (0, 1), SCHEMA, estimator, scale_from(regression, table)),
            ROWS,
            scorer,
            codes,
            baseline,
        )
        .losses(Trials({}, no_progress))
        .features["strong"]
        .at
        for estimator in (CountingEstimator(regression), Fragile(regression))
    )
    assert None in fragile
    assert [loss for loss in fragile if loss is not None] == [
        loss for loss, other in zip(sound, fragile, strict=True) if other is not None
    ]
