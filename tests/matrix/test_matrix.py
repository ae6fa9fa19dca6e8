"""No silent cell: whatever the traffic, harm is noticed or the service is visibly not judged; health is left alone."""

from itertools import product
from pathlib import Path

import pytest

from stillsafe.core.policy import Policy
from tests.matrix import traffic
from tests.matrix.cells import DIMENSIONS, Cell, pairwise
from tests.matrix.simulation import play
from tests.postgres import STORES

SHORT = 4
"""Cells of the short form; `make matrix` plays all of them."""
SLOW = {"bursty"}
"""Traffic whose cells take the longest: those of `ABSENCES` stand for it."""
ABSENCES = [
    Cell(traffic="bursty", extra="synthetic", fault="stuck", log="hash", monitor="gone for a while"),
    Cell(traffic="bursty", writers="skewed clock", extra="probes", fault="permuted", monitor="gone for a while"),
    Cell(traffic="nightly silence", versions=2, writers="late", sample_size=400, monitor="gone for a while"),
]
"""Cells whose monitor is gone while few runs get new requests: the fault must last until the rules can tell."""


EXTERNAL_CELLS = [Cell(model="elsewhere", fault="stuck"), Cell(model="elsewhere", rows_per_run=60, fault="unseen")]
"""Cells whose model runs elsewhere: signals are judged by their own limits, and recovery is that of the input."""


@pytest.mark.parametrize(
    "cell",
    [Cell(), *ABSENCES, *EXTERNAL_CELLS, *[each for each in pairwise(seed=1) if each.traffic not in SLOW][:SHORT]],
    ids=str,
)
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


def test_a_fault_lasts_until_the_rules_can_tell() -> None:
    """Once the monitor is there for good, as many runs get new requests of the fault as CRITICAL takes, in any cell."""
    policy = Policy()
    for rows_per_run, pattern, monitor in product(
        *(DIMENSIONS[each] for each in ("rows_per_run", "traffic", "monitor"))
    ):
        cell = Cell(rows_per_run=rows_per_run, traffic=pattern, monitor=monitor)
        intervals = range(traffic.fault_intervals(cell, policy))
        first = next(each for each in intervals if all(traffic.has_run(cell, later) for later in intervals[each:]))
        since_gap = max((each for each in range(first) if traffic.has_run(cell, each)), default=-1) + 1
        rows = [traffic.row_count(cell, each) for each in range(first, len(intervals))]
        rows[0] = sum(traffic.row_count(cell, each) for each in range(since_gap, first + 1))
        assert sum(count > 0 for count in rows) >= policy.critical_runs, str(cell)
        assert sum(rows) >= policy.critical_runs * policy.min_predictions, str(cell)


def test_a_monitor_that_is_gone_is_gone_too_long() -> None:
    """The gap is longer than the rules' longest one, so it starts every streak anew, and it must be shown."""
    cell, policy = Cell(monitor="gone for a while"), Policy()
    absence = policy.every_seconds * (len(traffic.GAP) + 1)
    assert absence > policy.max_gap_seconds
    assert absence - policy.every_seconds > policy.evidence.state_valid_intervals * policy.every_seconds
    assert [each for each in range(8) if not traffic.has_run(cell, each)] == list(traffic.GAP)
