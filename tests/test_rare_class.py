"""The story of a rare class: what accuracy cannot see is CRITICAL in the owner's metric, and healthy runs are calm."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from stillsafe.backtest.result import Backtest
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.signals import Reading, Signal
from stillsafe.core.state import Severity
from stillsafe.init.create import CreatedService, ServiceRequest, create_service
from stillsafe.service import backtest

ROWS, HEALTHY_RUNS, RUNS = 1_000, 4, 9
FEATURES = list("abcd")


def traffic(rows: int, seed: int) -> pd.DataFrame:
    """Rows of which about 2% are positive; `a` and `b` tell most, and all features hang together."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(rows, 1))
    values = 0.7 * common + 0.7 * random.normal(size=(rows, 4))
    label = (values @ [1.6, 1.4, 0.4, 0.2] + random.logistic(size=rows) > 6.8).astype(int)
    return pd.DataFrame(values, columns=FEATURES).assign(label=label)


@dataclass(frozen=True)
class RareClassService:
    """A service of a rare class, made by `init`."""

    service: CreatedService
    config: Path


@cache
def rare_class_service() -> RareClassService:
    folder = Path(mkdtemp())
    train = traffic(30_000, 1)
    model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(train[FEATURES], train.label)
    joblib.dump(model, folder / "model.joblib")
    traffic(10_000, 2).to_parquet(folder / "sample.parquet", index=False)
    request = ServiceRequest(
        folder / "model.joblib",
        folder / "sample.parquet",
        folder / "service",
        datetime(2026, 1, 1, tzinfo=UTC),
        "salt",
        label="label",
        trust_joblib=True,
    )
    return RareClassService(create_service(request), folder / "service" / "stillsafe.toml")


def result_of(live: pd.DataFrame) -> Backtest:
    return backtest(rare_class_service().config, live, label="label", rows_per_run=ROWS)


def loss_of(readings: tuple[Reading, ...]) -> Reading:
    return next(reading for reading in readings if reading.signal is Signal.ESTIMATED_METRIC_LOSS)


def with_fault(fault: str) -> pd.DataFrame:
    """Healthy runs, then a fault that leaves the accuracy as it is or nearly so."""
    live = traffic(RUNS * ROWS, 3)
    rows = live.index >= HEALTHY_RUNS * ROWS
    if fault == "missing":
        live.loc[rows, ["a", "b"]] = np.nan
    elif fault == "stuck":
        live.loc[rows, ["a", "b"]] = 3.5
    elif fault == "permuted":
        order = np.random.default_rng(0).permutation(int(rows.sum()))
        live.loc[rows, ["a", "b"]] = live.loc[rows, ["a", "b"]].to_numpy()[order]
    else:
        live.loc[rows, ["a"]] *= 100
    return live


def test_init_proposes_what_the_rare_class_needs() -> None:
    """AUC and recall of the rare class, with the reason, and the fallback that lets every positive pass is named."""
    service = rare_class_service().service
    impact = service.baseline.harm
    assert impact is not None
    assert impact.metric is Metric.AUC
    assert [each.metric for each in impact.also] == [Metric.RECALL]
    assert "accuracy cannot see" in service.metric_reason
    assert any("safe_class" in warning for warning in service.warnings)


def test_healthy_runs_are_calm() -> None:
    """Runs of 20 expected positives give no alarm."""
    result = result_of(traffic(RUNS * ROWS, 4))
    assert {run.severity for run in result.runs} == {Severity.NORMAL}
    assert result.metric is Metric.AUC
    assert result.price is not None
    assert result.price.total_model_score == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize("fault", ["missing", "stuck", "permuted", "units"])
def test_a_fault_that_accuracy_cannot_see_is_critical(fault: str) -> None:
    """Within five runs, with the metric named in the sentence, and never before the fault."""
    result = result_of(with_fault(fault))
    assert all(run.severity is Severity.NORMAL for run in result.runs[:HEALTHY_RUNS])
    assert any(run.severity is Severity.CRITICAL for run in result.runs[HEALTHY_RUNS : HEALTHY_RUNS + 5])
    reading = loss_of(result.runs[-1].readings)
    assert reading.metric in (Metric.AUC, Metric.RECALL)
    critical = next(incident for incident in result.incidents if incident.severity is Severity.CRITICAL)
    assert f"Estimated {Metric(str(reading.metric)).phrase}" in critical.reason
