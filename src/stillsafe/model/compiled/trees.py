"""Decision trees side by side: a few rows go down all of them at once, a level at a time.

scikit-learn's own walk takes one tree after another, which for one row is mostly the cost of calling it so often.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillsafe.model.confidence import Numbers

FEW = 16
"""The most rows for which this is faster."""
MOST_NODES = 1_000_000
"""A grove takes some 40 bytes a node beside the trees themselves."""
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Tree:
    """One fitted tree, an entry for each node; of a leaf the children are -1.

    Attributes:
        column: which column of the matrix is compared.
        threshold: values up to it go left, greater ones right.
        missing_left: whether NaN goes left.
        left, right: the children's places.
    """

    column: NDArray[np.integer]
    threshold: Numbers
    missing_left: NDArray[np.bool_]
    left: NDArray[np.integer]
    right: NDArray[np.integer]


class Grove:
    """All trees of a model in one array of nodes, in their order."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        sizes = [len(tree.column) for tree in trees]
        self.roots: Places = np.cumsum([0, *sizes[:-1]], dtype=np.intp)
        leaf = np.concatenate([tree.left < 0 for tree in trees])
        places = np.arange(len(leaf), dtype=np.intp)
        left, right = (
            np.concatenate([side + root for side, root in zip(sides, self.roots, strict=True)])
            for sides in ([tree.left for tree in trees], [tree.right for tree in trees])
        )
        self._column = np.where(leaf, 0, np.concatenate([tree.column for tree in trees])).astype(np.intp)
        self._threshold = np.concatenate([tree.threshold for tree in trees]).astype(np.float64)
        self._missing_left = np.concatenate([tree.missing_left for tree in trees])
        # Right, then left, of each node; a leaf is its own child, so that whoever has arrived stays.
        self._children = (
            np.where(leaf[:, None], places[:, None], np.stack([right, left], axis=1)).astype(np.intp).ravel()
        )
        self._leaf = leaf

    def leaves(self, matrix: Numbers) -> Places:
        """(n, trees) the node at which each row of an (n, width) matrix ends in each tree, counted over all trees."""
        rows = np.arange(len(matrix))[:, None]
        missing = bool(np.isnan(matrix).any())
        at = np.broadcast_to(self.roots, (len(matrix), len(self.roots)))
        while not self._leaf[at].all():
            values = matrix[rows, self._column[at]]
            goes_left = values <= self._threshold[at]
            if missing:
                goes_left |= np.isnan(values) & self._missing_left[at]
            at = self._children[2 * at + goes_left]
        return at


def grove_of(trees: Sequence[Tree]) -> Grove | None:
    """The trees side by side, or None where they are too large for that."""
    return Grove(trees) if sum(len(tree.column) for tree in trees) <= MOST_NODES else None
