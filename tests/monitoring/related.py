"""A simulated service whose features belong together, made through the same parts as a real one.

Machines: their load drives their heat, and the heat their vibration, which is not always measured; the humidity
depends on the site, and the tint of a sensor on the humidity. The model leans on load and humidity and on nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.policy import Policy
from stillsafe.core.readings import read_signals
from stillsafe.core.schema import Row, Schema
from stillsafe.core.score import Score
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.window import Tally
from stillsafe.init import impact_study, infer
from stillsafe.model.confidence import scale_from
from stillsafe.model.frame import frame
from stillsafe.model.model import Model, ModelKind
from stillsafe.monitoring import baseline as baselines
from stillsafe.monitoring.columns import Columns
from stillsafe.monitoring.noise import with_impact
from stillsafe.monitoring.tally import tally
from tests.core.healthy import START, a_window

POLICY = Policy()
LEANT_ON = ("load", "humidity")
NUMBERS = ("load", "heat", "vibration", "humidity", "tint", "chatter")
FEATURES = (*NUMBERS, "site")
SITES = ("coast", "hall", "mine", "roof")


def machines(count: int, seed: int, heavier: float = 0.0) -> pd.DataFrame:
    """The features, and the truth: whether a machine `fails`, and how much it has `worn`.

    Args:
        count: rows.
        seed: of all chance.
        heavier: by how much the load grows from site to site; at 0 the two groups have nothing to do with one another.
    """
    draw = np.random.default_rng(seed)
    site = draw.choice(len(SITES), count, p=[0.4, 0.3, 0.2, 0.1])
    load = draw.gamma(9.0, 5.0, count) + heavier * site
    heat = 0.8 * load + draw.normal(0, 4, count)
    vibration = 0.5 * heat + draw.normal(0, 3, count)
    vibration[draw.random(count) < 0.03] = np.nan
    humidity = 30 + 12.0 * site + draw.normal(0, 6, count)
    tint = 2 * humidity + draw.normal(0, 12, count)
    strain = (load - 45) / 15 + (humidity - 42) / 14
    columns = [load, heat, vibration, humidity, tint, draw.normal(0, 1, count)]
    table = pd.DataFrame(dict(zip(NUMBERS, columns, strict=True)))
    fails = strain + draw.normal(0, 0.5, count) > 0
    wear = 100 + 20 * strain + draw.normal(0, 4, count)
    return table.assign(site=np.array(SITES)[site], fails=np.where(fails, "yes", "no"), worn=wear)


def permute(table: pd.DataFrame, *names: str, share: float = 1.0) -> pd.DataFrame:
    """Some columns on the wrong rows, all of them on the same wrong ones, on a share of the rows from the first on."""
    order = np.arange(len(table))
    spoilt = round(share * len(table))
    order[:spoilt] = np.random.default_rng(len(table)).permutation(spoilt)
    return table.assign(**{name: table[name].to_numpy()[order] for name in names})


@dataclass(frozen=True, slots=True)
class Service:
    """A model, its healthy baseline, and the truth about both.

    Attributes:
        truth: the column that the model answers.
    """

    model: Model
    baseline: Baseline
    truth: str

    @property
    def schema(self) -> Schema:
        """Of the features."""
        return self.model.features

    def rows(self, table: pd.DataFrame) -> list[Row]:
        """As requests would bring them."""
        return infer.rows_of(table, self.schema)

    def columns(self, table: pd.DataFrame) -> Columns:
        """As the log would hold them, scored by the model."""
        rows = self.rows(table)
        return columns_of(self.schema, rows, self.model.score(rows))

    def tally(self, table: pd.DataFrame) -> Tally:
        """Counted against the baseline."""
        return tally(self.columns(table), self.baseline, 0)

    def read(self, table: pd.DataFrame) -> dict[str, Reading]:
        """Every reading of one window, by key."""
        return by_key(self.baseline, self.tally(table))

    def loss(self, table: pd.DataFrame, healthy: pd.DataFrame) -> float:
        """The true loss: accuracy, or the share by which the mean absolute error has grown."""
        healthy_error, now = self._error(healthy), self._error(table)
        return (now - healthy_error) / (healthy_error if self.model.kind is ModelKind.REGRESSOR else 1.0)

    def _error(self, table: pd.DataFrame) -> float:
        answers = self.model.estimator.predict(frame(self.schema, self.rows(table)))
        if self.model.kind is ModelKind.REGRESSOR:
            return float(np.abs(answers - table[self.truth].to_numpy()).mean())
        return float((answers != table[self.truth].to_numpy()).mean())


def columns_of(schema: Schema, rows: Sequence[Row], scores: Sequence[Score]) -> Columns:
    """Scored rows as the log would hold them."""
    return baselines.reference_columns(schema, rows, [s.confidence for s in scores], [s.text for s in scores], salt="s")


def by_key(healthy: Baseline, fresh: Tally) -> dict[str, Reading]:
    """The readings of a window."""
    return {reading.key: reading for reading in read_signals(POLICY, healthy, a_window(fresh, silent_seconds=0.0))}


def unusual(readings: Mapping[str, Reading]) -> set[str]:
    """The keys of readings that deviate, or that are a change without an alarm."""
    return bad(readings) | {key for key, reading in readings.items() if reading.is_change}


def bad(readings: Mapping[str, Reading]) -> set[str]:
    """The keys that deviate."""
    return {key for key, reading in readings.items() if reading.evidence is Evidence.BAD}


def model_of(
    estimator: Any, kind: ModelKind, schema: Schema, classes: tuple[Answer, ...], rows: Sequence[Row]
) -> Model:
    """A fitted estimator as the service would hold it."""
    return Model("1", kind, classes, schema, estimator, scale_from(estimator, frame(schema, rows)))


def fit_model(kind: ModelKind, truth: str, heavier: float = 0.0) -> Any:
    """A small real model of machines."""
    learner: Any = LogisticRegression() if kind is ModelKind.CLASSIFIER else LinearRegression()
    preprocessing = ColumnTransformer([("leant_on", make_pipeline(SimpleImputer(), StandardScaler()), list(LEANT_ON))])
    training = machines(2_000, 1, heavier)
    return make_pipeline(preprocessing, learner).fit(training[list(FEATURES)], training[truth])


@cache
def service(kind: ModelKind, *, with_labels: bool = True, count: int = 3_000, heavier: float = 0.0) -> Service:
    """Watched from a reference sample of `count` healthy rows, which is no part of the training."""
    truth = "fails" if kind is ModelKind.CLASSIFIER else "worn"
    classes: tuple[Answer, ...] = ("no", "yes") if kind is ModelKind.CLASSIFIER else ()
    sample = machines(count, 2, heavier)
    schema = infer.describe(sample[list(FEATURES)]).schema
    rows = infer.rows_of(sample, schema)
    model = model_of(fit_model(kind, truth, heavier), kind, schema, classes, rows)
    scores = model.score(rows)
    columns = columns_of(schema, rows, scores)
    healthy = baselines.reference_baseline(columns, schema, model_version="1", at=START)
    answers = sample[truth].tolist() if with_labels else None
    harm = impact_study.study_impact(
        model, impact_study.ScoredSample(rows, scores, answers, columns), healthy, (), lambda _activity, _share: None
    )
    return Service(model, with_impact(columns, healthy, harm), truth)


def classifier() -> Service:
    """Answers whether a machine fails."""
    return service(ModelKind.CLASSIFIER)


def regressor() -> Service:
    """Answers how much a machine has worn."""
    return service(ModelKind.REGRESSOR)
