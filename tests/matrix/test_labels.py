"""Concept drift is found by labels however they come, health is left alone, and the model comes back."""

from itertools import product

import pytest

from stillsafe.core.state import State
from tests.matrix.label_life import DELIVERIES, LabelLife
from tests.postgres import STORES

CELLS = [*product(DELIVERIES, ["sqlite"]), ("nightly", "postgresql")]


@pytest.mark.parametrize(("delivery", "store"), CELLS, ids=str)
def test_a_changed_world_is_critical_within_three_labelled_runs(
    delivery: str, store: str, request: pytest.FixtureRequest
) -> None:
    """Ten points lost with the same features: CRITICAL with the third labelled run, NORMAL before, and after it."""
    life = LabelLife(DELIVERIES[delivery], STORES[store](request))
    try:
        late = int(DELIVERIES[delivery].delay / DELIVERIES[delivery].period)
        healthy = list(life.play(3 + late))
        drift_runs = [each for each in life.play(3 + late, drift=0.1) if each[2]][late:]
        later_runs = list(life.play(7 + late))
    finally:
        life.engine.dispose()
    assert {(state, severity) for state, severity, _ in healthy} == {(State.NORMAL, "NORMAL")}
    assert sum(is_labelled for _, _, is_labelled in healthy) >= 2
    assert [severity for _, severity, _ in drift_runs] == ["NORMAL", "WARNING", "CRITICAL"]
    assert later_runs[-1][:2] == (State.NORMAL, "NORMAL")
