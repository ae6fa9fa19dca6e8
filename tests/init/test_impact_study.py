"""Weighing: what real small models lose on changed rows, by labels, probabilities or answers alone."""

from collections.abc import Callable, Sequence
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

from stillsafe.core.evidence.impact import Harm, Metric
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Logged, Schema
from stillsafe.core.signals import Level, Signal
from stillsafe.init import infer
from stillsafe.init.impact_study import FEWEST_ROWS, weigh
from stillsafe.model.model import Model, ModelKind
from stillsafe.monitoring.baseline import reference_baseline
from stillsafe.store.codec import dumps, from_document, to_document
from tests.core.healthy import START
from tests.core.related import (
    FEATURES,
    LEANT_ON,
    Service,
    classifier,
    fitted,
    logged,
    machines,
    model_of,
    permuted,
    regressor,
    service,
)

Tell = Callable[[float], None]


def quiet(_share: float) -> None:
    """Tells nobody."""


def schema_of(table: pd.DataFrame) -> Schema:
    """Of the features among the columns."""
    return infer.describe(table[[name for name in FEATURES if name in table]]).schema


def weighed(
    model: Model, table: pd.DataFrame, truth: Sequence[Answer | None] | None, tell: Tell = quiet
) -> Harm | None:
    """What `init` would learn about a model on a sample."""
    rows = infer.rows_of(table, model.features)
    scores = model.score(rows)
    found = logged(model.features, rows, scores)
    healthy = reference_baseline(found, model.features, model_version="1", at=START)
    return weigh(model, rows, scores, truth, found, healthy, tell)


def known(harm: Harm | None) -> Harm:
    assert harm is not None
    return harm


@pytest.fixture(scope="module", params=list(ModelKind))
def either(request: pytest.FixtureRequest) -> Service:
    return classifier() if request.param is ModelKind.CLASSIFIER else regressor()


def test_what_the_model_leans_on_is_told_from_what_it_ignores(either: Service) -> None:
    """Each feature has its loss: of the two that the model reads a large one, of the others none at all."""
    harm = known(either.baseline.harm)
    assert set(harm.features) == set(FEATURES)
    for name, feature in harm.features.items():
        if name in LEANT_ON:
            assert feature.permuted > harm.healthy_error / 2
        else:
            assert feature.permuted == 0
            assert set(feature.at) == {0.0}


def test_the_losses_are_those_of_other_labelled_rows(either: Service) -> None:
    """What was lost on the sample is lost on rows that were not in it, feature by feature and all together."""
    harm, fresh = known(either.baseline.harm), machines(4_000, 50)
    unit = harm.healthy_error if harm.metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
    for name in LEANT_ON:
        true = either.loss(permuted(fresh, name), fresh) * unit
        assert harm.features[name].permuted == pytest.approx(true, rel=0.2)
    true = either.loss(permuted(fresh, *FEATURES), fresh) * unit
    assert harm.all_permuted == pytest.approx(true, rel=0.2)


def test_every_bin_of_a_feature_was_tried(either: Service) -> None:
    """One loss for each of its bins; a number far from the usual ones costs a model that leans on it more."""
    harm = known(either.baseline.harm)
    for name, feature in harm.features.items():
        bins = either.baseline.features[name].bins
        assert bins is not None
        assert len(feature.at) == bins.size
    bins, losses = either.baseline.features["load"].bins, harm.features["load"].at
    assert bins is not None
    middle = losses[bins.ordinary // 2]
    assert middle is not None
    assert all(loss is not None and loss > middle for loss in (losses[bins.below], losses[bins.above]))


def test_features_are_tried_in_pairs(either: Service) -> None:
    """Two features on the same wrong rows lose at least as much as the worse of them, and no pair is tried twice."""
    harm = known(either.baseline.harm)
    pairs = {frozenset((first, second)): both for first, second, both in harm.together}
    assert len(pairs) == len(harm.together)
    assert frozenset(LEANT_ON) in pairs
    worse = max(harm.features[name].permuted for name in LEANT_ON)
    assert pairs[frozenset(LEANT_ON)] > worse
    assert pairs[frozenset(("load", "chatter"))] == pytest.approx(harm.features["load"].permuted)


def test_the_rows_by_true_answer_make_up_the_whole_sample(either: Service) -> None:
    """Their shares add up to one, their errors to the healthy error, their bins to the baseline's."""
    harm, healthy = known(either.baseline.harm), either.baseline
    assert sum(truth.share for truth in harm.truths) == pytest.approx(1)
    assert sum(truth.share * truth.error for truth in harm.truths) == pytest.approx(harm.healthy_error)
    for name, feature in healthy.features.items():
        mixed = np.sum([truth.share * np.array(truth.features[name]) for truth in harm.truths], axis=0)
        assert mixed == pytest.approx(np.array(feature.bin_counts) / healthy.sample_size, abs=1e-6)


def test_every_bin_has_its_effect_on_the_error() -> None:
    """Of every feature and output; where the model was unsure it erred more than where it was sure."""
    for of in (classifier(), regressor()):
        harm, healthy = known(of.baseline.harm), of.baseline
        parts = {**harm.effects, **harm.output_effects}
        for name, before in {**healthy.features, **healthy.outputs}.items():
            assert len(parts[name]) == len(before.bin_counts)
        assert set(harm.effects_alone) == set(harm.effects) == set(healthy.features)
        assert harm.effect_sd > 0
        assert harm.effect_variation >= 0
    harm, confidence = known(classifier().baseline.harm), classifier().baseline.outputs["confidence"]
    assert confidence.bins is not None
    unsure, sure = harm.output_effects["confidence"][0], harm.output_effects["confidence"][confidence.bins.ordinary - 1]
    assert unsure > 0.1 > 0 > sure


def test_a_regressor_is_judged_by_its_distance_and_by_the_answers_unit() -> None:
    """Typical answers rise from bin to bin; twice the unit is twice of every loss."""
    harm = known(regressor().baseline.harm)
    assert harm.metric is Metric.MEAN_ABSOLUTE_ERROR
    assert list(harm.answers) == sorted(harm.answers)
    assert known(classifier().baseline.harm).answers == ()
    sample, training = machines(600, 51), machines(2_000, 1)
    losses = []
    for unit in (1.0, 1_000.0):
        estimator = fitted(ModelKind.REGRESSOR, "worn").fit(training[list(FEATURES)], unit * training["worn"])
        schema = schema_of(sample)
        model = model_of(estimator, ModelKind.REGRESSOR, schema, (), infer.rows_of(sample, schema))
        losses.append(known(weighed(model, sample, (unit * sample["worn"]).tolist())))
    assert losses[1].healthy_error == pytest.approx(1_000 * losses[0].healthy_error)
    assert losses[1].features["load"].permuted == pytest.approx(1_000 * losses[0].features["load"].permuted)


def test_without_labels_the_probabilities_stand_in() -> None:
    """A calibrated model knows its own error, and what it leans on costs as much as labels say, within a factor."""
    labelled, blind = known(classifier().baseline.harm), service(ModelKind.CLASSIFIER, labelled=False)
    harm = known(blind.baseline.harm)
    assert (labelled.labelled, harm.labelled) == (True, False)
    assert harm.healthy_error == pytest.approx(labelled.healthy_error, abs=0.03)
    for name in LEANT_ON:
        assert harm.features[name].permuted == pytest.approx(labelled.features[name].permuted, rel=0.3)
    told = blind.read(permuted(machines(800, 52), "load"))[Signal.ESTIMATED_ACCURACY_LOSS]
    assert told.level is Level.SEVERE
    assert blind.read(machines(800, 53))[Signal.ESTIMATED_ACCURACY_LOSS].level is Level.NONE


def test_without_labels_a_regressors_own_answers_stand_in() -> None:
    """Its error is unknown and taken for no less than something: damage costs, and health does not divide by zero."""
    blind = service(ModelKind.REGRESSOR, labelled=False)
    harm = known(blind.baseline.harm)
    assert harm.healthy_error > 0
    assert min(harm.features[name].permuted for name in LEANT_ON) > 0
    told = blind.read(permuted(machines(800, 54), "load"))[Signal.ESTIMATED_ERROR_GROWTH]
    assert told.level is Level.SEVERE


def test_without_labels_and_probabilities_nothing_is_known() -> None:
    """A classifier that only names classes cannot stand in for the truth; with labels it can be weighed."""
    training, sample = machines(1_000, 1), machines(400, 55)
    numbers = ColumnTransformer([("numbers", "passthrough", list(LEANT_ON))])
    estimator = make_pipeline(numbers, LinearSVC()).fit(training[list(FEATURES)], training["fails"])
    schema = schema_of(sample)
    model = model_of(estimator, ModelKind.CLASSIFIER, schema, ("no", "yes"), infer.rows_of(sample, schema))
    assert weighed(model, sample, None) is None
    assert known(weighed(model, sample, sample["fails"].tolist())).features["load"].permuted > 0.05


def test_too_few_rows_to_judge_by_are_not_weighed() -> None:
    """Neither a small sample, nor a large one with hardly any usable truth, says what harm is."""
    few, many = machines(FEWEST_ROWS - 1, 56), machines(2 * FEWEST_ROWS, 56)
    model = classifier().model
    assert weighed(model, few, few["fails"].tolist()) is None
    assert weighed(model, few, None) is None
    rarely: list[Answer | None] = [*many["fails"].tolist()[: FEWEST_ROWS - 1], *[None] * (FEWEST_ROWS + 1)]
    assert weighed(model, many, rarely) is None


def test_rows_without_a_truth_are_left_out() -> None:
    """A label that is no answer of the model's says nothing: the rest is weighed as if those rows were not there."""
    sample, model = machines(1_200, 57), classifier().model
    odd = np.arange(len(sample)) % 3 == 0
    truth = [None if left_out else answer for left_out, answer in zip(odd, sample["fails"], strict=True)]
    some, rest = known(weighed(model, sample, truth)), sample[~odd]
    answers = model.estimator.predict(rest[list(FEATURES)])
    assert some.healthy_error == pytest.approx(float((answers != rest["fails"]).mean()))


class _Touchy:
    """Fails on a missing value and on a category that it does not know, as many real models do."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.classes_ = inner.classes_

    def predict(self, table: pd.DataFrame) -> Any:
        return self.inner.predict(self._checked(table))

    def predict_proba(self, table: pd.DataFrame) -> Any:
        return self.inner.predict_proba(self._checked(table))

    def _checked(self, table: pd.DataFrame) -> pd.DataFrame:
        if table["load"].isna().any():
            raise ValueError("Input contains NaN.")
        return table


def test_a_model_that_fails_on_odd_values_is_weighed_all_the_same() -> None:
    """Where it fails, nothing is known, and what it does answer is tried: missing values, unseen categories."""
    training, sample = machines(1_000, 1), machines(400, 58)
    steps = ColumnTransformer([("word", OneHotEncoder(), ["site"]), ("numbers", "passthrough", ["load"])])
    inner = make_pipeline(steps, LogisticRegression(max_iter=500)).fit(training[list(FEATURES)], training["fails"])
    schema = schema_of(sample)
    model = model_of(_Touchy(inner), ModelKind.CLASSIFIER, schema, ("no", "yes"), infer.rows_of(sample, schema))
    rows = infer.rows_of(sample, schema)
    scores = model.score(rows)
    found = logged(schema, rows, scores)
    healthy = reference_baseline(found, schema, model_version="1", at=START)
    harm = known(weigh(model, rows, scores, sample["fails"].tolist(), found, healthy, quiet))
    for name, failing in (("load", ("missing",)), ("site", ("missing", "above")), ("heat", ())):
        bins, losses = healthy.features[name].bins, harm.features[name].at
        assert bins is not None
        nothing_known = {getattr(bins, where) for where in failing}
        assert {place for place, loss in enumerate(losses) if loss is None} == nothing_known
    assert harm.features["load"].permuted > 0.05 > harm.features["heat"].permuted == 0
    watched = Service(model, replace(healthy, harm=harm), "fails")
    silenced = watched.read(machines(400, 59).assign(load=np.nan))
    assert silenced[Signal.ESTIMATED_ACCURACY_LOSS].level is Level.SEVERE


def test_rows_on_which_the_model_failed_are_left_out() -> None:
    """A sample with a few failures is weighed on the others."""
    sample, training = machines(500, 60), machines(1_000, 1)
    sample.loc[::50, "load"] = np.nan
    numbers = ColumnTransformer([("numbers", "passthrough", ["load"])])
    estimator = make_pipeline(numbers, LinearRegression()).fit(training[list(FEATURES)], training["worn"])
    schema, whole = schema_of(sample), sample.dropna(subset=["load"])
    model = model_of(estimator, ModelKind.REGRESSOR, schema, (), infer.rows_of(whole, schema))
    harm = known(weighed(model, sample, sample["worn"].tolist()))
    error = np.abs(estimator.predict(whole[list(FEATURES)]) - whole["worn"]).mean()
    assert harm.healthy_error == pytest.approx(float(error))


def test_features_that_the_log_does_not_show_are_permuted_and_no_more() -> None:
    """A dropped feature has no bins to try, and still its loss; the rest is learnt as ever."""
    sample, given = machines(500, 61), classifier().model
    hidden = Schema(
        tuple(replace(s, log=Logged.DROP if s.name == "load" else Logged.KEEP) for s in given.features.features)
    )
    harm = known(weighed(replace(given, features=hidden), sample, sample["fails"].tolist()))
    assert harm.features["load"].at == ()
    assert harm.features["load"].permuted > 0.1
    assert "load" not in harm.effects


def test_progress_is_told_in_shares() -> None:
    """From nothing on, never backwards, at most to the end."""
    told: list[float] = []
    sample = machines(300, 62)
    weighed(classifier().model, sample, sample["fails"].tolist(), told.append)
    assert told == sorted(told)
    assert told
    assert all(0 <= share <= 1 for share in told)


def test_the_same_sample_is_weighed_alike_and_survives_the_store() -> None:
    """Nothing depends on chance: byte for byte, and the same after being stored."""
    sample = machines(300, 63)
    made = [known(weighed(classifier().model, sample, sample["fails"].tolist())) for _ in range(2)]
    assert dumps(to_document(made[0])) == dumps(to_document(made[1]))
    assert from_document(Harm, to_document(made[0])) == made[0]
