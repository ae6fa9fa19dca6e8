"""When a cell's requests arrive and its monitor runs, and how long its fault must last for the law to speak of it."""

from stillsafe.core.policy import Policy
from tests.matrix.cells import Cell

LEAST_RUNS, MOST_RUNS = 8, 150
"""Fewest and most intervals of any phase."""
PHASE_ROWS = 800
"""Rows that the healthy phase of thin traffic, and any phase with a fault, get at least."""
GAP = range(2, 5)
"""The intervals of each phase at whose end a monitor that is gone for a while does not run."""


def row_count(cell: Cell, interval: int) -> int:
    """Requests of one version in an interval of a phase, from 0."""
    match cell.traffic:
        case "bursty":
            return cell.rows_per_run * (3 if interval % 3 == 0 else 0)
        case "nightly silence":
            return 0 if interval % 4 == 3 else cell.rows_per_run
        case _:
            return cell.rows_per_run


def has_run(cell: Cell, interval: int) -> bool:
    """Whether the monitor runs at the end of an interval."""
    return cell.monitor != "gone for a while" or interval not in GAP


def healthy_intervals(cell: Cell) -> int:
    """How long a cell's first healthy phase lasts."""
    return min(MOST_RUNS, max(LEAST_RUNS, PHASE_ROWS // (2 * cell.rows_per_run)))


def fault_intervals(cell: Cell, policy: Policy) -> int:
    """How long a cell's fault lasts: until as many conclusive runs as CRITICAL takes have followed each other.

    Requests wait for a run that has enough of them; after a longer gap than the policy's, runs are counted anew. No
    run before those may be CRITICAL by the rules, so a shorter fault would prove nothing.
    """
    least = max(LEAST_RUNS, PHASE_ROWS // cell.rows_per_run)
    waiting = conclusive_runs = last_run = 0
    for interval in range(MOST_RUNS):
        waiting += row_count(cell, interval)
        if not has_run(cell, interval):
            continue
        if (interval - last_run) * policy.every_seconds > policy.max_gap_seconds:
            conclusive_runs = 0
        last_run = interval
        if waiting >= max(policy.min_predictions, policy.min_fresh_predictions):
            waiting, conclusive_runs = 0, conclusive_runs + 1
        if conclusive_runs >= policy.critical_runs and interval + 1 >= least:
            return interval + 1
    return MOST_RUNS
