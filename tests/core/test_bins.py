"""Where values fall."""

from stillsafe.core.bins import STRANGE, Bins


def test_a_number_has_an_ordinary_bin_more_than_inner_edges() -> None:
    """Two inner edges make three ordinary bins, and the strange ones come after them, each its own."""
    bins = Bins((1.0, 2.0), lowest=-5.0, highest=8.0)
    assert bins.ordinary == 3
    assert (bins.below, bins.above, bins.missing) == (3, 4, 5)
    assert bins.size == bins.ordinary + STRANGE


def test_a_category_has_a_bin_each_and_at_least_one() -> None:
    """Even a feature that never had a value has an ordinary bin."""
    assert Bins(categories=("a", "b")).ordinary == 2
    assert Bins().ordinary == 1
    assert Bins().size == 1 + STRANGE
