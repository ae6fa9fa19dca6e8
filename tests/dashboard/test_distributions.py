"""Distributions before and after: shares by bin, and nothing that few values share."""

from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.schema import FeatureType
from stillsafe.core.window import FeatureTally
from stillsafe.dashboard.distributions import bin_labels, distribution

EDGES = Bins(edges=(1.0, 5.0), lowest=-10.0, highest=20.0)
NUMBER = FeatureBaseline(FeatureType.NUMERIC, 100, 0, bins=EDGES, bin_counts=(50, 30, 20, 0, 0, 0))


def test_bins_have_labels() -> None:
    """Numbers by their edges, categories by their names, and the special bins last."""
    assert bin_labels(EDGES) == [
        *("up to 1", "1 to 5", "above 5", "far below (-10 and less)", "far above (20 and more)", "missing"),
    ]
    towns = Bins(categories=("A", "B"), groups=(("C", "D", "E", "F", "G"),))
    assert bin_labels(towns) == ["A", "B", "C, D, E and 2 more", "rare", "not in the healthy period", "missing"]
    for bins in (Bins(), Bins(lowest=0.0, highest=1.0), EDGES, towns):
        assert len(bin_labels(bins)) == bins.size


def test_shares_stand_beside_each_other() -> None:
    """Bins that have values in either, with both shares."""
    tally = FeatureTally(90, 10, bin_counts=(0, 0, 10, 0, 80, 10), commonest=(999.0, 80))
    distribution_now = distribution("delay", NUMBER, tally, 5)
    assert distribution_now is not None
    assert [(row.label, row.healthy_text, row.now_text) for row in distribution_now.rows] == [
        ("up to 1", "50.0%", "0.0%"),
        ("1 to 5", "30.0%", "0.0%"),
        ("above 5", "20.0%", "10.0%"),
        ("far above (20 and more)", "0.0%", "80.0%"),
        ("missing", "0.0%", "10.0%"),
    ]
    assert (distribution_now.healthy_count, distribution_now.count) == (100, 100)
    assert distribution_now.notes == ("Most frequent number: 999, in 88.9% of the values.",)


@given(st.lists(st.integers(0, 12), min_size=6, max_size=6), st.integers(1, 10))
def test_few_values_are_not_counted_out(counts: list[int], min_count: int) -> None:
    """A bin with fewer than `min_count` values has the same text and the same bar, however many it has."""
    distribution_now = distribution("delay", NUMBER, FeatureTally(sum(counts), bin_counts=tuple(counts)), min_count)
    assert distribution_now is not None
    labels = dict(zip(bin_labels(EDGES), counts, strict=True))
    for row in distribution_now.rows:
        is_few = 0 < labels[row.label] < min_count
        assert (row.now_text == f"fewer than {min_count} values") is is_few
        assert 0 <= row.now <= 1
        if is_few:
            assert row.now == min(min_count, sum(counts)) / sum(counts)


def test_an_old_baseline_has_missing_values_alone() -> None:
    """Without bins the shares of present and missing values remain; without any value there is nothing."""
    old = FeatureBaseline(FeatureType.NUMERIC, 98, 2)
    distribution_now = distribution("age", old, FeatureTally(3, 97, bin_counts=(1, 2)), 5)
    assert distribution_now is not None
    assert [(row.label, row.healthy_text, row.now_text) for row in distribution_now.rows] == [
        ("present", "98.0%", "fewer than 5 values"),
        ("missing", "2.0%", "97.0%"),
    ]
    assert distribution("age", old, FeatureTally(), 5) is None


def test_new_categories_are_named() -> None:
    """The most frequent ones of those that are stored, on one line."""
    towns = FeatureBaseline(FeatureType.CATEGORY, 10, 0, bins=Bins(categories=("A",)), bin_counts=(10, 0, 0, 0))
    tally = FeatureTally(20, 0, 20, unseen_examples={"X\nY": 12, "Z": 8}, bin_counts=(0, 0, 20, 0))
    distribution_now = distribution("town", towns, tally, 5)
    assert distribution_now is not None
    assert distribution_now.notes == ("New: X Y × 12, Z × 8.",)
