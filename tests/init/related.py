"""A small service with related features, made as `init` makes one, and windows drawn from the same world."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import Decision, decide
from stillsafe.core.policy import Policy
from stillsafe.core.state import Memory
from stillsafe.core.window import Window
from stillsafe.init import infer, weigh
from stillsafe.monitoring import baseline
from stillsafe.monitoring.summarize import Columns, tally
from stillsafe.serving.model import ConfidenceMethod, ConfidenceScale, Model, ModelKind, scale_from
from stillsafe.serving.model_input import frame

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
FEATURES = ("income", "rent", "age", "noise", "region")
Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


def people(count: int, seed: int) -> pd.DataFrame:
    """Income drives rent and the answer; age goes with both; noise with nothing; the region shifts the rent."""
    draw = np.random.default_rng(seed)
    income = draw.normal(50, 10, count)
    region = draw.choice(["north", "south", "west"], count, p=[0.5, 0.3, 0.2])
    dearer = pd.Series(region).map({"north": 0.0, "south": 4.0, "west": 8.0}).to_numpy()
    rent = 0.4 * income + dearer + draw.normal(0, 2, count)
    age = 20 + 0.5 * income + draw.normal(0, 6, count)
    late = (income + 0.1 * dearer + draw.normal(0, 4, count) < 48).astype(int)
    table = pd.DataFrame({"income": income, "rent": rent, "age": age, "noise": draw.normal(0, 1, count)})
    return table.assign(region=region, late=late, owed=3 * income + draw.normal(0, 5, count))


@dataclass(frozen=True, slots=True)
class Related:
    """A model, what was learnt about it, and the truth."""

    model: Model
    baseline: Baseline
    target: str

    def columns(self, table: pd.DataFrame) -> Columns:
        """Rows as the log would hold them, scored by the model."""
        rows = infer.rows_of(table[list(FEATURES)], self.model.features)
        scores = self.model.score(rows)
        confidences, answers = [s.confidence for s in scores], [s.text for s in scores]
        return baseline.reference_columns(self.model.features, rows, confidences, answers, salt="salt")

    def judge(self, table: pd.DataFrame, *, of: Baseline | None = None) -> Decision:
        """One run over a table."""
        healthy = of or self.baseline
        counted = tally(self.columns(table), healthy, 0)
        window = Window(NOW, NOW + timedelta(minutes=10), "1", counted, counted, silent_seconds=0.0)
        return decide(Policy(), healthy, window, Memory())

    def loss(self, table: pd.DataFrame) -> float:
        """What the model truly loses on a table against healthy rows: accuracy, or the share its error grew by."""
        usual, now = self._error(people(4_000, 99)), self._error(table)
        return now - usual if self.model.kind is ModelKind.CLASSIFIER else (now - usual) / usual

    def _error(self, table: pd.DataFrame) -> float:
        scores = self.model.score(infer.rows_of(table[list(FEATURES)], self.model.features))
        answers = np.array([s.prediction for s in scores], dtype=float)
        truth = table[self.target].to_numpy(dtype=float)
        wrong = answers != truth if self.model.kind is ModelKind.CLASSIFIER else np.abs(answers - truth)
        return float(np.mean(wrong))


def service(kind: ModelKind, *, labelled: bool = True) -> Related:
    """A classifier or a regressor that leans on income above all, with a baseline of 3,000 healthy rows."""
    numbers = ["income", "rent", "age", "noise"]
    training, sample = people(4_000, 1), people(3_000, 2)
    schema = infer.describe(sample[list(FEATURES)]).schema
    target = "late" if kind is ModelKind.CLASSIFIER else "owed"
    estimator: Any = (
        make_pipeline(_Numbers(numbers), StandardScaler(), LogisticRegression())
        if kind is ModelKind.CLASSIFIER
        else make_pipeline(_Numbers(numbers), HistGradientBoostingRegressor(max_iter=40, random_state=0))
    )
    estimator.fit(training[list(FEATURES)], training[target])
    rows = infer.rows_of(sample[list(FEATURES)], schema)
    classes = (0, 1) if kind is ModelKind.CLASSIFIER else ()
    scale = (
        ConfidenceScale(ConfidenceMethod.CLASS_PROBABILITY)
        if kind is ModelKind.CLASSIFIER
        else scale_from(estimator, frame(schema, rows))
    )
    model = Model("1", kind, classes, schema, estimator, scale)
    bare = Related(model, _NO_BASELINE, target)
    found = bare.columns(sample)
    made = baseline.reference_baseline(found, schema, model_version="1", at=NOW)
    truth = sample[target].tolist() if labelled else None
    harm = weigh.weigh(model, rows, model.score(rows), truth, found, made, lambda _done: None)
    return replace(bare, baseline=replace(made, harm=harm))


class _Numbers:
    """The numeric columns, imputed by their means: a step of a pipeline."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def fit(self, table: pd.DataFrame, _target: object = None) -> "_Numbers":
        """Learn the means."""
        self.means_ = table[self.names].mean()
        return self

    def transform(self, table: pd.DataFrame) -> Any:
        """The numbers, none of them missing."""
        return table[self.names].fillna(self.means_).to_numpy()


_NO_BASELINE: Any = None
