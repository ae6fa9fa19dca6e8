"""Evaluating all trees at once reaches the same leaves as scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor

from stillsafe.model.compiled import trees
from stillsafe.model.compiled.trees import Tree, TreeEnsemble, tree_ensemble

RANDOM = np.random.default_rng(4)
TRAINING_ROWS = RANDOM.normal(size=(300, 4)).astype(np.float32)
TRAINING_ROWS[RANDOM.random(TRAINING_ROWS.shape) < 0.1] = np.nan
FOREST = RandomForestRegressor(12, max_depth=9, random_state=1).fit(
    TRAINING_ROWS, np.nansum(TRAINING_ROWS, axis=1) ** 2
)
TREES = [member.tree_ for member in FOREST.estimators_]
ENSEMBLE = TreeEnsemble(
    [Tree(t.feature, t.threshold, t.missing_go_to_left.astype(bool), t.children_left, t.children_right) for t in TREES]
)
THRESHOLDS = np.concatenate([tree.threshold[tree.feature >= 0] for tree in TREES])
THRESHOLDS = THRESHOLDS[np.isfinite(THRESHOLDS)]  # a node that only separates missing values has an infinite threshold
values = st.floats(-4, 4, width=32) | st.just(float("nan")) | st.sampled_from(THRESHOLDS.astype(np.float32).tolist())


@given(st.lists(st.tuples(values, values, values, values), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_row_reaches_its_leaf(rows: list[tuple[float, float, float, float]]) -> None:
    """Also if values are missing, or equal to a threshold."""
    matrix = np.array(rows, np.float32)
    leaves = ENSEMBLE.leaves(matrix.astype(np.float64))
    np.testing.assert_array_equal(leaves - ENSEMBLE.roots, FOREST.apply(matrix))


def test_a_large_ensemble_is_left_to_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees with more nodes than the limit are not copied."""
    leaf = Tree(np.array([-2]), np.array([-2.0]), np.array([False]), np.array([-1]), np.array([-1]))
    monkeypatch.setattr(trees, "MOST_NODES", 3)
    assert tree_ensemble([leaf] * 3) is not None
    assert tree_ensemble([leaf] * 4) is None


@pytest.mark.parametrize("count", [1, 3])
def test_a_tree_with_one_leaf_is_valid(count: int) -> None:
    """No column is compared, so none is out of range."""
    leaf = Tree(np.array([-2]), np.array([-2.0]), np.array([False]), np.array([-1]), np.array([-1]))
    leaves = TreeEnsemble([leaf] * count).leaves(np.full((2, 1), np.nan))
    assert leaves.tolist() == [list(range(count))] * 2
