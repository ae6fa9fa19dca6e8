"""Bins: the few places that a feature's values fall into, fixed on the healthy period so that shares compare.

A feature has some ordinary bins, which share the healthy values about equally, and three strange ones after them:

    number      ordinary ... | far below | far above | missing
    category    ordinary ... | rare      | unseen    | missing
"""

from dataclasses import dataclass

STRANGE = 3


@dataclass(frozen=True, slots=True)
class Bins:
    """Where one feature's values fall.

    Attributes:
        edges: of a number, the inner edges in increasing order; a bin ends at its edge, which belongs to it.
        lowest, highest: of a number, beyond these a value lies far from all healthy ones; None of a category.
        categories: of a category, the ordinary ones, a bin each.
    """

    edges: tuple[float, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    categories: tuple[str, ...] = ()

    @property
    def ordinary(self) -> int:
        """How many ordinary bins there are, at least one."""
        return len(self.edges) + 1 if self.lowest is not None else max(len(self.categories), 1)

    @property
    def size(self) -> int:
        """How many bins there are, the strange ones included."""
        return self.ordinary + STRANGE

    @property
    def below(self) -> int:
        """The bin of numbers far below; of a category, of those that were rare."""
        return self.ordinary

    @property
    def above(self) -> int:
        """The bin of numbers far above; of a category, of those never seen."""
        return self.ordinary + 1

    @property
    def missing(self) -> int:
        """The bin of missing values."""
        return self.ordinary + 2
