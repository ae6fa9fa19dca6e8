"""The two sides of a wrong join: the other one counts where it has at most one feature more."""

from stillsafe.core.evidence.corruption import AssociationSearch, Limits
from stillsafe.core.evidence.distributions import distribution_shift
from stillsafe.core.evidence.join_parts import other_side
from tests.core.evidence.rows import FIRST, SECOND, Codes, baseline_of, draw_rows, permute, table_of, tally_of

HEALTHY = draw_rows(4_000, 0)
BASELINE = baseline_of(HEALTHY)


def search_of(rows: Codes) -> AssociationSearch:
    """The joint table and a window."""
    shift = distribution_shift(BASELINE, tally_of(rows, HEALTHY))
    assert shift is not None
    limits = Limits(z=4.5, least_share=0.15)
    return AssociationSearch(table_of(HEALTHY), BASELINE, tally_of(rows, HEALTHY), shift, limits)


def test_healthy_rows_have_no_side() -> None:
    """Nothing is broken, so nothing may be corrupted instead."""
    assert other_side(search_of(draw_rows(3_000, 9)), {}, set()) == {}


def test_the_features_that_were_left_may_be_the_wrong_ones() -> None:
    """They have the share of the side that a search names."""
    search = search_of(permute(draw_rows(3_000, 9), FIRST, SECOND))
    assert other_side(search, {"first": 0.9, "second": 1.0}, set()) == {"third": 1.0}


def test_one_feature_more_is_possible() -> None:
    """A search names the smaller side."""
    search = search_of(permute(draw_rows(3_000, 9), FIRST, SECOND))
    assert set(other_side(search, {"third": 1.0}, set())) == {"first", "second"}


def test_features_whose_values_are_corrupted_are_on_no_side() -> None:
    """What they break is explained."""
    search = search_of(permute(draw_rows(3_000, 9), FIRST, SECOND))
    assert "third" not in other_side(search, {"first": 1.0, "second": 1.0}, {"third"})
