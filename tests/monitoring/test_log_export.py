"""Exports of the prediction log, on both stores."""

import csv
import json
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine

from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Schema
from stillsafe.errors import RefusedError
from stillsafe.monitoring import log_export
from stillsafe.monitoring.log_export import export_predictions
from stillsafe.store import database
from tests.store.conftest import START, at, empty, engine, identified_prediction, prediction, write

__all__ = ["empty", "engine"]
SCHEMA = Schema(
    (
        FeatureSpec("size", FeatureType.NUMERIC),
        FeatureSpec("town", FeatureType.CATEGORY),
        FeatureSpec("reason", FeatureType.INTEGER, required=False),
        FeatureSpec("secret", FeatureType.NUMERIC, log=LogMode.DROP),
    )
)
SPAN = (START, at(60))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("page", [3, 2000])
def test_every_prediction_of_the_span_is_a_row(
    engine: Engine, tmp_path: Path, suffix: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, in order, with its id and its features; a feature that is called as another column has a prefix."""
    monkeypatch.setattr(log_export, "PAGE_ROWS", page)
    write(engine, *[prediction(n, at(n), version=str(n % 2)) for n in range(8)], prediction(8, at(61)))
    with database.writing(engine) as connection:
        from stillsafe.store.write.predictions import append_first_predictions

        append_first_predictions(connection, [identified_prediction(9, "client-1", at(9))], START)
    shares: list[float | None] = []
    file = tmp_path / f"rows{suffix}"
    assert export_predictions(engine, SCHEMA, file, SPAN, lambda _, share: shares.append(share)) == 9
    table = pd.read_parquet(file) if suffix == ".parquet" else pd.read_csv(file)
    assert list(table["prediction_id"]) == [f"p{n}" for n in (*range(8), 9)]
    assert list(table["size"]) == [float(n) for n in (*range(8), 9)]
    assert table["id"].dropna().tolist() == ["client-1"]
    assert set(table["town"]) == {"A"}
    assert table["features.reason"].isna().all()
    assert pd.to_datetime(table["timestamp"], utc=True).iloc[3] == at(3)
    assert "secret" not in table
    assert shares[-1] == 1.0
    assert (file.stat().st_mode & 0o777, [each.name for each in tmp_path.glob("*.partial")]) == (0o600, [])


def test_a_value_of_an_older_schema_is_missing_in_a_typed_column(engine: Engine, tmp_path: Path) -> None:
    """A category that was a number before is its text; a number that was a text before is missing."""
    from dataclasses import replace

    write(
        engine,
        replace(prediction(1), input_summary={"size": "large", "town": 7}),
        replace(prediction(2), input_summary={"size": 2.0, "town": "A"}),
    )
    file = tmp_path / "rows.parquet"
    export_predictions(engine, SCHEMA, file, SPAN)
    table = pd.read_parquet(file)
    assert (table["size"].isna().tolist(), table["town"].tolist()) == ([True, False], ["7", "A"])


def test_a_span_without_predictions_is_a_file_with_its_columns(engine: Engine, tmp_path: Path) -> None:
    """Its reader needs no special case."""
    file = tmp_path / "rows.csv"
    assert export_predictions(engine, SCHEMA, file, (at(90), at(91))) == 0
    with file.open(newline="") as handle:
        assert next(csv.reader(handle))[:2] == ["prediction_id", "id"]


def test_a_file_is_never_overwritten_and_a_failure_leaves_none(engine: Engine, tmp_path: Path) -> None:
    """A file that exists, or a folder that does not."""
    file = tmp_path / "rows.csv"
    file.write_text("mine")
    with pytest.raises(RefusedError, match="exists already"):
        export_predictions(engine, SCHEMA, file, SPAN)
    with pytest.raises(RefusedError, match="cannot be written"):
        export_predictions(engine, SCHEMA, tmp_path / "none" / "rows.csv", SPAN)
    assert file.read_text() == "mine"
    assert json.dumps([each.name for each in tmp_path.iterdir()]).count("partial") == 0
    assert SPAN[1] - SPAN[0] == timedelta(hours=1)
