"""Histories of the made-up service, and a model for it that needs no file."""

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from stillsafe.backtest.history import read_history
from stillsafe.backtest.result import Backtest
from stillsafe.backtest.run import backtest
from stillsafe.backtest.scoring import Judges, Scored
from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.rules import compile_fallback
from stillsafe.settings import Settings
from tests.monitoring.conftest import START, settings

TOWNS = "ABCDE"


def past(count: int, *, seed: int = 5, every_seconds: float | None = None) -> pd.DataFrame:
    """Healthy requests with their truth: `label` is 1 where the size is above 50. Timed where an interval is given."""
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
    """How sure the model is of a row: a function of the row alone."""
    size = row["size"]
    return 0.6 if size is None else 0.85 + 0.1 * math.sin(float(size))


def classify(rows: Sequence[Row]) -> list[Scored]:
    """A model that knows the truth as long as it is told the size; without it, it says 0 to everything."""
    scored = []
    for row in rows:
        answer = 0 if row["size"] is None else int(float(row["size"]) > 50)
        scored.append(Scored(answer, str(answer), confidence(row), None))
    return scored


def healthy(chosen: Settings) -> Baseline:
    """The reference baseline of 4,000 healthy requests."""
    schema = chosen.schema_of_features
    history = read_history(past(4_000, seed=1), schema)
    rows = [
        row
        for values in zip(*history.columns.values(), strict=True)
        if isinstance(row := schema.validate(dict(zip(history.columns, values, strict=True))), dict)
    ]
    scores = classify(rows)
    found = reference_columns(schema, rows, [s.confidence for s in scores], [s.text for s in scores], salt="")
    return reference_baseline(found, schema, model_version="1", at=START)


def judges(folder: Path, *, classes: tuple[Answer, ...] = (0, 1), **sections: dict[str, Any]) -> Judges:
    """All that a history is judged by, sections of the settings changed."""
    chosen = settings(folder, **sections)
    fallback = compile_fallback(chosen.fallback, chosen.schema_of_features)
    return Judges(chosen, healthy(chosen), classify, classes, fallback)


def played(table: pd.DataFrame, by: Judges, *, label: str | None = None, **options: Any) -> Backtest:
    """The backtest of a table."""
    return backtest(read_history(table, by.settings.schema_of_features, label), by, **options)


def broken(table: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    """The same table, the size lost in some rows."""
    table.loc[first : last - 1, "size"] = math.nan
    return table
