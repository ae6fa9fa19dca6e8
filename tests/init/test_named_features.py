"""What no row of the sample lacks a request must name; `init` says so, and the settings turn it off."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from starlette.testclient import TestClient

from stillsafe import service, settings
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.init.named_features import name_complete_features
from tests.init.services import PERSON, init_service, people
from tests.stores import with_store


def simple_model(table: pd.DataFrame) -> Any:
    """A model of two numbers that answers rows with missing values."""
    columns = make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), ["age", "visits"]))
    return make_pipeline(columns, LogisticRegression()).fit(table[["age", "visits"]], table["stays"])


def statuses(folder: Path, *bodies: dict[str, Any]) -> list[int]:
    """The status of each prediction request."""
    with TestClient(service.create_app(settings.load(with_store(folder) / "stillsafe.toml"))) as client:
        return [client.post("/v1/predict", json={"features": body}).status_code for body in bodies]


@pytest.mark.parametrize("missing", [0, 3])
def test_what_the_sample_never_lacks_must_be_named(missing: int, tmp_path: Path) -> None:
    """Null is served, as the model copes with it; a feature that some rows lack may be left out."""
    table = people()[["age", "visits", "stays"]]
    model = simple_model(table)
    table.loc[: missing - 1, "age"] = np.nan
    created_service = init_service(model, table, tmp_path, label="stays")
    omittable = {spec.name: spec.omittable for spec in created_service.schema.features}
    assert omittable == {"age": bool(missing), "visits": False}
    (sentence,) = (each for each in created_service.warnings if each.startswith("Requests must name "))
    assert ("age" in sentence, "visits" in sentence) == (not missing, True)
    whole: dict[str, Any] = {name: PERSON[name] for name in ("age", "visits")}
    bodies: list[dict[str, Any]] = [whole, {}, {**whole, "age": None}, {"visits": 3}, {"age": 30.0}]
    assert statuses(tmp_path / "out", *bodies) == [200, 422, 200, 200 if missing else 422, 422]


def test_the_settings_turn_it_off(tmp_path: Path) -> None:
    """With `omittable = true` such requests are answered and watched, as in services of earlier releases."""
    table = people()[["age", "visits", "stays"]]
    init_service(simple_model(table), table, tmp_path, label="stays")
    file = tmp_path / "out" / "stillsafe.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("omittable = false", "omittable = true"), encoding="utf-8")
    assert statuses(tmp_path / "out", {}, {"age": None}, {"age": 30.0, "visits": 3}) == [200, 200, 200]


def test_few_rows_say_nothing() -> None:
    """Below thirty rows every feature stays as it was; required ones always do."""
    specs = tuple(FeatureSpec(name, FeatureType.NUMERIC, required=name == "a") for name in "abc")
    for count, omittable in ((29, [True, True, True]), (30, [True, False, True])):
        features = name_complete_features(Schema(specs), [{"a": 1.0, "b": 2.0, "c": None}] * count)
        assert [spec.omittable for spec in features.schema.features] == omittable
        assert bool(features.sentences) is (count == 30)
