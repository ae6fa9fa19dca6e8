"""Rows go down trees side by side to the very leaves to which scikit-learn takes them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor

from stillsafe.model.compiled import trees
from stillsafe.model.compiled.trees import Grove, Tree, grove_of

RANDOM = np.random.default_rng(4)
SEEN = RANDOM.normal(size=(300, 4)).astype(np.float32)
SEEN[RANDOM.random(SEEN.shape) < 0.1] = np.nan
FOREST = RandomForestRegressor(12, max_depth=9, random_state=1).fit(SEEN, np.nansum(SEEN, axis=1) ** 2)
TREES = [member.tree_ for member in FOREST.estimators_]
GROVE = Grove(
    [Tree(t.feature, t.threshold, t.missing_go_to_left.astype(bool), t.children_left, t.children_right) for t in TREES]
)
THRESHOLDS = np.concatenate([tree.threshold[tree.feature >= 0] for tree in TREES])
THRESHOLDS = THRESHOLDS[np.isfinite(THRESHOLDS)]  # where only missing values are told apart it is infinite
values = st.floats(-4, 4, width=32) | st.just(float("nan")) | st.sampled_from(THRESHOLDS.astype(np.float32).tolist())


@given(st.lists(st.tuples(values, values, values, values), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_row_ends_where_it_should(rows: list[tuple[float, float, float, float]]) -> None:
    """Also where values are missing, or lie on a threshold."""
    matrix = np.array(rows, np.float32)
    found = GROVE.leaves(matrix.astype(np.float64))
    np.testing.assert_array_equal(found - GROVE.roots, FOREST.apply(matrix))


def test_a_wood_is_left_to_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of very many nodes are not kept twice."""
    leaf = Tree(np.array([-2]), np.array([-2.0]), np.array([False]), np.array([-1]), np.array([-1]))
    monkeypatch.setattr(trees, "MOST_NODES", 3)
    assert grove_of([leaf] * 3) is not None
    assert grove_of([leaf] * 4) is None


@pytest.mark.parametrize("count", [1, 3])
def test_a_tree_that_is_one_leaf_is_no_special_case(count: int) -> None:
    """Nothing is compared, and nothing is looked up outside."""
    leaf = Tree(np.array([-2]), np.array([-2.0]), np.array([False]), np.array([-1]), np.array([-1]))
    found = Grove([leaf] * count).leaves(np.full((2, 1), np.nan))
    assert found.tolist() == [list(range(count))] * 2
