"""The life of one served model: `init`, answers, a broken feature, and recovery."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from skops import io
from starlette.testclient import TestClient

from stillsafe import service
from stillsafe.core.schema import FeatureType, Row
from stillsafe.settings import Settings
from tests.init.services import run_init
from tests.models.catalog import Entry
from tests.models.tables import columns_of, labels_of, people
from tests.stores import with_store

EVERY = timedelta(minutes=10)
BATCH = 80
MOST_RUNS = 14
ROUNDING = 1e-9
BROKEN_INCOME = 98.0


@dataclass(frozen=True, slots=True)
class Case:
    """An estimator, the kind of table that it is trained on, and the format of the file that `init` gets."""

    entry: Entry
    kind: str
    form: str

    def __str__(self) -> str:
        return f"{self.entry.name}-{self.kind}-{self.form}"

    @property
    def stored_formats(self) -> tuple[str, ...]:
        """The formats in which `init` may store it."""
        if self.form != "joblib" or self.kind == "dates":
            return (self.form,)
        if self.entry.format in BOOSTER_FORMATS:  # a pipeline around a booster is skops
            return (self.entry.format if self.entry.takes(self.kind) else "skops",)
        return ("skops",)


BOOSTER_FORMATS = ("lightgbm", "xgboost", "catboost")


class Clock:
    """Simulated time."""

    now = datetime(2026, 4, 1, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Now."""
        return self.now


def live(case: Case, folder: Path) -> None:
    """Initialise the case's model, compare its answers with the library's own, break a feature and mend it."""
    estimator, table = _train(case)
    settings = _initialise(case, estimator, folder)
    clock = Clock()
    with TestClient(service.create_app(settings, clock=clock)) as client:
        _compare(client, estimator, case, table)
        assert _run(client, settings, clock, case, is_broken=False) == "NORMAL"
        states = [_run(client, settings, clock, case, is_broken=True) for _ in range(MOST_RUNS)]
        assert "DEGRADED" in states, states
        states = [_run(client, settings, clock, case, is_broken=False) for _ in range(MOST_RUNS)]
        assert states[-1] == "NORMAL", states


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The table's rows as requests carry them."""
    rows = table.astype(object).to_dict("records")
    return [{str(name): None if pd.isna(value) else value for name, value in row.items()} for row in rows]


def _train(case: Case) -> tuple[Any, pd.DataFrame]:
    """The fitted estimator, and 60 rows in the form that it was trained with."""
    table = _training_form(case, people(case.kind, 500, seed=1))
    labels = labels_of(table, case.entry.task)
    estimator = case.entry.estimator(case.kind)
    estimator = estimator.fit(table) if labels is None else estimator.fit(table, labels)
    return estimator, _training_form(case, people(case.kind, 60, seed=2))


def _training_form(case: Case, table: pd.DataFrame) -> pd.DataFrame:
    """The table as the estimator takes it: LightGBM and XGBoost take the dtype `category`."""
    is_raw = case.kind == "categories" and case.entry.library in ("lightgbm", "xgboost")
    return table.astype({"city": "category"}) if is_raw else table


def _initialise(case: Case, estimator: Any, folder: Path) -> Settings:
    """The settings of the service that `init` made of the estimator's file."""
    sample = people(case.kind, 600, seed=3)
    labels = labels_of(sample, case.entry.task)
    if labels is not None:
        sample = sample.assign(label=labels)
    sample.to_csv(folder / "sample.csv", index=False)
    file = _save(case, estimator, folder)
    label = None if labels is None else "label"
    run_init(file, folder / "sample.csv", folder / "out", label=label, trust_joblib=case.form == "joblib")
    config = with_store(folder / "out") / "stillsafe.toml"
    # A default answer can be as good as a model with a broken feature, which would then go on answering.
    config.write_text(config.read_text().replace('bypass = "when_it_pays"', 'bypass = "always"'))
    settings = service.settings_of(config)
    assert settings.model.format in case.stored_formats
    if case.kind == "dates":
        assert settings.schema_of_features.features[-1].type is FeatureType.DATE
    return settings


def _save(case: Case, estimator: Any, folder: Path) -> Path:
    """The estimator's file."""
    if case.form == "joblib":
        joblib.dump(estimator, folder / "model.joblib")
        return folder / "model.joblib"
    if case.form == "skops":
        io.dump(estimator, folder / "model.skops")
        return folder / "model.skops"
    file = folder / f"model.{ {'lightgbm': 'txt', 'xgboost': 'json', 'catboost': 'cbm'}[case.form] }"
    (estimator.booster_ if case.form == "lightgbm" else estimator).save_model(str(file))
    return file


def _compare(client: TestClient, estimator: Any, case: Case, table: pd.DataFrame) -> None:
    """The answers, one by one and in a batch, are those of the library's own call on the same rows."""
    rows = rows_of(people(case.kind, 60, seed=2))
    batch = client.post("/v1/predict/batch", json={"instances": rows}).json()["results"]
    single = [client.post("/v1/predict", json={"features": row}).json() for row in rows[:10]]
    compiled = client.get("/v1/model").json()["compiled"]
    # The last bits of a sum may depend on the number of rows, so the library answers in the same batches.
    for answers, tables in ((batch, [table]), (single, [table[i : i + 1] for i in range(10)])):
        assert {answer["decided_by"] for answer in answers} == {"model"}, answers[0]
        predictions = np.concatenate([np.asarray(estimator.predict(each)).ravel() for each in tables]).tolist()
        _assert_equal([answer["prediction"] for answer in answers], predictions, compiled=compiled)
        if hasattr(estimator, "predict_proba"):
            probabilities = np.concatenate([estimator.predict_proba(each).astype(float) for each in tables])
            _assert_equal(
                [list(answer["probabilities"].values()) for answer in answers], probabilities, compiled=compiled
            )


def _assert_equal(numbers: Sequence[Any], own_numbers: Any, *, compiled: bool) -> None:
    """Bit for bit where the library answers the same batch, else within rounding."""
    tolerance = ROUNDING if compiled else 0.0
    assert np.allclose(np.asarray(numbers, float), np.asarray(own_numbers, float), tolerance, tolerance)


def _run(client: TestClient, settings: Settings, clock: Clock, case: Case, *, is_broken: bool) -> str:
    """Ten minutes of traffic, and one run of the monitor; the state after it."""
    table = people(case.kind, BATCH, seed=int(clock.now.timestamp()))
    rows = [{**row, "income": BROKEN_INCOME} if is_broken else row for row in rows_of(table[columns_of(case.kind)])]
    answer = client.post("/v1/predict/batch", json={"instances": rows})
    assert answer.status_code == 200, answer.text
    clock.now += EVERY
    service.monitor(settings, now=clock.now)
    return str(client.get("/v1/state").json()["state"])
