"""Real models, saved and given to `init` as a person would."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from skops import io
from starlette.testclient import TestClient

from stillsafe import service, settings
from stillsafe.core.schema import Row
from stillsafe.init.create import Created, create_service
from stillsafe.model.model import load

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def saved(estimator: Any, folder: Path, form: str = "skops") -> Path:
    """A model file."""
    path = folder / f"given.{form}"
    io.dump(estimator, path) if form == "skops" else joblib.dump(estimator, path)
    return path


def written(table: pd.DataFrame, folder: Path, form: str = "parquet") -> Path:
    """A sample file."""
    path = folder / f"sample.{form}"
    table.to_csv(path, index=False) if form == "csv" else table.to_parquet(path)
    return path


def make(model: Path, sample: Path, out: Path, **options: Any) -> Created:
    """`init` with its defaults."""
    given: dict[str, Any] = {"label": None, "name": None, "version": None, "trust_joblib": False, "force": False}
    given |= {"now": NOW, "salt": "pinch", "progress": lambda _message: None}
    return create_service(model, sample, out=out, **(given | options))


def made(estimator: Any, table: pd.DataFrame, folder: Path, *, form: str = "parquet", **options: Any) -> Created:
    """Save, write, init."""
    model = saved(estimator, folder, "joblib" if options.get("trust_joblib") else "skops")
    return make(model, written(table, folder, form), folder / "out", **options)


def served(folder: Path, *rows: Row) -> list[dict[str, Any]]:
    """What the service answers, after its settings and its model have loaded."""
    chosen = settings.load(folder / "stillsafe.toml")
    load(chosen)
    with TestClient(service.create_app(chosen)) as client:
        return [client.post("/v1/predict", json={"features": row}).json() for row in rows]


def people(count: int = 240) -> pd.DataFrame:
    """Every kind of column, with the answer and what explains it."""
    random = np.random.default_rng(7)
    table = pd.DataFrame(
        {
            "age": random.uniform(18, 90, count).round(3),
            "visits": random.integers(0, 10, count),
            "member": random.random(count) < 0.5,
            "town": random.choice(["Ulm", "Bonn", "Kiel"], count),
        }
    )
    return table.assign(stays=np.where(table["age"] + 3 * table["visits"] > 65, "yes", "no"))


def row_of(table: pd.DataFrame) -> Row:
    """The first row as a request brings it."""
    return {str(name): None if pd.isna(value) else value for name, value in table.iloc[0].items()}


FEATURES = ["age", "visits", "member", "town"]
PERSON: Row = {"age": 30.0, "visits": 3, "member": True, "town": "Ulm"}


def folder_of(out: Path) -> set[str]:
    """The names in a folder."""
    return {path.name for path in out.iterdir()}
