"""Bins: a place for every value, the strange ones last."""

from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.bins import STRANGE, Bins
from stillsafe.store.codec import from_document, to_document

FINITE = st.floats(-1e6, 1e6)
NUMBER_BINS = st.builds(
    lambda edges, room: Bins(tuple(edges), edges[0] - room, edges[-1] + room),
    st.lists(FINITE, min_size=1, max_size=20, unique=True).map(sorted),
    st.floats(1, 1e6),
)
CATEGORY_BINS = st.builds(
    lambda names: Bins(categories=tuple(names)), st.lists(st.text(max_size=5), max_size=20, unique=True)
)


@given(NUMBER_BINS | CATEGORY_BINS)
def test_the_strange_bins_come_last_and_differ(bins: Bins) -> None:
    """Every bin has one meaning: the ordinary ones first, then far below, far above and missing."""
    strange = [bins.below, bins.above, bins.missing]
    assert strange == list(range(bins.ordinary, bins.size))
    assert len(strange) == STRANGE


@given(NUMBER_BINS)
def test_the_inner_edges_part_one_bin_more(bins: Bins) -> None:
    """A number's ordinary bins lie between its edges and outside the outermost two."""
    assert bins.ordinary == len(bins.edges) + 1


@given(CATEGORY_BINS)
def test_there_is_always_an_ordinary_bin(bins: Bins) -> None:
    """A category has a bin for each ordinary value, and one at least: a feature without any still has a table."""
    assert bins.ordinary == max(1, len(bins.categories))


def test_a_number_that_never_changed_has_one_ordinary_bin() -> None:
    """No edges part nothing."""
    assert Bins((), -1.0, 1.0).ordinary == 1


@given(NUMBER_BINS | CATEGORY_BINS)
def test_bins_survive_the_store(bins: Bins) -> None:
    """Written as a document and read back they are the same, to the last digit of an edge."""
    assert from_document(Bins, to_document(bins)) == bins
