"""The compiled encoder gives the same matrix, bit for bit, as the fitted steps."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.model.compiled.preprocessing import CannotCompile, encoder
from stillsafe.model.frame import frame

NUMBERS, CATEGORIES = ["age", "visits", "member"], ["town", "colour"]
SCHEMA = Schema(
    (
        FeatureSpec("age", FeatureType.NUMERIC, required=False),
        FeatureSpec("visits", FeatureType.INTEGER),
        FeatureSpec("member", FeatureType.BOOLEAN),
        FeatureSpec("town", FeatureType.CATEGORY, required=False),
        FeatureSpec("colour", FeatureType.CATEGORY),
    )
)
OPEN = OneHotEncoder(handle_unknown="ignore")
CAN_CLIP = "clip" in signature(MaxAbsScaler).parameters  # from scikit-learn 1.9 on
TOWNS = [None, "Ulm", "Bonn", "Kiel", "Rust"]


def one_hot(**more: Any) -> Any:
    return OneHotEncoder(**{"handle_unknown": "ignore"} | more)


def ordinal(unknown: float, **more: Any) -> Any:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unknown, **more)


rows = st.fixed_dictionaries(
    {
        "age": st.none() | st.floats(-1e300, 1e300),
        "visits": st.integers(-(2**60), 2**60),
        "member": st.booleans(),
        "town": st.none() | st.sampled_from(["Ulm", "Bonn", "Kiel", "Rust", "Graz", ""]) | st.text(max_size=5),
        "colour": st.sampled_from(["red", "blue"]),
    }
)


def healthy(count: int = 400) -> list[Row]:
    random = np.random.default_rng(3)
    return [
        {
            "age": None if random.random() < 0.1 else float(random.normal(40, 9)),
            "visits": int(random.integers(0, 10)),
            "member": bool(random.random() < 0.3),
            "town": None
            if random.random() < 0.1
            else str(random.choice(["Ulm", "Bonn", "Kiel", "Rust"], p=[0.5, 0.3, 0.19, 0.01])),
            "colour": str(random.choice(["red", "blue"])),
        }
        for _ in range(count)
    ]


HEALTHY = healthy()


def columns(numbers: Any, categories: Any, remainder: Any = "drop") -> Any:
    return make_column_transformer((numbers, NUMBERS), (categories, CATEGORIES), remainder=remainder)


def impute(step: Any, strategy: str = "median", **more: Any) -> Any:
    return make_pipeline(SimpleImputer(strategy=strategy, **more), step)


STEPS: dict[str, list[Any]] = {
    "scaled, one-hot": [columns(impute(StandardScaler()), OPEN)],
    "robust, dense": [columns(impute(RobustScaler(), "mean"), one_hot(sparse_output=False))],
    "clipped, rare together": [
        columns(impute(MinMaxScaler(clip=True)), one_hot(handle_unknown="infrequent_if_exist", min_frequency=20))
    ],
    "widest, first dropped": [columns(impute(MaxAbsScaler()), one_hot(drop="first"))],
    "binary dropped": [columns(impute(StandardScaler(with_mean=False)), one_hot(drop="if_binary"))],
    "ordinal": [
        columns(
            "passthrough",
            ordinal(-1, encoded_missing_value=-2),
        )
    ],
    "ordinal, missing stays": [columns("passthrough", ordinal(np.nan))],
    "impute categories": [columns(SimpleImputer(), impute(OPEN, "constant", fill_value="none"))],
    "most frequent": [columns(SimpleImputer(strategy="most_frequent"), impute(OPEN, "most_frequent"))],
    "scaled again": [columns(SimpleImputer(), OPEN), StandardScaler(with_mean=False)],
    "dropped and passed": [make_column_transformer(("drop", ["age"]), (OPEN, CATEGORIES), remainder="passthrough")],
    "by place": [make_column_transformer((SimpleImputer(), [0, 1]), (OPEN, [3]), remainder="drop")],
    "a mask": [make_column_transformer((SimpleImputer(), [True, True, False, False, False]), (OPEN, ["town"]))],
    "closed": [columns(SimpleImputer(), one_hot(handle_unknown="error"))],
}


def plain(steps: Sequence[Any], given_rows: Sequence[Row]) -> Any:
    """scikit-learn's output for a frame, dense."""
    inputs: Any = frame(SCHEMA, given_rows)
    for step in steps:
        inputs = step.transform(inputs)
    return np.asarray(inputs.toarray() if sparse.issparse(inputs) else inputs, np.float64)


def fit_and_compile(name: str) -> tuple[list[Any], Any]:
    steps = STEPS[name]
    inputs: Any = frame(SCHEMA, HEALTHY)
    for step in steps:
        inputs = step.fit_transform(inputs)
    return steps, encoder(steps, SCHEMA, SCHEMA.names)


@pytest.mark.parametrize("name", STEPS)
def test_the_matrix_is_the_same_to_the_bit(name: str) -> None:
    """For healthy rows, in one call and one by one."""
    steps, encode = fit_and_compile(name)
    matrix, expected = encode(HEALTHY), plain(steps, HEALTHY)
    assert matrix.dtype == np.float64
    assert matrix.flags.c_contiguous
    np.testing.assert_array_equal(matrix, expected)
    np.testing.assert_array_equal(encode(HEALTHY[:1]), expected[:1])


@pytest.mark.parametrize("name", STEPS)
@given(drawn_rows=st.lists(rows, min_size=1, max_size=8))
@settings(max_examples=15, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore")
def test_edge_cases_are_encoded_or_refused_alike(name: str, drawn_rows: list[Row]) -> None:
    """Extreme, missing and unseen values give the same matrix, or a ValueError if scikit-learn raises one."""
    steps, encode = fit_and_compile(name)
    try:
        expected = plain(steps, drawn_rows)
    except ValueError:
        with pytest.raises(ValueError, match="refuses"):
            encode(drawn_rows)
        return
    np.testing.assert_array_equal(encode(drawn_rows), expected)


@pytest.mark.parametrize(
    "step",
    [
        columns(SimpleImputer(add_indicator=True), OPEN),
        columns(impute(PolynomialFeatures(2)), OPEN),
        make_column_transformer((SimpleImputer(missing_values=-1), ["visits"])),
        *([columns(MaxAbsScaler(clip=True), OPEN)] if CAN_CLIP else []),
        make_column_transformer((SimpleImputer(), slice(0, 2)), (OPEN, ["town"])),
        FunctionTransformer(lambda table: table[["visits"]]),
    ],
)
def test_unsupported_steps_are_not_compiled(step: Any) -> None:
    """A step whose effect is not known is left to scikit-learn."""
    step.fit(frame(SCHEMA, HEALTHY))
    with pytest.raises(CannotCompile):
        encoder([step], SCHEMA, SCHEMA.names)


def test_a_scaler_of_another_package_is_not_compiled() -> None:
    """A class that only shares its name with one of scikit-learn is not supported."""
    scaler = type("StandardScaler", (StandardScaler,), {"__module__": "elsewhere"})()
    scaler.fit(pd.DataFrame({"visits": [1.0, 2.0]}))
    with pytest.raises(CannotCompile, match="StandardScaler is not supported"):
        encoder([scaler], SCHEMA, ["visits"])
