"""Train second models for the fallback, each without some features: boosted trees on the sample.

The owner requests them: they win more than rules and cannot be read. Each is priced on the held-out rows, as lists are.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np

from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import OPEN_TYPES, FeatureType, Row, Schema
from stillsafe.init.rule_pricing import SearchSample
from stillsafe.init.rule_proposal import Proposal, ProposedModel
from stillsafe.init.rule_search import SampleSplit, split_sample
from stillsafe.model.frame import frame
from stillsafe.model.model import ModelKind, one_thread

MOST_MODELS = 16
MOST_SINGLE = 8
"""Features, the most important ones, for whose damage alone there is a model."""
ITERATIONS, MOST_LEAVES = 100, 15


def important_features(reference: Baseline) -> list[str]:
    """The features by what damage to each costs the model, the most important first; in any order where unknown."""
    impacts = {} if reference.harm is None else reference.harm.features
    impacts = {name: each for name, each in impacts.items() if each.view_of is None}
    return sorted(impacts or reference.features, key=lambda name: -impacts[name].permuted if impacts else 0.0)


def with_second_models(
    proposal: Proposal, sample: SearchSample, default: Answer, important_features: Sequence[str], seed: int
) -> tuple[Proposal, bytes]:
    """The proposal with second models, and the content of their file; unchanged and empty where none can be trained.

    Args:
        proposal: has the rule lists, for whose damage there is a model too.
        sample: the sample.
        default: the default answer.
        important_features: the features whose damage costs the model the most, the most important first.
        seed: as in `search`, so that lists and models are measured on the same rows.
    """
    import skops.io

    split = split_sample(sample, default, seed)
    if split is None or (split.targets.values == split.targets.values[0]).all():
        return proposal, b""
    singles = [(name,) for name in important_features[:MOST_SINGLE]]
    damage = dict.fromkeys([*singles, *(each.without for each in proposal.lists if each.without)])
    estimators, models = [], []
    for without in [*damage][:MOST_MODELS]:
        features = _features(sample.schema, without)
        if features.features:
            estimator = _train(features, sample, split, seed)
            answers = _predict(estimator, features, [sample.rows[number] for number in split.held_out])
            estimators.append(estimator)
            models.append(ProposedModel(features.names, without, *split.evaluator.price(answers)))
    content = skops.io.dumps(estimators, compression=ZIP_DEFLATED) if estimators else b""
    return replace(proposal, models=tuple(models), models_digest=hashlib.sha256(content).hexdigest()), content


def _features(schema: Schema, without: Sequence[str]) -> Schema:
    closed_specs = (s for s in schema.features if s.type not in OPEN_TYPES and s.date_format is None)
    specs = (spec for spec in closed_specs if spec.name not in without)
    return Schema(tuple(specs))


def _train(features: Schema, sample: SearchSample, split: SampleSplit, seed: int) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    words = [s.name for s in features.features if s.type in (FeatureType.CATEGORY, FeatureType.BOOLEAN)]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    columns = make_column_transformer((encoder, words), remainder="passthrough")
    is_regressor = sample.kind is ModelKind.REGRESSOR
    kind: Any = HistGradientBoostingRegressor if is_regressor else HistGradientBoostingClassifier
    options = {"loss": "absolute_error"} if is_regressor else {}
    booster = kind(max_iter=ITERATIONS, max_leaf_nodes=MOST_LEAVES, random_state=seed, early_stopping=False, **options)
    truths = (sample.predictions or ()) if sample.labels is None else sample.labels
    table = frame(features, [sample.rows[number] for number in split.training])
    answers = np.array([truths[number] for number in split.training])
    pipeline = make_pipeline(columns, booster)
    with one_thread():
        return pipeline.fit(table, answers, **{f"{pipeline.steps[-1][0]}__sample_weight": split.targets.weights})


def _predict(estimator: Any, features: Schema, rows: Sequence[Row]) -> list[Answer]:
    with one_thread():
        return list(estimator.predict(frame(features, rows)).tolist())
