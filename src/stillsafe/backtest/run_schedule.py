"""The run schedule of a backtest: by time, as the live monitor runs, or by a fixed number of rows."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from stillsafe.backtest.history import EPOCH, History, Micros, micros_of
from stillsafe.backtest.result import Basis
from stillsafe.core.policy import Policy

ROWS_PER_RUN = 500
LEAST_FULL_SHARE = 0.5
MICROS = 1_000_000
ARTIFICIAL_START = datetime(2000, 1, 1, tzinfo=EPOCH.tzinfo)


@dataclass(frozen=True, slots=True)
class RunSchedule:
    """The windows of a backtest's runs. Times in microseconds since 1970.

    Attributes:
        basis: by time or by rows.
        row_times: (n,) time of each row; artificial by rows.
        window_ends: (m,) end of each run's window.
        window_length: microseconds.
        notices: why this basis was chosen, one sentence each.
    """

    basis: Basis
    row_times: Micros
    window_ends: Micros
    window_length: int
    notices: tuple[str, ...] = ()


def schedule_runs(history: History, policy: Policy, rows_per_run: int | None) -> RunSchedule:
    """Schedule runs by time if enough windows are full, else by rows.

    Args:
        history: past requests.
        policy: window length and interval.
        rows_per_run: schedule by rows, this many a run; None chooses the basis.
    """
    if rows_per_run is not None:
        return _by_rows(history, policy, rows_per_run)
    if history.micros is None:
        notice = f"The history has no times: row order stands for time, in runs of {ROWS_PER_RUN} rows."
        return _by_rows(history, policy, ROWS_PER_RUN, notice)
    full_share = _full_window_share(history.micros, policy)
    if full_share < LEAST_FULL_SHARE:
        notice = (
            f"By time only {full_share:.0%} of the windows of {policy.window_seconds:g} s hold the "
            f"{policy.min_predictions} rows that a run needs: the backtest uses runs of {ROWS_PER_RUN} rows at "
            "artificial times instead."
        )
        return _by_rows(history, policy, ROWS_PER_RUN, notice)
    length = round(policy.window_seconds * MICROS)
    return RunSchedule(Basis.TIME, history.micros, _window_ends(history.micros, policy), length)


def _by_rows(history: History, policy: Policy, size: int, *notices: str) -> RunSchedule:
    """Consecutive runs of `size` rows, each as long as the interval between live runs."""
    start = micros_of(ARTIFICIAL_START)
    length = round(policy.every_seconds * MICROS)
    run_index, row_in_run = np.divmod(np.arange(len(history), dtype=np.int64), size)
    row_times = start + run_index * length + row_in_run * length // size
    window_ends = start + (np.arange(run_index[-1] + 1, dtype=np.int64) + 1) * length
    return RunSchedule(Basis.ROWS, row_times, window_ends, length, notices)


def _full_window_share(row_times: Micros, policy: Policy) -> float:
    """Share of the windows by time that hold at least `min_predictions` rows, in [0, 1]."""
    window_count = (row_times[-1] - row_times[0]) / MICROS / policy.every_seconds + 1
    overlap = max(policy.window_seconds / policy.every_seconds, 1.0)
    rows_needed = window_count * policy.min_predictions
    if rows_needed * LEAST_FULL_SHARE > overlap * len(row_times) + policy.min_predictions:
        # Too few rows for so many windows, however they are distributed: an array of all windows could be huge.
        return float(min(overlap * len(row_times) / rows_needed, 0.99 * LEAST_FULL_SHARE))
    ends = _window_ends(row_times, policy)
    starts = ends - round(policy.window_seconds * MICROS)
    row_counts = np.searchsorted(row_times, ends) - np.searchsorted(row_times, starts)
    return float((row_counts >= policy.min_predictions).mean())


def _window_ends(row_times: Micros, policy: Policy) -> Micros:
    """Whole multiples of the interval, as cron starts runs, until every row was in a window."""
    interval = round(policy.every_seconds * MICROS)
    return np.arange(int(row_times[0]) // interval + 1, int(row_times[-1]) // interval + 2, dtype=np.int64) * interval
