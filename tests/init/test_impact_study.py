"""The impact study measures what real small models lose on perturbed rows, with and without labels."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import LogMode, Schema
from stillsafe.core.signals import Level, Signal
from stillsafe.init import impact_study, infer
from stillsafe.init.impact_study import ScoredSample, study_impact
from stillsafe.init.perturbation import FEWEST_ROWS
from stillsafe.model.model import Model, ModelKind
from stillsafe.monitoring.baseline import reference_baseline
from stillsafe.progress import Progress, no_progress
from stillsafe.store.codec import dumps, from_document, to_document
from tests.core.healthy import START
from tests.monitoring.related import (
    FEATURES,
    LEANT_ON,
    Service,
    classifier,
    columns_of,
    fit_model,
    machines,
    model_of,
    permute,
    regressor,
    service,
)


def schema_of(table: pd.DataFrame) -> Schema:
    """Of the features among the columns."""
    return infer.describe(table[[name for name in FEATURES if name in table]]).schema


def impact_of(
    model: Model, table: pd.DataFrame, labels: Sequence[Answer | None] | None, progress: Progress = no_progress
) -> PerformanceImpact | None:
    """What `init` would learn about a model on a sample."""
    rows = infer.rows_of(table, model.features)
    scores = model.score(rows)
    columns = columns_of(model.features, rows, scores)
    healthy = reference_baseline(columns, model.features, model_version="1", at=START)
    return study_impact(model, ScoredSample(rows, scores, labels, columns), healthy, (), progress)


def require_impact(harm: PerformanceImpact | None) -> PerformanceImpact:
    assert harm is not None
    return harm


@pytest.fixture(scope="module", params=list(ModelKind))
def either(request: pytest.FixtureRequest) -> Service:
    return classifier() if request.param is ModelKind.CLASSIFIER else regressor()


def test_only_features_that_the_model_uses_cost_something(either: Service) -> None:
    """Each feature has its loss: a large one for the two that the model uses, none for the others."""
    harm = require_impact(either.baseline.harm)
    assert set(harm.features) == set(FEATURES)
    for name, feature in harm.features.items():
        if name in LEANT_ON:
            assert feature.permuted > harm.healthy_error / 2
        else:
            assert feature.permuted == 0
            assert set(feature.at) == {0.0}


def test_the_losses_are_those_of_other_labelled_rows(either: Service) -> None:
    """The losses on the sample hold on other rows too, for each feature and for all together."""
    harm, fresh = require_impact(either.baseline.harm), machines(4_000, 50)
    unit = harm.healthy_error if harm.metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
    for name in LEANT_ON:
        true = either.loss(permute(fresh, name), fresh) * unit
        assert harm.features[name].permuted == pytest.approx(true, rel=0.2)
    true = either.loss(permute(fresh, *FEATURES), fresh) * unit
    assert harm.all_permuted == pytest.approx(true, rel=0.2)


def test_every_bin_of_a_feature_has_a_loss(either: Service) -> None:
    """One loss for each of its bins; a number far outside costs more, if the model uses the feature."""
    harm = require_impact(either.baseline.harm)
    for name, feature in harm.features.items():
        bins = either.baseline.features[name].bins
        assert bins is not None
        assert len(feature.at) == bins.size
    bins, losses = either.baseline.features["load"].bins, harm.features["load"].at
    assert bins is not None
    middle = losses[bins.ordinary // 2]
    assert middle is not None
    assert all(loss is not None and loss > middle for loss in (losses[bins.below], losses[bins.above]))


def test_features_are_permuted_in_pairs(either: Service) -> None:
    """Permuting two features together costs at least as much as the worse of them, and no pair occurs twice."""
    harm = require_impact(either.baseline.harm)
    pairs = {frozenset((first, second)): both for first, second, both in harm.together}
    assert len(pairs) == len(harm.together)
    assert frozenset(LEANT_ON) in pairs
    worse = max(harm.features[name].permuted for name in LEANT_ON)
    assert pairs[frozenset(LEANT_ON)] > worse
    assert pairs[frozenset(("load", "chatter"))] == pytest.approx(harm.features["load"].permuted)


def test_the_label_profiles_make_up_the_whole_sample(either: Service) -> None:
    """Their shares add up to one, their errors to the healthy error, their bins to the baseline's."""
    harm, healthy = require_impact(either.baseline.harm), either.baseline
    assert sum(profile.share for profile in harm.truths) == pytest.approx(1)
    assert sum(profile.share * profile.error for profile in harm.truths) == pytest.approx(harm.healthy_error)
    for name, feature in healthy.features.items():
        weighted_shares = np.sum([profile.share * np.array(profile.features[name]) for profile in harm.truths], axis=0)
        assert weighted_shares == pytest.approx(np.array(feature.bin_counts) / healthy.sample_size, abs=1e-6)


def test_every_bin_has_its_effect_on_the_error() -> None:
    """Of every feature and output; predictions of low confidence have larger errors."""
    for built_service in (classifier(), regressor()):
        harm, healthy = require_impact(built_service.baseline.harm), built_service.baseline
        parts = {**harm.effects, **harm.output_effects}
        for name, profile in {**healthy.features, **healthy.outputs}.items():
            assert len(parts[name]) == len(profile.bin_counts)
        assert set(harm.effects_alone) == set(harm.effects) == set(healthy.features)
        assert harm.effect_sd > 0
        assert harm.effect_variation >= 0
    harm, confidence = require_impact(classifier().baseline.harm), classifier().baseline.outputs["confidence"]
    assert confidence.bins is not None
    unsure, sure = harm.output_effects["confidence"][0], harm.output_effects["confidence"][confidence.bins.ordinary - 1]
    assert unsure > 0.1 > 0 > sure


def test_the_losses_of_a_regressor_are_in_the_unit_of_the_labels() -> None:
    """Mean predictions rise from bin to bin; a thousandfold unit is a thousandfold of every loss."""
    harm = require_impact(regressor().baseline.harm)
    assert harm.metric is Metric.MEAN_ABSOLUTE_ERROR
    assert list(harm.answers) == sorted(harm.answers)
    assert require_impact(classifier().baseline.harm).answers == ()
    sample, training = machines(600, 51), machines(2_000, 1)
    losses = []
    for unit in (1.0, 1_000.0):
        estimator = fit_model(ModelKind.REGRESSOR, "worn").fit(training[list(FEATURES)], unit * training["worn"])
        schema = schema_of(sample)
        model = model_of(estimator, ModelKind.REGRESSOR, schema, (), infer.rows_of(sample, schema))
        losses.append(require_impact(impact_of(model, sample, (unit * sample["worn"]).tolist())))
    assert losses[1].healthy_error == pytest.approx(1_000 * losses[0].healthy_error)
    assert losses[1].features["load"].permuted == pytest.approx(1_000 * losses[0].features["load"].permuted)


def test_without_labels_the_probabilities_replace_them() -> None:
    """A calibrated model estimates its own error, and its losses are close to those with labels."""
    labelled_impact, unlabelled_service = (
        require_impact(classifier().baseline.harm),
        service(ModelKind.CLASSIFIER, with_labels=False),
    )
    harm = require_impact(unlabelled_service.baseline.harm)
    assert (labelled_impact.labelled, harm.labelled) == (True, False)
    assert harm.healthy_error == pytest.approx(labelled_impact.healthy_error, abs=0.03)
    for name in LEANT_ON:
        assert harm.features[name].permuted == pytest.approx(labelled_impact.features[name].permuted, rel=0.3)
    reading = unlabelled_service.read(permute(machines(800, 52), "load"))[Signal.ESTIMATED_ACCURACY_LOSS]
    assert reading.level is Level.SEVERE
    assert unlabelled_service.read(machines(800, 53))[Signal.ESTIMATED_ACCURACY_LOSS].level is Level.NONE


def test_without_labels_a_regressors_predictions_replace_them() -> None:
    """Its error is assumed to be positive, so that damage costs something and nothing divides by zero."""
    unlabelled_service = service(ModelKind.REGRESSOR, with_labels=False)
    harm = require_impact(unlabelled_service.baseline.harm)
    assert harm.healthy_error > 0
    assert min(harm.features[name].permuted for name in LEANT_ON) > 0
    reading = unlabelled_service.read(permute(machines(800, 54), "load"))[Signal.ESTIMATED_ERROR_GROWTH]
    assert reading.level is Level.SEVERE


def test_without_labels_and_probabilities_there_is_no_impact() -> None:
    """A classifier that only predicts classes needs labels."""
    training, sample = machines(1_000, 1), machines(400, 55)
    numbers = ColumnTransformer([("numbers", "passthrough", list(LEANT_ON))])
    estimator = make_pipeline(numbers, LinearSVC()).fit(training[list(FEATURES)], training["fails"])
    schema = schema_of(sample)
    model = model_of(estimator, ModelKind.CLASSIFIER, schema, ("no", "yes"), infer.rows_of(sample, schema))
    assert impact_of(model, sample, None) is None
    assert require_impact(impact_of(model, sample, sample["fails"].tolist())).features["load"].permuted > 0.05


def test_too_few_rows_give_no_impact() -> None:
    """Neither a small sample nor a large one with few usable labels is enough."""
    few, many = machines(FEWEST_ROWS - 1, 56), machines(2 * FEWEST_ROWS, 56)
    model = classifier().model
    assert impact_of(model, few, few["fails"].tolist()) is None
    assert impact_of(model, few, None) is None
    rarely: list[Answer | None] = [*many["fails"].tolist()[: FEWEST_ROWS - 1], *[None] * (FEWEST_ROWS + 1)]
    assert impact_of(model, many, rarely) is None


def test_rows_without_a_label_are_left_out() -> None:
    """The result is the same as without the rows whose label is not a class of the model."""
    sample, model = machines(1_200, 57), classifier().model
    odd = np.arange(len(sample)) % 3 == 0
    labels = [None if left_out else answer for left_out, answer in zip(odd, sample["fails"], strict=True)]
    some, rest = require_impact(impact_of(model, sample, labels)), sample[~odd]
    answers = model.estimator.predict(rest[list(FEATURES)])
    assert some.healthy_error == pytest.approx(float((answers != rest["fails"]).mean()))


class _StrictClassifier:
    """Fails on missing values and unknown categories, as many real models do."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.classes_ = inner.classes_

    def predict(self, table: pd.DataFrame) -> Any:
        return self.inner.predict(self._check(table))

    def predict_proba(self, table: pd.DataFrame) -> Any:
        return self.inner.predict_proba(self._check(table))

    def _check(self, table: pd.DataFrame) -> pd.DataFrame:
        if table["load"].isna().any():
            raise ValueError("Input contains NaN.")
        return table


def test_a_model_that_fails_on_unusual_values_has_an_impact() -> None:
    """The loss of a bin on which the model fails is None; all other bins have a loss."""
    training, sample = machines(1_000, 1), machines(400, 58)
    steps = ColumnTransformer([("word", OneHotEncoder(), ["site"]), ("numbers", "passthrough", ["load"])])
    inner = make_pipeline(steps, LogisticRegression(max_iter=500)).fit(training[list(FEATURES)], training["fails"])
    schema = schema_of(sample)
    model = model_of(
        _StrictClassifier(inner), ModelKind.CLASSIFIER, schema, ("no", "yes"), infer.rows_of(sample, schema)
    )
    rows = infer.rows_of(sample, schema)
    scores = model.score(rows)
    columns = columns_of(schema, rows, scores)
    healthy = reference_baseline(columns, schema, model_version="1", at=START)
    harm = require_impact(
        study_impact(model, ScoredSample(rows, scores, sample["fails"].tolist(), columns), healthy, (), no_progress)
    )
    for name, failing in (("load", ("missing",)), ("site", ("missing", "above")), ("heat", ())):
        bins, losses = healthy.features[name].bins, harm.features[name].at
        assert bins is not None
        failing_bins = {getattr(bins, where) for where in failing}
        assert {place for place, loss in enumerate(losses) if loss is None} == failing_bins
    assert harm.features["load"].permuted > 0.05 > harm.features["heat"].permuted == 0
    watched = Service(model, replace(healthy, harm=harm), "fails")
    readings = watched.read(machines(400, 59).assign(load=np.nan))
    assert readings[Signal.ESTIMATED_ACCURACY_LOSS].level is Level.SEVERE


def test_rows_on_which_the_model_failed_are_left_out() -> None:
    """A sample with a few failures uses the other rows."""
    sample, training = machines(500, 60), machines(1_000, 1)
    sample.loc[::50, "load"] = np.nan
    numbers = ColumnTransformer([("numbers", "passthrough", ["load"])])
    estimator = make_pipeline(numbers, LinearRegression()).fit(training[list(FEATURES)], training["worn"])
    schema, whole = schema_of(sample), sample.dropna(subset=["load"])
    model = model_of(estimator, ModelKind.REGRESSOR, schema, (), infer.rows_of(whole, schema))
    harm = require_impact(impact_of(model, sample, sample["worn"].tolist()))
    error = np.abs(estimator.predict(whole[list(FEATURES)]) - whole["worn"]).mean()
    assert harm.healthy_error == pytest.approx(float(error))


def test_dropped_features_are_only_permuted() -> None:
    """A feature that the log drops has no bins, but a permutation loss; the other features are not affected."""
    sample, model = machines(500, 61), classifier().model
    schema = Schema(
        tuple(replace(s, log=LogMode.DROP if s.name == "load" else LogMode.KEEP) for s in model.features.features)
    )
    harm = require_impact(impact_of(replace(model, features=schema), sample, sample["fails"].tolist()))
    assert harm.features["load"].at == ()
    assert harm.features["load"].permuted > 0.1
    assert "load" not in harm.effects


@pytest.mark.parametrize(("rows", "columns"), [(40, 10), (40, 40), (40, 200), (20_000, 5)])
@pytest.mark.parametrize("answers", [(), (3,)])
def test_effects_do_not_depend_on_how_they_are_computed(rows: int, columns: int, answers: tuple[int, ...]) -> None:
    """More rows than columns or fewer, in one part or several: the ridge regression of the textbook."""
    random = np.random.default_rng(1)
    table = (random.random((rows, columns)) < 0.3).astype(np.float32)
    errors = random.random((rows, *answers))
    deviations = table.astype(np.float64) - table.mean(axis=0, dtype=np.float64)
    products = deviations.T @ deviations + impact_study.RIDGE_PENALTY * np.eye(columns)
    expected = np.linalg.solve(products, deviations.T @ (errors - errors.mean(axis=0)))
    np.testing.assert_allclose(impact_study._ridge(table, errors), expected, rtol=1e-9, atol=1e-12)


def test_progress_is_reported_in_shares() -> None:
    """The shares start at 0, never decrease and never exceed 1."""
    shares: list[float] = []
    sample = machines(300, 62)
    impact_of(
        classifier().model, sample, sample["fails"].tolist(), lambda _activity, share: shares.append(share or 0.0)
    )
    assert shares == sorted(shares)
    assert shares
    assert all(0 <= share <= 1 for share in shares)


def test_the_impact_is_reproducible_and_survives_the_store() -> None:
    """The same sample gives the same bytes, and the same value after it was stored."""
    sample = machines(300, 63)
    impacts = [require_impact(impact_of(classifier().model, sample, sample["fails"].tolist())) for _ in range(2)]
    assert dumps(to_document(impacts[0])) == dumps(to_document(impacts[1]))
    assert from_document(PerformanceImpact, to_document(impacts[0])) == impacts[0]
