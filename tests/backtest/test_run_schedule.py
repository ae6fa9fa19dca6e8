"""Every row is in a run, and in exactly one run if runs are by rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.backtest.history import History, micros_of
from stillsafe.backtest.result import Basis
from stillsafe.backtest.run_schedule import MICROS, schedule_runs
from stillsafe.core.policy import Policy
from tests.monitoring.conftest import START

POLICY = Policy()


def history(seconds: list[float] | None, count: int = 0) -> History:
    """A history with rows at these seconds after the start, or `count` rows without times."""
    at = None if seconds is None else np.array([micros_of(START) + round(s * MICROS) for s in seconds], np.int64)
    return History({"size": [1.0] * (count if seconds is None else len(seconds))}, at)


@given(st.integers(1, 3_000), st.integers(1, 700))
def test_by_rows_every_row_is_in_the_run_of_its_number(count: int, size: int) -> None:
    """A run's window ends after its own rows and before the rows of the next run."""
    schedule = schedule_runs(history(None, count), POLICY, size)
    runs = np.searchsorted(schedule.window_ends, schedule.row_times, side="right")
    assert schedule.basis is Basis.ROWS
    assert runs.tolist() == [i // size for i in range(count)]
    assert len(schedule.window_ends) == -(-count // size)
    assert np.all(np.diff(schedule.window_ends) == schedule.window_length)


@given(st.lists(st.floats(0, 40_000), min_size=1, max_size=400).map(sorted))
def test_by_time_runs_are_at_whole_intervals_and_cover_all(seconds: list[float]) -> None:
    """Runs start as cron starts them; a sparse history is scheduled by rows."""
    schedule = schedule_runs(history(seconds), POLICY, None)
    if schedule.basis is Basis.TIME:
        assert not np.any(schedule.window_ends % (600 * MICROS))
        assert schedule.window_ends[0] - 600 * MICROS <= schedule.row_times[0] < schedule.window_ends[0]
        assert schedule.row_times[-1] < schedule.window_ends[-1] <= schedule.row_times[-1] + 600 * MICROS
    else:
        assert "rows that a run needs" in schedule.notices[0]


def test_half_of_the_windows_must_be_full() -> None:
    """A dense history runs by time; a long gap makes it sparse; `rows_per_run` always wins."""
    busy = [float(i) for i in range(0, 36_000, 10)]
    assert schedule_runs(history(busy), POLICY, None).basis is Basis.TIME
    assert schedule_runs(history([*busy, 400_000.0]), POLICY, None).basis is Basis.ROWS
    assert schedule_runs(history([0.0, 1e9]), POLICY, None).basis is Basis.ROWS
    assert schedule_runs(history(busy), POLICY, 100).basis is Basis.ROWS


def test_a_row_at_the_end_belongs_to_the_next_run() -> None:
    """Windows are half open."""
    schedule = schedule_runs(history([*([0.0] * 60), *([600.0] * 60)]), POLICY, None)
    assert [(end - micros_of(START)) // MICROS for end in schedule.window_ends.tolist()] == [600, 1200]
