"""A table with numbers, missing values and categories, and boosters of each library that were trained on it."""

from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import xgboost

LIGHT: dict[str, Any] = {"n_estimators": 8, "verbose": -1, "n_jobs": 1}
EXTREME: dict[str, Any] = {"n_estimators": 8, "n_jobs": 1}
CAT: dict[str, Any] = {"iterations": 8, "verbose": False, "allow_writing_files": False, "thread_count": 1}
CITIES = ["Bonn", "Kiel", "Ulm"]


def homes(count: int = 300) -> pd.DataFrame:
    """Incomes, some of them missing, ages and cities."""
    random = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "income": random.normal(50, 10, count).round(2),
            "age": random.integers(18, 80, count).astype(np.float64),
            "city": random.choice(CITIES, count),
        }
    )
    table.loc[::17, "income"] = np.nan
    return table


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The columns without categories."""
    return table[["income", "age"]]


def categorical(table: pd.DataFrame) -> pd.DataFrame:
    """The table as pandas has categories."""
    return table.assign(city=pd.Categorical(table["city"], categories=CITIES))


def binary(table: pd.DataFrame) -> Any:
    """Labels 0 and 1."""
    return (table["income"].fillna(40).gt(50) | table["city"].eq("Ulm")).astype(int).to_numpy()


def three(table: pd.DataFrame) -> Any:
    """Labels 0, 1 and 2."""
    return (table["age"] // 27).astype(int).to_numpy()


def amounts(table: pd.DataFrame) -> Any:
    """Labels of a regressor, all positive."""
    return (table["income"].fillna(40) * 2 + table["age"]).to_numpy()


def texts(labels: Any) -> Any:
    """Labels 0 and 1 as texts."""
    return np.where(labels == 1, "yes", "no")


def light(**parameters: Any) -> Any:
    """An unfitted classifier of LightGBM."""
    return lightgbm.LGBMClassifier(**(LIGHT | parameters))


def extreme(**parameters: Any) -> Any:
    """An unfitted classifier of XGBoost."""
    return xgboost.XGBClassifier(**(EXTREME | parameters))


def cat(**parameters: Any) -> Any:
    """An unfitted classifier of CatBoost."""
    return catboost.CatBoostClassifier(**(CAT | parameters))
