"""The values that a model tolerates are served; what it cannot answer, or what cannot be, is refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.schema import LARGEST_INTEGER, FeatureSpec, FeatureType, Row, Schema
from stillsafe.init import infer, tolerance
from stillsafe.model.confidence import ConfidenceMethod, ConfidenceScale
from stillsafe.model.model import Model, ModelKind

INTEGER = FeatureType.INTEGER


class SumOfNumbers:
    """A regressor that adds up all columns, and fails on a number beyond its limit in a column, or on such a sum."""

    def __init__(self, failing_columns: tuple[str, ...] = (), limit: float = 1e12, sum_limit: float = np.inf) -> None:
        self.failing_columns, self.limit, self.sum_limit = failing_columns, limit, sum_limit

    def predict(self, table: pd.DataFrame) -> Any:
        """The sums of the rows."""
        numbers = table.fillna(0).astype(float)
        if (numbers[list(self.failing_columns)].abs() > self.limit).any(axis=None):
            raise ValueError("too large for this model")
        sums = numbers.sum(axis=1).to_numpy()
        if (np.abs(sums) > self.sum_limit).any():
            raise ValueError("too large together")
        return sums


PAST_LIMITS = pd.DataFrame({"amount": [0.5, 900.0] * 30, "change": [-3.5, 8.0] * 30, "count": [0, 7] * 30})
FAR = tolerance.FARTHEST_NUMBER


def limits_by_name(estimator: Any, table: pd.DataFrame = PAST_LIMITS) -> dict[str, tuple[float | None, float | None]]:
    """The limits that `init` infers for a model and a sample."""
    schema: Schema = infer.describe(table).schema
    scale = ConfidenceScale(ConfidenceMethod.PREDICTION_TYPICALITY, tuple(np.linspace(0, 900, 101)))
    rows: list[Row] = infer.rows_of(table, schema)
    new_schema = tolerance.tolerated_schema(Model("", ModelKind.REGRESSOR, (), schema, estimator, scale), rows)
    return {spec.name: (spec.minimum, spec.maximum) for spec in new_schema.features}


def test_only_what_cannot_be_is_refused() -> None:
    """Never negative has 0 as its minimum; any other number that the model answers is served, in any unit."""
    assert limits_by_name(SumOfNumbers()) == {"amount": (0, FAR), "change": (-FAR, FAR), "count": (0, None)}


def test_a_feature_whose_model_fails_far_outside_keeps_wide_limits() -> None:
    """No client can make the model fail by a number that the schema accepts."""
    wide = {spec.name: (spec.minimum, spec.maximum) for spec in infer.describe(PAST_LIMITS).schema.features}
    result = limits_by_name(SumOfNumbers(("amount", "count")))
    assert result == {"amount": wide["amount"], "change": (-FAR, FAR), "count": wide["count"]}
    assert limits_by_name(SumOfNumbers(sum_limit=1.5 * FAR)) == wide


@pytest.mark.parametrize("values", [[1e31, 2e31], [-(2**60), 2**61], [1e306, 1e307]], ids=str)
def test_numbers_beyond_the_farthest_stay_valid(values: list[float]) -> None:
    """A sample of huge numbers passes its own limits."""
    table = pd.DataFrame({"x": values * 30})
    minimum, maximum = limits_by_name(SumOfNumbers(), table)["x"]
    assert maximum is None or maximum >= max(values)
    assert minimum is None or minimum <= min(values)


def test_whole_numbers_end_where_they_are_no_longer_exact() -> None:
    """Without limits of its own a whole number is refused where floats skip some."""
    spec = FeatureSpec("count", INTEGER, required=False, minimum=0, maximum=limits_by_name(SumOfNumbers())["count"][1])
    assert spec.check(LARGEST_INTEGER) == LARGEST_INTEGER
    assert not isinstance(spec.check(2 * LARGEST_INTEGER), int)
    assert not isinstance(spec.check(-1), int)
