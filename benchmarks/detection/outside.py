"""Peers that are packages of their own. Run by the interpreter of their environment: it imports nothing from here.

Reads `sample.parquet`, `served.parquet` and `task.json` in the folder given, writes `said.json`: peer -> stream -> run
-> does it deviate.
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
    told = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    sample, served = _read(folder / "sample.parquet"), _read(folder / "served.parquet")
    said = {"adwin": _adwin(sample, served, told["lengths"])}
    for name, peer in (("pca", _pca), ("cbpe", _estimated)):
        try:
            said[name] = _by_stream(peer(sample, served, told), told["lengths"])
        except Exception as error:  # noqa: BLE001 - a peer that cannot take a data set is left out of its figures
            print(f"{folder.name}: {name} fails: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
    (folder / "said.json").write_text(json.dumps(said), encoding="utf-8")


def _read(file: Path) -> pd.DataFrame:
    """Texts as objects, which is what the packages expect."""
    table = pd.read_parquet(file)
    return table.astype({name: object for name in table if not pd.api.types.is_numeric_dtype(table[name])})


def _by_stream(alerts: list[bool], lengths: list[list[int]]) -> list[list[bool]]:
    rest = iter(alerts)
    return [[next(rest) for _ in runs] for runs in lengths]


def _adwin(sample: pd.DataFrame, served: pd.DataFrame, lengths: list[list[int]]) -> list[list[bool]]:
    """A change once found is not taken back, for ADWIN goes on from there; each stream starts from the sample."""
    low, high = sample["__sure"].min(), sample["__sure"].max()
    before, values = (((t["__sure"] - low) / ((high - low) or 1)).clip(-5, 5).tolist() for t in (sample, served))
    found, place = [], 0
    for runs in lengths:
        detector = import_module("river.drift").ADWIN()
        for value in before:
            detector.update(value)
        said = []
        drifted = False
        for length in runs:
            for value in values[place : place + length]:
                detector.update(value)
                drifted = drifted or detector.drift_detected
            said.append(drifted)
            place += length
        found.append(said)
    return found


def _pca(sample: pd.DataFrame, served: pd.DataFrame, told: dict[str, Any]) -> list[bool]:
    """The reconstruction error of the joint distribution, by NannyML's own thresholds."""
    calculator = import_module("nannyml").DataReconstructionDriftCalculator(
        column_names=told["features"], chunk_size=ROWS
    )
    result = calculator.fit(sample).calculate(served)
    frame = result.filter(period="analysis").to_df()
    return [bool(alert) for alert in frame[("reconstruction_error", "alert")]]


def _estimated(sample: pd.DataFrame, served: pd.DataFrame, told: dict[str, Any]) -> list[bool]:
    """Confidence-based accuracy of a classifier, or direct loss estimation of a regressor, by NannyML's thresholds."""
    nannyml = import_module("nannyml")
    if told["task"] == "regression":
        estimator: Any = nannyml.DLE(
            feature_column_names=told["features"], y_pred="__answer", y_true="__label", metrics=["mae"], chunk_size=ROWS
        )
        metric = "mae"
    else:
        chances = sorted((c for c in map(str, sample) if c.startswith("__chance")), key=lambda c: int(c.split()[1]))
        classes = told["classes"]
        binary = told["task"] == "binary"
        if binary:
            to_number = {value: i for i, value in enumerate(classes)}
            sample, served = (
                table.assign(__label=table["__label"].map(to_number), __answer=table["__answer"].map(to_number))
                for table in (sample, served)
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
    result = estimator.fit(sample).estimate(served.drop(columns="__label"))
    frame = result.filter(period="analysis").to_df()
    return [bool(alert) for alert in frame[(metric, "alert")]]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
