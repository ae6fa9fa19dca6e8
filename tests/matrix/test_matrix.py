"""No silent cell: whatever the traffic, harm is noticed or the service is visibly not judged; health is left alone."""

from pathlib import Path

import pytest

from tests.matrix.cells import DIMENSIONS, Cell, pairwise
from tests.matrix.simulation import play
from tests.postgres import STORES

SHORT = 14
"""Cells of the short form; `make matrix` plays all of them."""


@pytest.mark.parametrize("cell", [Cell(), *pairwise(seed=1)[:SHORT]], ids=str)
def test_no_cell_is_silent(cell: Cell, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Health is never CRITICAL, a harmful fault is or the version is not judged, and mended traffic recovers."""
    outcome = play(cell, STORES[cell.store](request), tmp_path)
    assert list(outcome.violations()) == []


def test_every_pair_of_conditions_occurs() -> None:
    """The long form leaves out no combination of two conditions."""
    cells = pairwise(seed=1)
    for one in DIMENSIONS:
        for other in DIMENSIONS:
            pairs = {(getattr(cell, one), getattr(cell, other)) for cell in cells}
            same = one == other
            count = len(DIMENSIONS[one]) if same else len(DIMENSIONS[one]) * len(DIMENSIONS[other])
            assert len(pairs) == count
