"""The two sides of a wrong join: the larger one counts only where it is not much larger, and nothing speaks for it."""

from dataclasses import replace

import pytest

from stillsafe.core.evidence.corruption import AssociationSearch, Limits
from stillsafe.core.evidence.distributions import distribution_shift
from stillsafe.core.evidence.join_sides import other_side
from stillsafe.core.policy import EVIDENCE
from tests.core.evidence.rows import FIRST, SECOND, Codes, baseline_of, draw_rows, permute, table_of, tally_of

HEALTHY = draw_rows(4_000, 0)
BASELINE = baseline_of(HEALTHY)


def search_of(rows: Codes, factor: float = EVIDENCE.other_side_factor) -> AssociationSearch:
    """The joint table and a window."""
    shift = distribution_shift(BASELINE, tally_of(rows, HEALTHY))
    assert shift is not None
    policy = replace(EVIDENCE, other_side_factor=factor)
    return AssociationSearch(
        table_of(HEALTHY), BASELINE, tally_of(rows, HEALTHY), shift, Limits(z=4.5, least_share=0.15, policy=policy)
    )


def test_healthy_rows_have_no_side() -> None:
    """Nothing is broken, so nothing may be corrupted instead."""
    assert other_side(search_of(draw_rows(3_000, 9)), {}, set()) == {}


def test_the_features_that_were_left_may_be_the_wrong_ones() -> None:
    """They have the share of the side that a search names."""
    search = search_of(permute(draw_rows(3_000, 9), FIRST, SECOND))
    assert other_side(search, {"first": 0.9, "second": 1.0}, set()) == {"third": 1.0}


@pytest.mark.parametrize(("factor", "others"), [(0.0, {"first", "second"}), (3.0, {"first", "second"})])
def test_one_feature_more_is_always_possible(factor: float, others: set[str]) -> None:
    """Whatever the factor of larger sides is."""
    search = search_of(permute(draw_rows(3_000, 9), FIRST, SECOND), factor)
    assert set(other_side(search, {"third": 1.0}, set())) == others


def test_features_whose_values_are_corrupted_are_on_no_side() -> None:
    """What they break is explained."""
    search = search_of(permute(draw_rows(3_000, 9), FIRST, SECOND))
    assert "third" not in other_side(search, {"first": 1.0, "second": 1.0}, {"third"})
