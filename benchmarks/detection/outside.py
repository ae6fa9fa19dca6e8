"""Peers that are packages of their own. Run by the interpreter of their environment: it imports nothing from here.

Reads `sample.parquet`, `served.parquet` and `task.json` in the folder given, writes `deviations.json`:
peer -> stream -> run -> whether it deviates.
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

ROWS = 500


def main(folder: Path) -> None:
    """All peers on all streams of one case."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    sample, served_rows = _read(folder / "sample.parquet"), _read(folder / "served.parquet")
    deviations = {"adwin": _adwin(sample, served_rows, task["lengths"])}
    for name, peer in (("pca", _pca), ("cbpe", _performance)):
        try:
            deviations[name] = _by_stream(peer(sample, served_rows, task), task["lengths"])
        except Exception as error:  # noqa: BLE001 - a peer that cannot take a data set is left out of its figures
            print(f"{folder.name}: {name} fails: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
    (folder / "deviations.json").write_text(json.dumps(deviations), encoding="utf-8")


def _read(file: Path) -> pd.DataFrame:
    """Texts as objects, which is what the packages expect."""
    table = pd.read_parquet(file)
    return table.astype({name: object for name in table if not pd.api.types.is_numeric_dtype(table[name])})


def _by_stream(alerts: list[bool], lengths: list[list[int]]) -> list[list[bool]]:
    rest = iter(alerts)
    return [[next(rest) for _ in runs] for runs in lengths]


def _adwin(sample: pd.DataFrame, served_rows: pd.DataFrame, lengths: list[list[int]]) -> list[list[bool]]:
    """A change once found is not taken back, for ADWIN goes on from there; each stream starts from the sample."""
    low, high = sample["__sure"].min(), sample["__sure"].max()
    sample_values, values = (
        ((t["__sure"] - low) / ((high - low) or 1)).clip(-5, 5).tolist() for t in (sample, served_rows)
    )
    deviations, place = [], 0
    for runs in lengths:
        detector = import_module("river.drift").ADWIN()
        for value in sample_values:
            detector.update(value)
        stream_deviations = []
        has_drifted = False
        for length in runs:
            for value in values[place : place + length]:
                detector.update(value)
                has_drifted = has_drifted or detector.drift_detected
            stream_deviations.append(has_drifted)
            place += length
        deviations.append(stream_deviations)
    return deviations


def _pca(sample: pd.DataFrame, served_rows: pd.DataFrame, task: dict[str, Any]) -> list[bool]:
    """The reconstruction error of the joint distribution, by NannyML's own thresholds."""
    calculator = import_module("nannyml").DataReconstructionDriftCalculator(
        column_names=task["features"], chunk_size=ROWS
    )
    result = calculator.fit(sample).calculate(served_rows)
    frame = result.filter(period="analysis").to_df()
    return [bool(alert) for alert in frame[("reconstruction_error", "alert")]]


def _performance(sample: pd.DataFrame, served_rows: pd.DataFrame, task: dict[str, Any]) -> list[bool]:
    """Confidence-based accuracy of a classifier, or direct loss estimation of a regressor, by NannyML's thresholds."""
    nannyml = import_module("nannyml")
    if task["task"] == "regression":
        estimator: Any = nannyml.DLE(
            feature_column_names=task["features"], y_pred="__answer", y_true="__label", metrics=["mae"], chunk_size=ROWS
        )
        metric = "mae"
    else:
        chances = sorted((c for c in map(str, sample) if c.startswith("__chance")), key=lambda c: int(c.split()[1]))
        classes = task["classes"]
        binary = task["task"] == "binary"
        if binary:
            to_number = {value: i for i, value in enumerate(classes)}
            sample, served_rows = (
                table.assign(__label=table["__label"].map(to_number), __answer=table["__answer"].map(to_number))
                for table in (sample, served_rows)
            )
        estimator = nannyml.CBPE(
            y_pred="__answer",
            y_true="__label",
            y_pred_proba=chances[1] if binary else dict(zip(classes, chances, strict=True)),
            problem_type="classification_binary" if binary else "classification_multiclass",
            metrics=["accuracy"],
            chunk_size=ROWS,
        )
        metric = "accuracy"
    result = estimator.fit(sample).estimate(served_rows.drop(columns="__label"))
    frame = result.filter(period="analysis").to_df()
    return [bool(alert) for alert in frame[(metric, "alert")]]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
