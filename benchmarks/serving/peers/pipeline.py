"""What the peers share: the model, and rows as it takes them. Run by the interpreters of their environments."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skops import io

FOLDER = Path(os.environ["BENCHMARK_FOLDER"])
COLUMNS: dict[str, bool] = json.loads((FOLDER / "columns.json").read_text(encoding="utf-8"))
"""Name -> is it a number."""
_TYPES: dict[str, Any] = {name: np.float64 if number else object for name, number in COLUMNS.items()}
_FILE = FOLDER / "model.skops"


def load() -> Any:
    """The fitted pipeline. Trusting whatever is in the file is fine for one that was written a minute ago."""
    return io.load(_FILE, trusted=io.get_untrusted_types(file=_FILE))


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as the pipeline was fitted on them: float64 and objects, NaN for what is missing."""
    return pd.DataFrame({name: np.array(_column(rows, name), dtype=kind) for name, kind in _TYPES.items()})


def _column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [np.nan if (value := row.get(name)) is None else value for row in rows]


def answers(model: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per row the class, and the probability of the likelier one."""
    chances = model.predict_proba(frame(rows))
    return [{"prediction": int(row.argmax()), "confidence": float(row.max())} for row in chances]
