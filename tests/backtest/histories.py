"""Histories of the synthetic service, and a model for it that needs no file."""

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from stillsafe.backtest.history import read_history
from stillsafe.backtest.result import Backtest
from stillsafe.backtest.run import backtest
from stillsafe.backtest.scoring import BacktestContext
from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.rules import compile_fallback
from stillsafe.settings import Settings
from tests.monitoring.conftest import START, settings

TOWNS = "ABCDE"


def past(count: int, *, seed: int = 5, every_seconds: float | None = None) -> pd.DataFrame:
    """Healthy requests: `label` is 1 if the size is above 50. With a column `timestamp` if an interval is given."""
    random = Random(seed)
    table = pd.DataFrame(
        {
            "size": [random.gauss(50, 10) for _ in range(count)],
            "floor": [random.randint(0, 9) for _ in range(count)],
            "lift": [random.random() < 0.5 for _ in range(count)],
            "town": [random.choice(TOWNS) for _ in range(count)],
        }
    )
    table["label"] = (table["size"] > 50).astype(int)
    if every_seconds is not None:
        table["timestamp"] = [START + pd.Timedelta(seconds=i * every_seconds) for i in range(count)]
    return table


def confidence(row: Row) -> float:
    """The model's confidence: a function of the row alone."""
    size = row["size"]
    return 0.6 if size is None else 0.85 + 0.1 * math.sin(float(size))


def classify(rows: Sequence[Row]) -> list[Score]:
    """A model that predicts every label correctly if the size is present, and 0 if it is missing."""
    scores = []
    for row in rows:
        answer = 0 if row["size"] is None else int(float(row["size"]) > 50)
        scores.append(Score(answer, confidence(row), None, None))
    return scores


def healthy(service_settings: Settings) -> Baseline:
    """The reference baseline of 4,000 healthy requests."""
    schema = service_settings.schema_of_features
    history = read_history(past(4_000, seed=1), schema)
    rows = [
        row
        for values in zip(*history.columns.values(), strict=True)
        if isinstance(row := schema.validate(dict(zip(history.columns, values, strict=True))), dict)
    ]
    scores = classify(rows)
    columns = reference_columns(schema, rows, [s.confidence for s in scores], [s.text for s in scores], salt="")
    return reference_baseline(columns, schema, model_version="1", at=START)


def backtest_context(
    folder: Path, *, classes: tuple[Answer, ...] = (0, 1), **sections: dict[str, Any]
) -> BacktestContext:
    """The synthetic service, with sections of the settings changed."""
    service_settings = settings(folder, **sections)
    fallback = compile_fallback(service_settings.fallback, service_settings.schema_of_features)
    return BacktestContext(service_settings, healthy(service_settings), classify, classes, fallback)


def run_backtest(
    table: pd.DataFrame, context: BacktestContext, *, label: str | None = None, **options: Any
) -> Backtest:
    """Run a backtest over a table."""
    return backtest(read_history(table, context.settings.schema_of_features, label), context, **options)


def without_sizes(table: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    """The same table with the size missing in rows `first` to `last - 1`."""
    table.loc[first : last - 1, "size"] = math.nan
    return table
