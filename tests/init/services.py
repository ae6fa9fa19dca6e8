"""Services that `init` creates from real models, with the files that a person would give it."""

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
from stillsafe.init.create import CreatedService, ServiceRequest, create_service
from stillsafe.model.load import load_model
from stillsafe.progress import no_progress
from tests.stores import with_store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def save_model(estimator: Any, folder: Path, form: str = "skops") -> Path:
    """Save a model file."""
    path = folder / f"given.{form}"
    io.dump(estimator, path) if form == "skops" else joblib.dump(estimator, path)
    return path


def write_sample(table: pd.DataFrame, folder: Path, form: str = "parquet") -> Path:
    """Write a sample file."""
    path = folder / f"sample.{form}"
    table.to_csv(path, index=False) if form == "csv" else table.to_parquet(path)
    return path


def run_init(model: Path, sample: Path, out: Path, **options: Any) -> CreatedService:
    """Run `init` with its default options."""
    progress = options.pop("progress", no_progress)
    arguments: dict[str, Any] = {"now": NOW, "salt": "pinch"} | options
    return create_service(ServiceRequest(model, sample, out, **arguments), progress)


def init_service(
    estimator: Any, table: pd.DataFrame, folder: Path, *, form: str = "parquet", **options: Any
) -> CreatedService:
    """Save a model, write a sample, and run `init` on them."""
    model = save_model(estimator, folder, "joblib" if options.get("trust_joblib") else "skops")
    return run_init(model, write_sample(table, folder, form), folder / "out", **options)


def predictions_of(folder: Path, *rows: Row) -> list[dict[str, Any]]:
    """The service's responses to some rows, after its settings and its model have loaded."""
    service_settings = settings.load(with_store(folder) / "stillsafe.toml")
    load_model(service_settings)
    with TestClient(service.create_app(service_settings)) as client:
        return [client.post("/v1/predict", json={"features": row}).json() for row in rows]


def people(count: int = 240) -> pd.DataFrame:
    """A table with every kind of column, and a label that two of them explain."""
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
    """The first row as a request carries it."""
    return {str(name): None if pd.isna(value) else value for name, value in table.iloc[0].items()}


SERVICE_FILES = {"stillsafe.toml", "model.skops", "reference.json", "fallback_rules.toml"}
"""The files of a new service with rule lists."""
FEATURES = ["age", "visits", "member", "town"]
PERSON: Row = {"age": 30.0, "visits": 3, "member": True, "town": "Ulm"}


def folder_of(out: Path) -> set[str]:
    """The file names in a folder."""
    return {path.name for path in out.iterdir()}
