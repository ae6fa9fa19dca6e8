"""The model, its folder and the requests, the same for every contender: flights, and a realistic pipeline."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skops import io

from benchmarks.detection import data
from benchmarks.detection.data import LABEL, SEED
from stillsafe.init.create import ServiceRequest, create_service

TRAINING_ROWS, SAMPLE_ROWS, REQUEST_ROWS = 16_000, 6_000, 2_000
BATCH = 1_000  # rows of one request to a batch endpoint
Row = dict[str, Any]
Answer = tuple[int, float]
"""The class, and the probability of the likelier one."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A served model and its requests.

    Attributes:
        folder: with `model.skops` and `columns.json` (name -> is it a number) for the peers, and `service`, as `init`
            made it.
        rows: requests in order, None for what is missing; neither model nor sample has seen them.
        answers: scikit-learn's own predictions.
        sample_answers: and of each row of `sample.parquet`, which `init` saw.
    """

    folder: Path
    rows: tuple[Row, ...]
    answers: tuple[Answer, ...]
    sample_answers: tuple[Answer, ...]

    @property
    def service(self) -> Path:
        """The service folder."""
        return self.folder / "service"


def flights() -> pd.DataFrame:
    """The data set that the package ships, in an order of no meaning."""
    return data.load(data.by_name("flights")).sample(frac=1, random_state=SEED).reset_index(drop=True)


def widen(table: pd.DataFrame, features: int) -> pd.DataFrame:
    """The table with so many features: some of its own, or all and then again under other names, shuffled by column.

    Args:
        table: features and `label`.
        features: how many are wanted.
    """
    own = [str(name) for name in table if name != LABEL]
    draw = np.random.default_rng(SEED)
    columns = {
        name if copy == 0 else f"{name}_{copy}": table[name] if copy == 0 else draw.permutation(table[name])
        for copy, name in ((i // len(own), own[i % len(own)]) for i in range(features))
    }
    return data.with_objects(pd.DataFrame({**columns, LABEL: table[LABEL]}))


def make(table: pd.DataFrame, folder: Path, *, sample_rows: int = SAMPLE_ROWS, booster: Any = None) -> Workload:
    """Train the model, let `init` make the service folder, and write down what the peers need.

    Args:
        table: features and `label`, shuffled.
        folder: where all of it goes; made if absent.
        sample_rows: rows that `init` sees.
        booster: another library's classifier in place of scikit-learn's; then there is no file for the peers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training, sample = table[:TRAINING_ROWS], table[TRAINING_ROWS : TRAINING_ROWS + sample_rows]
    requests = table[TRAINING_ROWS + sample_rows :][:REQUEST_ROWS].drop(columns=LABEL)
    model = fit(training, booster)
    file = folder / ("model.skops" if booster is None else "model.joblib")
    io.dump(model, file) if booster is None else joblib.dump(model, file)
    sample.to_parquet(folder / "sample.parquet")
    numbers = {str(name): pd.api.types.is_numeric_dtype(requests[name]) for name in requests}
    (folder / "columns.json").write_text(json.dumps(numbers), encoding="utf-8")
    create_service(
        ServiceRequest(
            file,
            folder / "sample.parquet",
            label=LABEL,
            out=folder / "service",
            name="benchmark",
            version="1",
            now=datetime(2026, 1, 1, tzinfo=UTC),
            salt="benchmark",
            trust_joblib=booster is not None,
        )
    )
    answers, sample_answers = (_answers(model, rows) for rows in (requests, sample.drop(columns=LABEL)))
    return Workload(folder, tuple(rows_of(requests)), answers, sample_answers)


def _answers(model: Any, rows: pd.DataFrame) -> tuple[Answer, ...]:
    chances = model.predict_proba(rows)
    return tuple(zip(chances.argmax(axis=1).tolist(), chances.max(axis=1).tolist(), strict=True))


def fit(training: pd.DataFrame, booster: Any = None) -> Any:
    """Imputers, scaler and one-hot encoder before boosted trees.

    Args:
        training: features and `label`.
        booster: an unfitted classifier; scikit-learn's histogram gradient boosting by default.
    """
    features = training.drop(columns=LABEL)
    words = [str(name) for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    numbers = [str(name) for name in features if name not in words]
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=30, sparse_output=False)
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), encoder), words),
    )
    own_booster = HistGradientBoostingClassifier(max_iter=80, random_state=SEED)
    return make_pipeline(columns, own_booster if booster is None else booster).fit(features, training[LABEL])


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The rows as a client sends them, None for what is missing."""
    plain = table.astype(object)
    return [
        {str(name): value for name, value in row.items()} for row in plain.where(plain.notna(), None).to_dict("records")
    ]


def write_bodies(file: Path, bodies: Sequence[object]) -> None:
    """Requests, one a line, for wrk."""
    part = file.with_suffix(".part")
    part.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), encoding="utf-8")
    os.replace(part, file)
