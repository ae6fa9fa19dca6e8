"""When runs are: every row is in a run, and none twice where they go by rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.backtest.history import History
from stillsafe.backtest.result import Basis
from stillsafe.backtest.run_schedule import MICROS, micros_of, pace
from stillsafe.core.policy import Policy
from tests.monitoring.conftest import START

POLICY = Policy()


def history(seconds: list[float] | None, count: int = 0) -> History:
    """Rows at these times after the start, or so many without times."""
    at = None if seconds is None else np.array([micros_of(START) + round(s * MICROS) for s in seconds], np.int64)
    return History({"size": [1.0] * (count if seconds is None else len(seconds))}, at)


@given(st.integers(1, 3_000), st.integers(1, 700))
def test_by_rows_every_row_is_in_the_run_of_its_number(count: int, size: int) -> None:
    """The run's end comes after its rows and not after any other's."""
    chosen = pace(history(None, count), POLICY, size)
    runs = np.searchsorted(chosen.ends, chosen.at, side="right")
    assert chosen.basis is Basis.ROWS
    assert runs.tolist() == [i // size for i in range(count)]
    assert len(chosen.ends) == -(-count // size)
    assert np.all(np.diff(chosen.ends) == chosen.length)


@given(st.lists(st.floats(0, 40_000), min_size=1, max_size=400).map(sorted))
def test_by_time_runs_are_at_whole_intervals_and_cover_all(seconds: list[float]) -> None:
    """As cron starts them; sparse histories go by rows, however sparse they are."""
    chosen = pace(history(seconds), POLICY, None)
    if chosen.basis is Basis.TIME:
        assert not np.any(chosen.ends % (600 * MICROS))
        assert chosen.ends[0] - 600 * MICROS <= chosen.at[0] < chosen.ends[0]
        assert chosen.at[-1] < chosen.ends[-1] <= chosen.at[-1] + 600 * MICROS
    else:
        assert "rows that a run needs" in chosen.notices[0]


def test_half_of_the_windows_must_be_full() -> None:
    """Dense enough is by time; a long empty night makes it sparse; a number of rows is obeyed whatever the times."""
    busy = [float(i) for i in range(0, 36_000, 10)]
    assert pace(history(busy), POLICY, None).basis is Basis.TIME
    assert pace(history([*busy, 400_000.0]), POLICY, None).basis is Basis.ROWS
    assert pace(history([0.0, 1e9]), POLICY, None).basis is Basis.ROWS
    assert pace(history(busy), POLICY, 100).basis is Basis.ROWS


def test_a_row_at_the_end_belongs_to_the_next_run() -> None:
    """Windows are half open."""
    chosen = pace(history([*([0.0] * 60), *([600.0] * 60)]), POLICY, None)
    assert [(end - micros_of(START)) // MICROS for end in chosen.ends.tolist()] == [600, 1200]
