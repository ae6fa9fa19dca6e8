"""Second models are trained without the features that may fail, priced like rule lists, and served from one file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from stillsafe import service, settings
from stillsafe.core.fallback import MODEL, Answer
from stillsafe.init.rule_pricing import SearchSample
from stillsafe.init.rule_search import search
from stillsafe.init.second_models import MOST_MODELS, important_features, with_second_models
from stillsafe.model.artifact import parse_estimator
from stillsafe.model.model import ModelKind
from tests.init.services import init_service, people
from tests.init.test_rule_search import COST, LATE, ROWS, SCHEMA
from tests.monitoring.related import classifier

CLASSIFIER, REGRESSOR = ModelKind.CLASSIFIER, ModelKind.REGRESSOR


@pytest.mark.parametrize(
    ("labels", "kind", "default"), [(LATE, CLASSIFIER, "on time"), (COST, REGRESSOR, 110.0)], ids=["classes", "numbers"]
)
def test_there_is_a_model_for_the_damage_of_each_important_feature(
    labels: list[Answer | None], kind: ModelKind, default: Answer
) -> None:
    """It reads every other feature, its file holds trusted types only, and its score is near that of rules."""
    predictions = labels if kind is CLASSIFIER else [float(label) + 4 for label in labels if label is not None]
    sample = SearchSample(SCHEMA, ROWS, labels, kind, predictions)
    rules = search(sample, default, 0)
    proposal, content = with_second_models(rules, sample, default, ["delay", "visits"], 0)
    assert 2 <= len(proposal.models) <= MOST_MODELS
    assert len(parse_estimator(content, Path("x"), kind="skops", trusted=False, trusted_types=())) == len(
        proposal.models
    )
    first = proposal.models[0]
    assert first.without == ("delay",)
    assert set(first.reads) == {*SCHEMA.names} - {"delay"}
    best_rules = max(each.score for each in proposal.lists if "delay" not in each.reads)
    assert first.score is not None
    assert first.score > best_rules - 0.05 * abs(best_rules)
    assert {price.score for price in proposal.prices} >= {each.score for each in proposal.models}


def test_a_sample_without_a_search_has_no_models() -> None:
    """Nothing is trained on too few rows or on labels that are all equal."""
    few = SearchSample(SCHEMA, ROWS[:50], LATE[:50], CLASSIFIER, LATE[:50])
    equal = SearchSample(SCHEMA, ROWS, ["on time"] * len(ROWS), CLASSIFIER, LATE)
    for sample in (few, equal):
        proposal = search(sample, "on time", 0)
        assert with_second_models(proposal, sample, "on time", ["delay"], 0) == (proposal, b"")


def test_init_writes_models_that_the_service_uses(tmp_path: Path) -> None:
    """One file with its hash; damage of the important feature is answered by the model without it, with its kind."""
    random = np.random.default_rng(0)
    table = people(900)[["age", "visits"]]
    table["income"] = table["age"] + random.normal(0, 10, len(table))
    truth = pd.Series(np.where(table["age"] > 50, "yes", "no"))
    model = LogisticRegression(max_iter=1000).fit(table, truth)
    created_service = init_service(model, table.assign(truth=truth), tmp_path, label="truth", fallback_models=True)
    read = settings.load(created_service.folder / "stillsafe.toml")
    assert read.fallback.models
    fallback = service.fallback_of(read)
    fallback = replace(fallback, sources=tuple(each for each in fallback.sources if each.kind == MODEL))
    answers = fallback.answers([{"age": 20.0, "visits": 1, "income": 75.0}], ("age",))
    assert (answers[0].answer, answers[0].kind) == ("yes", "model")
    assert any("second models" in warning for warning in created_service.warnings)
    assert len(read.policy.fallback_prices) == len(read.fallback.lists) + len(read.fallback.models) + 1


def test_the_features_that_cost_most_come_first() -> None:
    """By what their permutation costs; in any order where the impact is unknown."""
    healthy = classifier().baseline
    names = important_features(healthy)
    assert healthy.harm is not None
    losses = [healthy.harm.features[name].permuted for name in names]
    assert losses == sorted(losses, reverse=True)
    assert set(important_features(replace(healthy, harm=None))) == set(healthy.features)
