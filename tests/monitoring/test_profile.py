"""What healthy looks like, and the bins that all later rows are put into."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.monitoring.profile import FEW_NUMBERS, answers_of, output_profile, profile
from stillsafe.monitoring.summarize import Columns, codes, from_snapshots

SCHEMA = Schema((FeatureSpec("size", FeatureType.NUMERIC), FeatureSpec("town", FeatureType.CATEGORY)))


def found(rows: list[Row], predictions: list[str] | None = None) -> Columns:
    return from_snapshots(
        rows,
        SCHEMA,
        confidences=[0.8] * len(rows),
        model_errors=[None] * len(rows),
        fallback_used=[False] * len(rows),
        predictions=predictions or ["yes"] * len(rows),
    )


def sizes(*values: float | None) -> list[Row]:
    return [{"size": value, "town": "A"} for value in values]


numbers = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=60)


@given(numbers, numbers)
def test_each_value_falls_into_exactly_one_bin(healthy: list[float | None], later: list[float | None]) -> None:
    """Whatever comes later, its bins count every row once, and what is missing is in the bin for it."""
    made = profile(found(sizes(*healthy)), SCHEMA)["size"]
    if made.bins is None:
        assert all(value is None for value in healthy)
        return
    column = np.array([np.nan if value is None else value for value in later])
    placed = codes(column, made)
    assert len(placed) == len(later)
    assert placed.min() >= 0
    assert placed.max() < made.bins.size
    assert ((placed == made.bins.missing) == np.isnan(column)).all()
    assert sum(made.bin_counts) == len(healthy)


def test_few_numbers_get_a_bin_each_and_many_share_about_equally() -> None:
    """A feature of five numbers has five bins; one of a thousand has eight, about equally full."""
    few = profile(found(sizes(*([1.0, 2.0, 3.0, 4.0, 5.0] * 20))), SCHEMA)["size"]
    assert few.bins is not None
    assert few.bins.ordinary == 5 <= FEW_NUMBERS
    many = profile(found(sizes(*(float(i) for i in range(1_000)))), SCHEMA)["size"]
    assert many.bins is not None
    assert many.bins.ordinary == 8
    assert max(many.bin_counts[:8]) - min(many.bin_counts[:8]) <= 2


def test_what_lies_far_outside_is_told_from_what_lies_a_little_outside() -> None:
    """Half of the healthy range beyond its end is still ordinary, a change of unit is not."""
    made = profile(found(sizes(*(float(i) for i in range(101)))), SCHEMA)["size"]
    assert made.bins is not None
    near, far, below = codes(np.array([140.0, 1_000.0, -1_000.0]), made).tolist()
    assert near == made.bins.ordinary - 1
    assert (below, far) == (made.bins.below, made.bins.above)


def test_a_later_profile_keeps_the_bins_that_are_known() -> None:
    """What was learnt by bin stays valid for a baseline made of later traffic."""
    first = profile(found(sizes(*(float(i) for i in range(100)))), SCHEMA)
    later = profile(found(sizes(*(float(i) for i in range(50, 300)))), SCHEMA, first)
    assert later["size"].bins == first["size"].bins
    assert later["size"].maximum == 299
    assert sum(later["size"].bin_counts) == 250


def test_the_commonest_categories_are_ordinary_and_the_rest_rare() -> None:
    """Twelve categories have a bin each; others that were seen share one; those never seen have their own."""
    towns = [f"t{i:02}" for i in range(20) for _ in range(20 - i)]
    made = profile(found([{"size": 1.0, "town": town} for town in towns]), SCHEMA)["town"]
    assert made.bins is not None
    assert made.bins.categories == tuple(f"t{i:02}" for i in range(12))
    placed = codes(np.array(["t00", "t19", "elsewhere", None], dtype=object), made)
    assert placed.tolist() == [0, made.bins.below, made.bins.above, made.bins.missing]


def test_how_usual_a_number_is() -> None:
    """A number that was kept has its own share; one that was not has at most that of the least common kept one."""
    made = profile(found(sizes(*([7.0] * 50), *(float(i) for i in range(100, 150)))), SCHEMA)["size"]
    assert made.usual_rate(7.0) == pytest.approx(0.5)
    assert made.usual_rate(-1.0) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("said", "classes"), [(["no", "yes"] * 50, True), (["0", "1"] * 50, True), ([f"{i}.5" for i in range(100)], False)]
)
def test_answers_are_classes_or_numbers(said: list[str], classes: bool) -> None:
    """A classifier's answers have a bin each, a regressor's are binned as numbers, and have a mean."""
    columns = found(sizes(*([1.0] * 100)), said)
    made = output_profile(columns)["prediction"]
    assert (made.type is FeatureType.CATEGORY) is classes
    assert (answers_of(columns) is None) is classes
    assert made.bins is not None
    assert sum(made.bin_counts) == 100
