"""A probe row lies within the schema, and is healthy where the reference knows what healthy is."""

from dataclasses import replace

import pytest

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema, Value
from stillsafe.model.probe_rows import has_arbitrary_category, probe_row
from stillsafe.model.reference import NO_REFERENCE, Reference
from tests.model.test_reference import BASELINE

NUMERIC, INTEGER, BOOLEAN, CATEGORY, *_ = FeatureType


def reference_of(profile: FeatureBaseline) -> Reference:
    return Reference(replace(BASELINE, features={"x": profile}))


def numbers(minimum: float) -> Reference:
    return reference_of(FeatureBaseline(NUMERIC, 10, 0, minimum=minimum, maximum=minimum + 1))


def towns(**counts: int) -> Reference:
    return reference_of(FeatureBaseline(CATEGORY, sum(counts.values()), 0, category_counts=counts))


@pytest.mark.parametrize(
    ("spec", "reference", "value"),
    [
        (FeatureSpec("x", BOOLEAN), NO_REFERENCE, False),
        (FeatureSpec("x", NUMERIC), NO_REFERENCE, 0.0),
        (FeatureSpec("x", NUMERIC, minimum=3), NO_REFERENCE, 3.0),
        (FeatureSpec("x", NUMERIC, maximum=-3), NO_REFERENCE, -3.0),
        (FeatureSpec("x", NUMERIC, minimum=3), numbers(20.5), 20.5),
        (FeatureSpec("x", INTEGER), numbers(20.5), 21),
        (FeatureSpec("x", CATEGORY), NO_REFERENCE, ""),
        (FeatureSpec("x", CATEGORY, categories=("Rome", "Oslo")), NO_REFERENCE, "Rome"),
        (FeatureSpec("x", CATEGORY), towns(Rome=1, Oslo=3), "Oslo"),
        (FeatureSpec("x", CATEGORY, categories=("Rome", "Kiel")), towns(Rome=1, Oslo=3), "Rome"),
        (FeatureSpec("x", FeatureType.DATE, date_format="%d.%m.%Y"), NO_REFERENCE, "01.01.2026"),
        (FeatureSpec("x", INTEGER, date_format="%Y%m%d"), NO_REFERENCE, 20260101),
        (FeatureSpec("x", NUMERIC, date_format="seconds"), NO_REFERENCE, 1_767_225_600.0),
        (FeatureSpec("x", NUMERIC, maximum=5, date_format="seconds"), NO_REFERENCE, 5.0),
    ],
    ids=str,
)
def test_a_probe_value_is_healthy_or_at_least_allowed(spec: FeatureSpec, reference: Reference, value: Value) -> None:
    """The commonest healthy category and the healthy minimum come first, then the hard limits."""
    row = probe_row(Schema((spec,)), reference)
    assert row == {"x": value}
    assert type(row["x"]) is type(value)
    assert Schema((spec,)).validate(row) == row


def test_a_category_is_arbitrary_if_nothing_lists_one() -> None:
    """Failing on a made-up category proves nothing about the model, so it is known which one is made up."""
    open_schema = Schema((FeatureSpec("x", CATEGORY),))
    closed_schema = Schema((FeatureSpec("x", CATEGORY, categories=("Rome",)), FeatureSpec("y", NUMERIC)))
    assert has_arbitrary_category(open_schema, NO_REFERENCE)
    assert has_arbitrary_category(open_schema, numbers(1.0))
    assert not has_arbitrary_category(open_schema, towns(Rome=1))
    assert not has_arbitrary_category(closed_schema, NO_REFERENCE)
