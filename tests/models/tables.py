"""Tables of five kinds that the estimators are trained on, with labels that the income explains most of."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

NUMBERS = ["income", "age", "visits"]
CITIES = ["Bonn", "Kiel", "Ulm"]
WORDS = ["late payment", "new flat", "moved house", "paid in time", "asked for credit"]
KINDS = ("numbers", "missing", "categories", "texts", "dates")
DAYS = 2_000
"""Days before 2026-04-01 on which somebody may have become a customer."""


def columns_of(kind: str) -> list[str]:
    """The features of a kind of table."""
    return NUMBERS + {"categories": ["city"], "texts": ["note"], "dates": ["customer_since"]}.get(kind, [])


def people(kind: str, count: int, seed: int) -> pd.DataFrame:
    """Rows of a kind: numbers alone, with missing incomes, with a category, with a text, or with a date."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "income": random.normal(50, 10, count).round(1),
            "age": random.normal(45, 12, count).round(1),
            "visits": random.gamma(2, 2, count).round(1),
            "city": random.choice(CITIES, count),
            "note": random.choice(WORDS, count) + pd.Series(" " + random.choice(WORDS, count).astype(object)),
            "customer_since": _dates(random.integers(0, DAYS, count)),
        }
    )
    if kind == "missing":
        table.loc[random.random(count) < 0.1, "income"] = np.nan
    return table[columns_of(kind)]


def _dates(ages: Any) -> list[str]:
    """ISO dates so many days before 2026-04-01."""
    return [(date(2026, 4, 1) - timedelta(days=int(age))).isoformat() for age in ages]


def ages_in_years(table: pd.DataFrame) -> Any:
    """A team's own step before a model: how long ago each date is, in years before 2026-04-01; shape (rows, 1)."""
    return ((pd.Timestamp("2026-04-01") - pd.to_datetime(table["customer_since"])).dt.days / 365.25).to_numpy()[:, None]


def labels_of(table: pd.DataFrame, task: str) -> Any:
    """0 and 1 of a classifier, and positive numbers of a regressor; a detector has none."""
    value = table["income"].fillna(50) + 0.2 * table["age"] + table["visits"]
    noise = np.random.default_rng(9).normal(0, 2, len(table))
    if task == "regressor":
        return (value + noise).clip(1).to_numpy()
    return None if task == "detector" else (value + noise > 63).astype(int).to_numpy()
