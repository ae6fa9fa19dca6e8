"""Sets of row ids as ranges: they hold exactly their ids, and never one that no visible row has."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.store.row_ranges import RowRanges, merge, ranges_of

LAST = 60
ID_SETS = st.sets(st.integers(1, LAST), max_size=40)
RANGES = st.lists(st.tuples(st.integers(1, LAST), st.integers(0, 9)), max_size=12).map(
    lambda pairs: [(first, first + length) for first, length in pairs]
)


def ids_in(ranges: RowRanges) -> set[int]:
    """Every id of the set."""
    return {row_id for first, last in ranges.ranges for row_id in range(first, last + 1)}


def array(ids: set[int]) -> np.ndarray:
    """The ids in no order."""
    return np.array(list(ids), dtype=np.int64)


@given(ID_SETS, ID_SETS)
def test_ranges_hold_the_ids_and_of_the_others_only_fillers(row_ids: set[int], fillers: set[int]) -> None:
    """Every id is in the set, and what else is in it are fillers: an id without a visible row never is."""
    ranges = ranges_of(array(row_ids), array(fillers))
    assert row_ids <= ids_in(ranges) <= row_ids | fillers


@given(ID_SETS, ID_SETS)
def test_ranges_are_as_few_as_the_fillers_allow(row_ids: set[int], fillers: set[int]) -> None:
    """They are ascending, begin and end with an id of the set, and between two of them an id is invisible."""
    ranges = ranges_of(array(row_ids), array(fillers)).ranges
    assert all(first in row_ids and last in row_ids for first, last in ranges)
    for (_, last), (first, _) in pairwise(ranges):
        assert set(range(last + 1, first)) - fillers - row_ids


@given(ID_SETS, st.integers(0, LAST + 9))
def test_membership_is_that_of_the_ids(row_ids: set[int], row_id: int) -> None:
    """One by one, and for many ids at once."""
    ranges = ranges_of(array(row_ids), array(set()))
    assert (row_id in ranges) == (row_id in row_ids)
    everything = np.arange(LAST + 10)
    assert ranges.contains(everything).tolist() == [each in row_ids for each in everything]
    assert bool(ranges) == bool(row_ids)
    assert ranges.last == max(row_ids, default=0)


@given(ID_SETS, st.integers(1, LAST), st.integers(1, LAST))
def test_the_complement_is_the_rest_of_the_span(row_ids: set[int], first: int, last: int) -> None:
    """It holds each id from first to last that the set leaves out, and no other."""
    ranges = ranges_of(array(row_ids), array(set()))
    assert ids_in(ranges.complement(first, last)) == set(range(first, last + 1)) - row_ids


@given(RANGES)
def test_merged_ranges_hold_the_same_ids_and_do_not_touch(pairs: list[tuple[int, int]]) -> None:
    """Whatever their order and overlaps, at least one id lies between neighbours."""
    union = merge(pairs)
    assert ids_in(union) == {row_id for first, last in pairs for row_id in range(first, last + 1)}
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(union.ranges))


@given(RANGES, RANGES)
def test_a_union_holds_the_ids_of_both(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    """And no other."""
    assert ids_in(merge(left) | merge(right)) == ids_in(merge(left)) | ids_in(merge(right))
