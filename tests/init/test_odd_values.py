"""Values that may stand for a missing one are named with their place and the option that makes them missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from stillsafe.core.schema import FeatureSpec, FeatureType
from stillsafe.init.infer import describe
from stillsafe.init.odd_values import lone_number, odd_dates, odd_value_remarks
from stillsafe.init.read_sample import SampleSource, read_sample
from stillsafe.model.model import ModelKind

DRAW = np.random.default_rng(3)
INCOME = np.exp(DRAW.normal(8, 0.6, 600)).round(2)
AGE = DRAW.integers(18, 90, 600)
COUNT = 18


def with_odd(values: np.ndarray[Any, Any], number: float) -> list[Any]:
    """The values with a number in 3% of them."""
    return [*values.tolist()[COUNT:], *[type(values.tolist()[0])(number)] * COUNT]


@pytest.mark.parametrize(
    ("values", "number"),
    [
        (INCOME, -999),
        (INCOME, -1),
        (INCOME, 99_999_999),
        (AGE, 999),
        (AGE, -1),
        (AGE, -9_999),
        (DRAW.normal(0, 20, 600).round(1), -999.0),
        (DRAW.normal(0, 20, 600).round(1), 9_999.0),
        (DRAW.integers(300, 850, 600), 9_999),
    ],
)
def test_a_repeated_number_far_from_all_others_is_found(values: np.ndarray[Any, Any], number: float) -> None:
    """At either end, of decimals and of whole numbers, among positive numbers and among both signs."""
    assert lone_number(with_odd(values, number)) == (number, COUNT)


@pytest.mark.parametrize(
    "values",
    [
        INCOME.tolist(),
        AGE.tolist(),
        with_odd(INCOME, 0),
        np.minimum(INCOME, 4_000).tolist(),
        [*INCOME.tolist(), -999.0],
        [0, 1] * 300,
        DRAW.integers(-1, 40, 600).tolist()[:10],
        np.exp(DRAW.normal(0, 3, 600)).tolist(),
        DRAW.integers(-5, 40, 600).tolist(),
        [],
    ],
)
def test_ordinary_numbers_are_none(values: list[Any]) -> None:
    """A long tail, a cap, a zero for nothing, flags, one outlier and negative numbers among others are left alone."""
    assert lone_number(values) is None


def test_what_is_no_date_is_counted() -> None:
    """The most frequent first."""
    spec = FeatureSpec("day", FeatureType.DATE, date_format="%Y-%m-%d")
    assert odd_dates(spec, ["2026-01-01", "-", "0000-00-00", "-"]) == {"-": 2, "0000-00-00": 1}


def test_the_remark_has_the_column_the_line_and_the_option(tmp_path: Path) -> None:
    """Of a file in any order of its rows, with quotes that reach over lines, and with columns that need quotes."""
    count = 60
    days = pd.date_range("2026-01-01", periods=count).strftime("%Y-%m-%d").to_numpy().astype(object)
    days[[5, 9]] = "0000-00-00"
    income = DRAW.integers(900, 5_000, count)
    income[7:13] = -999
    table = pd.DataFrame(
        {
            "timestamp": pd.date_range("2026-03-01", periods=count, freq="h")[::-1].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "note": ["two\nlines", *["one"] * (count - 1)],
            "my income": income,
            "last_order": days,
        }
    )
    file = tmp_path / "sample.csv"
    table.to_csv(file, index=False)
    model = HistGradientBoostingClassifier(max_iter=2).fit([[0.0, 0.0], [1.0, 1.0]] * 20, [0, 1] * 20)
    model.feature_names_in_ = np.array(["my income", "last_order"], dtype=object)
    data = read_sample(SampleSource(None, file), model, ModelKind.CLASSIFIER, (0, 1))
    assert data.odd_values == (
        "my income: -999 (6 of 60 values, first in line 10) is far from all other values. If it stands for a missing "
        "value that the model gets as null, give --missing 'my income=-999'.",
        "last_order: 0000-00-00 (2 of 60 values, first in line 8) is no date, and counts as none. If it stands for a "
        "missing value that the model gets as null, give --missing last_order=0000-00-00.",
    )
    assert data.odd_values[0] in data.remarks
    sound = describe(table[["note"]])
    assert list(odd_value_remarks(sound.schema, table[["note"]], lambda *_: "")) == []
