"""A service for tests: a real model saved with skops, a real SQLite file, and settings made by hand."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skops import io
from sqlalchemy import Engine, delete, insert, select

from stillsafe.core.baseline import Baseline, BaselineSource
from stillsafe.core.state import State
from stillsafe.identifiers import new_ids
from stillsafe.model.load import load_model
from stillsafe.model.model import Model
from stillsafe.rules import compile_fallback
from stillsafe.serving.predict import Context
from stillsafe.settings import Settings, parse
from stillsafe.store import database
from stillsafe.store.tables import prediction_logs, refusals, system_state
from stillsafe.store.write.baselines import insert_baseline, mark_active

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FEATURES: list[dict[str, Any]] = [
    {"name": "age", "type": "numeric", "minimum": 0, "maximum": 120},
    {"name": "visits", "type": "integer", "minimum": 0, "maximum": 10_000},
    {"name": "member", "type": "boolean"},
    {"name": "town", "type": "category", "required": False, "max_length": 50},
]
GOOD: dict[str, Any] = {"age": 30, "visits": 3, "member": True, "town": "Ulm"}
OLD: dict[str, Any] = {"age": 70, "visits": 9, "member": True, "town": "Bonn"}


def sample(count: int = 300) -> pd.DataFrame:
    """Healthy inputs."""
    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "age": random.uniform(18, 90, count),
            "visits": random.integers(0, 10, count),
            "member": random.random(count) < 0.5,
            "town": pd.Series(random.choice(["Ulm", "Bonn", "Kiel"], count), dtype=object),
        }
    )


def pipeline(last: Any, *, unknown: str = "ignore") -> Any:
    """An ordinary pipeline around a last step."""
    towns = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown=unknown))
    columns = make_column_transformer((StandardScaler(), ["age", "visits", "member"]), (towns, ["town"]))
    return make_pipeline(columns, last)


def fitted_pipeline(last: Any | None = None, *, unknown: str = "ignore") -> Any:
    """That pipeline, fitted: will somebody of this age stay?"""
    healthy = sample()
    answers = np.where(healthy["age"] + 3 * healthy["visits"] > 65, "yes", "no")
    return pipeline(LogisticRegression() if last is None else last, unknown=unknown).fit(healthy, answers)


def document(model: Path, /, **sections: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model file; sections are merged over them."""
    base: dict[str, Any] = {
        "service": {"name": "stay", "database": f"sqlite:///{model.parent}/stillsafe.db"},
        # A busy machine may take seconds for a model's first call: only tests of the time limit have a short one.
        "model": {"file": model.name, "sha256": sha256(model.read_bytes()).hexdigest(), "version": "v1", "timeout": 60},
        "fallback": {"default": "no", "rules": [{"when": "age > 60.0", "answer": "yes"}]},
        "features": FEATURES,
    }
    return base | {name: {**base.get(name, {}), **section} for name, section in sections.items()}


def settings_of(model: Path, /, **sections: dict[str, Any]) -> Settings:
    """The same, checked."""
    return parse(document(model, **sections), folder=model.parent)


def save_model(estimator: Any, folder: Path) -> Path:
    """A skops file."""
    io.dump(estimator, folder / "model.skops")
    return folder / "model.skops"


@dataclass
class Clock:
    """A clock that tests move."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """The time."""
        return self.now


@dataclass
class Service:
    """A context with its clock, and what its store holds."""

    context: Context
    clock: Clock = field(default_factory=Clock)

    @property
    def engine(self) -> Engine:
        """The store."""
        return self.context.engine

    def with_estimator(self, estimator: Any) -> "Service":
        """The same service around another estimator."""
        return Service(fresh(self.context, model=replace(self.context.model, estimator=estimator)), self.clock)

    def with_settings(self, **sections: dict[str, Any]) -> "Service":
        """The same service with sections of its settings changed."""
        settings = self.context.settings
        folder = settings.folder
        changes = parse(document(folder / settings.model.file, **sections), folder=folder)
        rules = compile_fallback(changes.fallback, changes.schema_of_features)
        model = replace(self.context.model, features=changes.schema_of_features)
        return Service(fresh(self.context, settings=changes, fallback=rules, model=model), self.clock)

    def decide(
        self, state: State, *, reason: str = "because", valid_for: float = 1200, damaged_features: tuple[str, ...] = ()
    ) -> None:
        """Write the state that applies from now on."""
        values = {
            "id": 1,
            "current_state": state.value,
            "last_updated": self.clock.now,
            "reason": reason,
            "severity": "NORMAL",
            "checked_at": self.clock.now,
            "valid_until": self.clock.now + timedelta(seconds=valid_for),
            "damaged_features": list(damaged_features),
        }
        with database.writing(self.engine) as connection:
            connection.execute(delete(system_state))
            connection.execute(insert(system_state).values(values))

    def watch(self) -> Baseline:
        """Give the served version an active baseline."""
        baseline = Baseline("b1", "v1", self.clock.now, BaselineSource.REFERENCE, 300, 300, 0.9, 0.1, 0.7, 0.1)
        with database.writing(self.engine) as connection:
            insert_baseline(connection, baseline)
            mark_active(connection, baseline)
        return baseline

    def log(self) -> list[Any]:
        """Every row of the prediction log."""
        with database.reading(self.engine) as connection:
            return list(connection.execute(select(prediction_logs).order_by(prediction_logs.c.id)))

    def refusals(self) -> list[Any]:
        """Every row of the refusals."""
        with database.reading(self.engine) as connection:
            return list(connection.execute(select(refusals).order_by(refusals.c.id)))

    def close_store(self) -> None:
        """Rename the log's tables, so that no request can be recorded."""
        with database.writing(self.engine) as connection:
            connection.exec_driver_sql("ALTER TABLE prediction_logs RENAME TO gone")
            connection.exec_driver_sql("ALTER TABLE refusals RENAME TO gone_too")


def fresh(context: Context, **changes: Any) -> Context:
    """A copy with a deadline and a write lock of its own."""
    fields = ("settings", "engine", "model", "fallback", "clock", "new_ids", "tracer")
    return Context(**{name: changes.get(name, getattr(context, name)) for name in fields})


def opened(folder: Path, model: Model | None = None, **sections: dict[str, Any]) -> Iterator[Service]:
    """A service on the model file in a folder, closed afterwards."""
    settings = settings_of(folder / "model.skops", **sections)
    engine = database.connect(settings.database_url)
    database.upgrade(engine)
    clock = Clock()
    rules = compile_fallback(settings.fallback, settings.schema_of_features)
    yield Service(Context(settings, engine, model or load_model(settings), rules, clock, new_ids), clock)
    engine.dispose()
