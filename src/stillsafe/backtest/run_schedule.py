"""When a backtest's runs are: by time as the live monitor has them, or by a fixed number of rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from stillsafe.backtest.history import EPOCH, History
from stillsafe.backtest.result import Basis
from stillsafe.core.policy import Policy

ROWS_PER_RUN = 500
FEWEST_FULL_WINDOWS = 0.5
MICROS = 1_000_000
MADE_UP_START = datetime(2000, 1, 1, tzinfo=EPOCH.tzinfo)

Micros = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pace:
    """When the runs are. Times in microseconds since 1970.

    Attributes:
        basis: by time or by rows.
        at: (n,) when each row of the history came.
        ends: (m,) the ends of the runs' windows.
        length: of a window.
        notices: why it is so, one sentence each.
    """

    basis: Basis
    at: Micros
    ends: Micros
    length: int
    notices: tuple[str, ...] = ()


def pace(history: History, policy: Policy, rows_per_run: int | None) -> Pace:
    """The runs of a history: of so many rows where that is asked for, else by time where windows are full enough."""
    if history.micros is None or rows_per_run is not None:
        unasked = rows_per_run is None
        told = f"The history has no times: its order is taken for time, in runs of {ROWS_PER_RUN} rows."
        return _by_rows(history, policy, rows_per_run or ROWS_PER_RUN, (told,) if unasked else ())
    full = _full_windows(history.micros, policy)
    if full >= FEWEST_FULL_WINDOWS:
        length = round(policy.window_seconds * MICROS)
        return Pace(Basis.TIME, history.micros, _ends(history.micros, policy), length)
    told = (
        f"By time only {full:.0%} of the windows of {policy.window_seconds:g} s hold the {policy.min_predictions} "
        f"rows that a run needs: runs of {ROWS_PER_RUN} rows are judged instead, at times made up."
    )
    return _by_rows(history, policy, ROWS_PER_RUN, (told,))


def _by_rows(history: History, policy: Policy, size: int, notices: tuple[str, ...]) -> Pace:
    """Runs of so many rows, each as long as the interval between live runs, one after the other."""
    start = round((MADE_UP_START - EPOCH).total_seconds()) * MICROS
    length = round(policy.every_seconds * MICROS)
    run, place = np.divmod(np.arange(len(history), dtype=np.int64), size)
    at = start + run * length + place * length // size
    ends = start + (np.arange(run[-1] + 1, dtype=np.int64) + 1) * length
    return Pace(Basis.ROWS, at, ends, length, notices)


def _full_windows(at: Micros, policy: Policy) -> float:
    """Share of the windows by time that hold rows enough for a run, in [0, 1]."""
    count = (at[-1] - at[0]) / MICROS / policy.every_seconds + 1
    overlap = max(policy.window_seconds / policy.every_seconds, 1.0)
    if count * policy.min_predictions * FEWEST_FULL_WINDOWS > overlap * len(at) + policy.min_predictions:
        # Not worth laying out: there are too few rows for so many windows, wherever they lie.
        return float(min(overlap * len(at) / (count * policy.min_predictions), 0.99 * FEWEST_FULL_WINDOWS))
    ends = _ends(at, policy)
    held = np.searchsorted(at, ends) - np.searchsorted(at, ends - round(policy.window_seconds * MICROS))
    return float((held >= policy.min_predictions).mean())


def _ends(at: Micros, policy: Policy) -> Micros:
    """The runs' times: whole multiples of the interval, as cron has them, until every row was in a window."""
    every = round(policy.every_seconds * MICROS)
    return np.arange(int(at[0]) // every + 1, int(at[-1]) // every + 2, dtype=np.int64) * every


def micros_of(at: datetime) -> int:
    """A time in microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)
