"""Rows become the input of a model with fixed dtypes and in the model's column order."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.model.frame import frame, inputs_of
from tests.model.models import model_of
from tests.serving.services import GOOD, fitted_pipeline

SCHEMA = Schema(
    tuple(
        FeatureSpec(f"{kind.value}_{'always' if required else 'maybe'}", kind, required=required)
        for kind in FeatureType
        for required in (True, False)
    )
)


def test_each_type_has_one_dtype() -> None:
    """The dtype depends on the schema, never on the values of a request."""
    texts = {"category": "a", "text": "a b", "identifier": "A1", "date": "2026-01-01"}
    full: Row = {"numeric": 1.5, "integer": 2, "boolean": True, **texts}
    rows: list[Row] = [{spec.name: full[spec.type.value] for spec in SCHEMA.features}]
    rows.append({**rows[0], **{spec.name: None for spec in SCHEMA.features if not spec.required}})
    table = frame(SCHEMA, rows)
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        "numeric_always": "float64",
        "numeric_maybe": "float64",
        "integer_always": "int64",
        "integer_maybe": "float64",
        "boolean_always": "bool",
        "boolean_maybe": "object",
        **{f"{kind}_{often}": "object" for kind in texts for often in ("always", "maybe")},
    }
    assert table.iloc[1].isna().tolist() == [not spec.required for spec in SCHEMA.features]
    assert all(value is np.nan for value in (table["category_maybe"][1], table["boolean_maybe"][1]))


def test_rows_may_all_be_missing_or_absent() -> None:
    """A column with only missing values keeps its dtype."""
    one: Row = {spec.name: None for spec in SCHEMA.features if not spec.required}
    maybe = Schema(tuple(spec for spec in SCHEMA.features if not spec.required))
    dtypes = [str(dtype) for dtype in frame(maybe, [one, {}]).dtypes]
    assert dtypes == ["float64", "float64", *["object"] * 5]
    assert frame(SCHEMA, []).shape == (0, 14)


def test_numbers_alone_make_the_same_table_as_beside_others() -> None:
    """The table of numbers that is made at once has the values, types and memory layout of one made by columns."""
    names = [f"f{index}" for index in range(4)]
    values: list[list[Value]] = [
        [1.5, None, 3, True],
        [math.inf, -0.0, None, 2**53],
        [None] * 4,
        [1e-300, math.nan, 1, 0],
    ]
    rows = [dict(zip(names, row, strict=True)) for row in values]
    numbers = Schema(tuple(FeatureSpec(name, FeatureType.NUMERIC, required=False) for name in names))
    text = FeatureSpec("text", FeatureType.CATEGORY)
    single, pair = frame(numbers, rows), frame(Schema((*numbers.features, text)), rows)[names]
    pd.testing.assert_frame_equal(single, pair)
    assert single.to_numpy().flags["F_CONTIGUOUS"]
    assert frame(numbers, []).to_numpy().shape == (0, 4)


def test_columns_come_in_the_order_of_the_model(tmp_path: Path) -> None:
    """The settings may list the features in another order than the model was fitted with."""
    model = model_of(tmp_path, fitted_pipeline())
    reversed_model = replace(model, features=Schema(model.features.features[::-1]))
    assert inputs_of(model.estimator, frame(reversed_model.features, [GOOD])).columns.tolist() == [*GOOD]
    assert reversed_model.score([GOOD]) == model.score([GOOD])
