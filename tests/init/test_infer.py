"""Types come from the data, free of surprises with missing values; limits are generous; oddities are explained."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from stillsafe.core.schema import FeatureSpec, FeatureType
from stillsafe.errors import ConfigurationError
from stillsafe.init import infer, sample
from stillsafe.model.confidence import ConfidenceMethod, ConfidenceScale
from stillsafe.model.model import Model, ModelKind
from tests.init.services import people, write_sample

NUMERIC, INTEGER, BOOLEAN, CATEGORY, *_ = FeatureType


def describe_column(values: Any, **options: Any) -> tuple[FeatureSpec, str]:
    """One column's specification and remark."""
    inferred_schema = infer.describe(pd.DataFrame({"x": pd.Series(values, **options)}))
    return inferred_schema.schema.features[0], inferred_schema.remarks.get("x", "")


TYPES = [
    ([1.5, 2.0, None], None, NUMERIC),
    ([1.0, 2.0, 3.0], "float32", NUMERIC),
    ([1, 2, 3], None, INTEGER),
    ([1, 2, 3], "int8", INTEGER),
    ([1, 2, 3], "uint64", INTEGER),
    ([1, None, 3], None, NUMERIC),
    ([1, None, 3], "Int64", INTEGER),
    ([1.5, None, 3], "Float64", NUMERIC),
    ([1, 2.5, None], object, NUMERIC),
    ([np.int64(1), np.int64(2)], object, INTEGER),
    ([True, False], None, BOOLEAN),
    ([True, None, False], object, BOOLEAN),
    ([True, None, False], "boolean", BOOLEAN),
    ([np.True_, np.False_], object, BOOLEAN),
    (["a", None, "b"], object, CATEGORY),
    (["a", None, "b"], "str", CATEGORY),
    (["a", None, "b"], "string", CATEGORY),
    (["a", None, "b"], "category", CATEGORY),
    ([1, 2, 1], "category", INTEGER),
    ([None, None], object, NUMERIC),
    ([np.nan, np.nan], "float64", NUMERIC),
    ([None, None], "category", NUMERIC),
]


@pytest.mark.parametrize(("values", "dtype", "expected"), TYPES, ids=str)
def test_types(values: list[Any], dtype: Any, expected: FeatureType) -> None:
    """The values say what a column is, whatever pandas calls it, and a missing value is never one of them."""
    column = pd.Series(values, dtype=dtype)
    inferred_schema = infer.describe(pd.DataFrame({"x": column}))
    rows = infer.rows_of(pd.DataFrame({"x": column}), inferred_schema.schema)
    assert inferred_schema.schema.features[0].type is expected
    assert [row["x"] is None for row in rows] == column.isna().tolist()
    kinds = {NUMERIC: float, INTEGER: int, BOOLEAN: bool, CATEGORY: str}
    assert {type(row["x"]) for row in rows if row["x"] is not None} <= {kinds[expected]}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_files_do_not_change_types(form: str, tmp_path: Path) -> None:
    """A trip through CSV or Parquet keeps types; whole numbers with gaps become numbers, which refuses nothing."""
    table = people()
    gaps = np.arange(len(table)) % 7 == 0
    table = table.assign(
        whole=table["visits"].astype("Int64").mask(gaps), flag=table["member"].astype("boolean").mask(gaps)
    )
    read = sample.read(write_sample(table, tmp_path, form)).frame
    types = {spec.name: spec.type for spec in infer.describe(read).schema.features}
    assert types == {
        "age": NUMERIC,
        "visits": INTEGER,
        "member": BOOLEAN,
        "town": CATEGORY,
        "stays": CATEGORY,
        "whole": NUMERIC if form == "csv" else INTEGER,
        "flag": BOOLEAN,
    }


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 1.0],
        [18, 90],
        [-5.5, -1.25],
        [0, 0],
        [1e-9, 2e-9],
        [1e6, 1e9],
        [-(2**53), 2**53],
        [2**60, 2**61],
        [-1e307, 1e307],
        [1e308, -1e308],
    ],
    ids=str,
)
def test_limits_are_generous(values: list[float]) -> None:
    """Each value passes its own limits, and so does any within ten times the span; never negative has 0 as minimum."""
    spec, _ = describe_column(values)
    assert not spec.required
    assert [spec.check(value) for value in values] == values
    if spec.maximum is not None and spec.minimum is not None:
        span = max(values) - min(values)
        assert spec.maximum >= max(values) + 9 * span
        assert spec.maximum > 0
        if min(values) >= 0:
            assert spec.minimum == 0
        else:
            assert spec.minimum <= min(values) - 9 * span
            assert spec.minimum < 0


def test_long_categories_stay_allowed() -> None:
    """The longest text of the sample may be twice as long in a request."""
    assert describe_column(["a", "b" * 150])[0].max_length == 300
    assert describe_column(["a", "b"])[0].max_length == 200


REMARKS = [
    ([None] * 60, "All values are missing in the sample, so the type is assumed to be a number."),
    ([3] * 60, "It has a single value in the sample."),
    (["a"] * 59 + [None], "It has a single value in the sample."),
    ([f"user {n}" for n in range(60)], "New values keep coming (100% of the next ones are new)"),
    ([f"user {n % 70}" for n in range(120)], "It has 70 categories in 120 values: an identifier or free text"),
    (list(range(60)), "It has a different whole number in each row: if it is an identifier,"),
    (["a", "b"] * 30, ""),
    ([n / 7 for n in range(60)], ""),
    ([1, 2] * 30, ""),
]


@pytest.mark.parametrize(("values", "remark"), REMARKS, ids=[remark or "nothing" for _, remark in REMARKS])
def test_oddities_are_explained(values: list[Any], remark: str) -> None:
    """Empty, constant and identifying columns get a sentence; ordinary ones none."""
    actual_remark = describe_column(values, dtype=object)[1]
    assert actual_remark.startswith(remark)
    assert bool(actual_remark) == bool(remark)


INVALID_COLUMNS = [
    ([pd.Timestamp("2026-01-01"), pd.NaT], "has times"),
    (pd.to_datetime(["2026-01-01"], utc=True), "has times"),
    (pd.to_timedelta(["1h"]), "has times"),
    (pd.period_range("2026-01", periods=2, freq="M"), "has times"),
    ([datetime.date(2026, 1, 1)], "has times"),
    ([datetime.time(12)], "has times"),
    ([1.0, float("inf")], "has infinite values"),
    ([1, "one"], r"has values of mixed or nested kinds \(int, str\)"),
    ([True, 1], r"has values of mixed or nested kinds \(bool, int\)"),
    ([[1, 2]], r"has values of mixed or nested kinds \(list\)"),
    ([{"a": 1}], r"has values of mixed or nested kinds \(dict\)"),
    ([b"bytes"], r"has values of mixed or nested kinds \(bytes\)"),
    ([1 + 2j], r"has values of mixed or nested kinds \(complex\)"),
    ([Decimal("1.5")], r"has values of mixed or nested kinds \(Decimal\)"),
]


@pytest.mark.parametrize(("values", "problem"), INVALID_COLUMNS, ids=lambda value: str(value)[:40])
def test_what_no_feature_can_be(values: Any, problem: str) -> None:
    """Times, infinities, mixed and nested values are refused by column, with a remedy."""
    with pytest.raises(ConfigurationError, match=rf"The column 'x' {problem}, which no feature type .*\. \w+"):
        describe_column(values)


def test_the_model_knows_which_texts_are_free_and_which_categories_have_an_order() -> None:
    """A text whose words the model reads is free text unless it is one of a few phrases; an order is said."""
    notes = [f"parcel {each % 20} late {each % 9}" for each in range(300)]
    table = pd.DataFrame(
        {"note": [f"{note} {each}" for each, note in enumerate(notes)], "phrase": [f"late {n % 7}" for n in range(300)]}
    )
    table["note"] = [notes[0] if each % 3 else note for each, note in enumerate(table["note"])]
    table["grade"] = ["low", "high", "mid"] * 100
    encode = make_column_transformer(
        (CountVectorizer(), "note"),
        (CountVectorizer(), "phrase"),
        (OrdinalEncoder(categories=[["low", "mid", "high"]]), ["grade"]),
    )
    estimator = make_pipeline(encode, LogisticRegression()).fit(table, np.arange(300) % 2)
    inferred_schema = infer.describe(table)
    rows = infer.rows_of(table, inferred_schema.schema)
    scale = ConfidenceScale(ConfidenceMethod.CLASS_PROBABILITY)
    model = Model("1", ModelKind.CLASSIFIER, (0, 1), inferred_schema.schema, estimator, scale)
    result = infer.with_orders(infer.with_texts(inferred_schema, model, rows), model, table)
    assert [spec.type for spec in result.schema.features] == [FeatureType.TEXT, CATEGORY, CATEGORY]
    assert result.remarks["note"].startswith("The model reads its words.")
    assert [sentence for sentence in result.certainty if "grade" in sentence and "low < mid < high" in sentence]
    table["grade"] = pd.Categorical(table["grade"], ["high", "low", "mid"], ordered=True)
    assert "high < low < mid" in infer.with_orders(inferred_schema, model, table).certainty[-1]
