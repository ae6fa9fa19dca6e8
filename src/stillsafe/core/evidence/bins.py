"""Bins: the intervals or categories that a feature's values fall into. They are fixed on the healthy period.

A feature has ordinary bins, which share the healthy values about equally, and three special bins after them:

    number      ordinary ... | far below | far above | missing
    category    ordinary ... | rare      | unseen    | missing
"""

from dataclasses import dataclass

SPECIAL_BINS = 3


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one feature.

    Attributes:
        edges: of a number, the inner edges in increasing order; an edge belongs to the bin below it.
        lowest, highest: of a number, the limits beyond which a value is far outside the healthy range; None of a
            category.
        categories: of a category, the most common ones, a bin each.
        groups: of a category, further ones that the model treats alike, a bin for each group.
        has_unlisted_rare: of a category, whether one that is not listed counts as rare: the rare ones were removed.
    """

    edges: tuple[float, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    categories: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    has_unlisted_rare: bool = False

    @property
    def ordinary(self) -> int:
        """Number of ordinary bins, at least one."""
        return len(self.edges) + 1 if self.lowest is not None else max(len(self.categories) + len(self.groups), 1)

    @property
    def size(self) -> int:
        """Number of bins, special ones included."""
        return self.ordinary + SPECIAL_BINS

    @property
    def below(self) -> int:
        """The bin of numbers far below the healthy range; of a category, of rare healthy categories."""
        return self.ordinary

    @property
    def above(self) -> int:
        """The bin of numbers far above the healthy range; of a category, of categories not in the baseline."""
        return self.ordinary + 1

    @property
    def missing(self) -> int:
        """The bin of missing values."""
        return self.ordinary + 2

    @property
    def clipped_bins(self) -> tuple[int, ...]:
        """For each bin, the bin itself; for numbers far outside, the outermost ordinary bin on that side."""
        bins = list(range(self.size))
        if self.lowest is not None:
            bins[self.below], bins[self.above] = 0, self.ordinary - 1
        return tuple(bins)
