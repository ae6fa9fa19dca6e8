"""Bins: one bin for every value, the special ones last."""

from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.bins import SPECIAL_BINS, Bins

FINITE = st.floats(-1e6, 1e6)
NUMBER_BINS = st.builds(
    lambda edges, margin: Bins(tuple(edges), edges[0] - margin, edges[-1] + margin),
    st.lists(FINITE, min_size=1, max_size=20, unique=True).map(sorted),
    st.floats(1, 1e6),
)
CATEGORY_BINS = st.builds(
    lambda names: Bins(categories=tuple(names)), st.lists(st.text(max_size=5), max_size=20, unique=True)
)


@given(NUMBER_BINS | CATEGORY_BINS)
def test_the_special_bins_come_last_and_differ(bins: Bins) -> None:
    """Every bin has one meaning: the ordinary ones first, then far below, far above and missing."""
    special = [bins.below, bins.above, bins.missing]
    assert special == list(range(bins.ordinary, bins.size))
    assert len(special) == SPECIAL_BINS


@given(NUMBER_BINS)
def test_the_inner_edges_separate_one_bin_more(bins: Bins) -> None:
    """A number's ordinary bins are those between its edges and the two outermost ones."""
    assert bins.ordinary == len(bins.edges) + 1


@given(CATEGORY_BINS)
def test_there_is_always_an_ordinary_bin(bins: Bins) -> None:
    """A category has a bin for each ordinary value, and one at least, so that each feature has a table."""
    assert bins.ordinary == max(1, len(bins.categories))


def test_a_number_that_never_changed_has_one_ordinary_bin() -> None:
    """No edges separate nothing."""
    assert Bins((), -1.0, 1.0).ordinary == 1


@given(NUMBER_BINS)
def test_numbers_far_outside_are_clipped_to_the_outermost_bins(bins: Bins) -> None:
    """Far below goes to the first ordinary bin, far above to the last; all other bins stay."""
    expected = [*range(bins.ordinary), 0, bins.ordinary - 1, bins.missing]
    assert list(bins.clipped_bins) == expected


@given(CATEGORY_BINS)
def test_categories_are_not_clipped(bins: Bins) -> None:
    """Rare and unseen categories are near no ordinary one, so each bin stays."""
    assert list(bins.clipped_bins) == list(range(bins.size))
