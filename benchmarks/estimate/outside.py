"""NannyML's estimated performance. Run by the interpreter of its environment: it imports nothing from here.

Reads `sample.parquet`, `served.parquet` and `task.json` in the folder given, writes `estimates.json`: the estimated
accuracy, or mean absolute error, of each run.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # NannyML reports every use to its makers otherwise
pd.set_option("future.infer_string", False)  # texts as objects, which is what NannyML expects


def main(folder: Path) -> None:
    """All runs of one case, each of them a chunk."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    sample, served_rows = _read(folder / "sample.parquet"), _read(folder / "served.parquet")
    estimates = _estimates(sample, served_rows.drop(columns="__label"), task)
    (folder / "estimates.json").write_text(json.dumps(estimates), encoding="utf-8")


def _read(file: Path) -> pd.DataFrame:
    """Texts as objects, which is what the package expects."""
    table = pd.read_parquet(file)
    return table.astype({name: object for name in table if not pd.api.types.is_numeric_dtype(table[name])})


def _estimates(sample: pd.DataFrame, served_rows: pd.DataFrame, task: dict[str, Any]) -> list[float]:
    """Confidence-based performance estimation of a classifier, or direct loss estimation of a regressor."""
    nannyml = import_module("nannyml")
    if task["task"] == "regression":
        metric, names = "mae", task["features"]
        estimator: Any = nannyml.DLE(
            feature_column_names=names, y_pred="__answer", y_true="__label", metrics=[metric], chunk_size=task["rows"]
        )
    else:
        metric, classes, is_binary = "accuracy", task["classes"], task["task"] == "binary"
        chances = [f"__chance {number}" for number in range(len(classes))]
        if is_binary:
            numbers = {value: number for number, value in enumerate(classes)}
            sample = sample.assign(__label=sample["__label"].map(numbers), __answer=sample["__answer"].map(numbers))
            served_rows = served_rows.assign(__answer=served_rows["__answer"].map(numbers))
        estimator = nannyml.CBPE(
            y_pred="__answer",
            y_true="__label",
            y_pred_proba=chances[1] if is_binary else dict(zip(classes, chances, strict=True)),
            problem_type="classification_binary" if is_binary else "classification_multiclass",
            metrics=[metric],
            chunk_size=task["rows"],
        )
    frame = estimator.fit(sample).estimate(served_rows).filter(period="analysis").to_df()
    return [float(value) for value in frame[(metric, "value")]]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
