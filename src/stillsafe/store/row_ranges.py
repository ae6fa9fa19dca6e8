"""Sets of row ids, as a run stores them: sorted, inclusive ranges.

A run states exactly which rows it judged. Ids of concurrent transactions become visible out of order on PostgreSQL, so
neither a highest id nor a time separates judged rows from others; a set of ids does. Rows of other services and model
versions lie between a run's own rows. A range may cover their ids, because only rows of the run's own version are ever
looked up in it. A range never covers an id that no visible row has: its transaction may not have committed yet.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Range = tuple[int, int]
Ids = NDArray[np.int64]
NO_IDS: Ids = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class RowRanges:
    """A set of row ids.

    Attributes:
        ranges: inclusive (first, last) pairs, ascending, with at least one id between neighbours.
    """

    ranges: tuple[Range, ...] = ()

    def __contains__(self, row_id: int) -> bool:
        """Whether an id belongs to the set."""
        index = bisect_right(self.ranges, row_id, key=lambda each: each[0]) - 1
        return index >= 0 and row_id <= self.ranges[index][1]

    def __bool__(self) -> bool:
        """Whether the set holds any id."""
        return bool(self.ranges)

    def __or__(self, other: "RowRanges") -> "RowRanges":
        """The union."""
        return merge([*self.ranges, *other.ranges])

    @property
    def last(self) -> int:
        """The highest id, 0 where the set is empty."""
        return self.ranges[-1][1] if self.ranges else 0

    def contains(self, row_ids: Ids) -> NDArray[np.bool_]:
        """(n,) whether each id belongs to the set."""
        if not self.ranges:
            return np.zeros(len(row_ids), dtype=bool)
        firsts, lasts = (np.array(column, dtype=np.int64) for column in zip(*self.ranges, strict=True))
        index = np.searchsorted(firsts, row_ids, side="right") - 1
        return np.asarray((index >= 0) & (row_ids <= lasts[np.maximum(index, 0)]))

    def complement(self, first: int, last: int) -> "RowRanges":
        """The ids from `first` to `last` that the set leaves out."""
        gaps, next_id = [], first
        for start, end in self.ranges:
            if start > next_id:
                gaps.append((next_id, min(start - 1, last)))
            next_id = max(next_id, end + 1)
        if next_id <= last:
            gaps.append((next_id, last))
        return RowRanges(tuple((start, end) for start, end in gaps if start <= end and start <= last))


def merge(ranges: Iterable[Range]) -> RowRanges:
    """The union of ranges in any order."""
    union: list[Range] = []
    for first, last in sorted(ranges):
        if union and first <= union[-1][1] + 1:
            union[-1] = (union[-1][0], max(union[-1][1], last))
        else:
            union.append((first, last))
    return RowRanges(tuple(union))


def ranges_of(row_ids: Ids, fillers: Ids) -> RowRanges:
    """The set of some ids, in as few ranges as the fillers allow.

    Args:
        row_ids: (n,) the ids, in any order.
        fillers: (m,) ids of visible rows that belong to others; a range may cover them.
    """
    if not len(row_ids):
        return RowRanges()
    own = np.unique(row_ids)
    visible = np.union1d(own, fillers)
    block = np.cumsum(np.diff(visible, prepend=visible[0]) > 1)[np.isin(visible, own, assume_unique=True)]
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    ends = np.append(starts[1:], len(own)) - 1
    return RowRanges(tuple(zip(own[starts].tolist(), own[ends].tolist(), strict=True)))
