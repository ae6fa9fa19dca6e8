"""Charts fit the terminal, and show what they are about."""

import pytest
from rich.cells import cell_len

from stillsafe.cli.terminal_chart import HEIGHT, LIMIT_MARK, Series, chart, label_width_of, state_band

STATES = ["NORMAL"] * 3 + ["WARNING", "DEGRADED"]


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("run_count", [1, 7, 500])
def test_no_line_is_wider_than_the_terminal(width: int, run_count: int) -> None:
    """Few runs are spread, many share columns; title, marks and states stay within the width."""
    values = [number / run_count for number in range(run_count)]
    lines = list(chart("A title that is longer than twenty columns", [Series("a", values)], width, limit=0.5))
    lines += state_band(["NORMAL"] * run_count, width, label_width_of(lines))
    assert max(cell_len(line.plain) for line in lines) <= width
    assert len(lines) == HEIGHT + 3


def test_values_stand_at_their_height() -> None:
    """The largest value is in the first line and the smallest in the last; the limit is a dashed line."""
    lines = [line.plain for line in chart("t", [Series("a", [1.0, None, 3.0, float("nan")])], 40, limit=2.0)]
    assert (lines[1].split("│")[0].strip(), "●" in lines[1], "●" in lines[-1]) == ("3", True, True)
    assert lines[-1].index("●") < lines[1].index("●")
    assert [line.split("│")[0].strip() for line in lines if LIMIT_MARK in line] == ["2"]


def test_series_have_their_own_marks() -> None:
    """Two series are told apart without colours; equal values of one make a line, and no values no chart."""
    lines = [line.plain for line in chart("t", [Series("x", [1.0, 1.0]), Series("y", [2.0, 2.0], "○")], 40)]
    assert lines[1] == "● x  ○ y"
    assert lines[2].count("○") == lines[-1].count("●") == 2
    assert list(chart("t", [Series("x", [None])], 40)) == []
    assert len(list(chart("t", [Series("x", [5.0, 5.0])], 40))) == HEIGHT + 1


def test_a_column_of_many_runs_has_their_worst_state() -> None:
    """A short degradation among many runs is not lost, and every state has a mark of its own."""
    band, legend = (line.plain for line in state_band(["NORMAL"] * 990 + ["DEGRADED"] + ["NORMAL"] * 9, 40))
    assert band.count("█") == 1
    assert [word for word in ("NORMAL", "WARNING", "DEGRADED") if word in legend] == ["NORMAL", "WARNING", "DEGRADED"]
    band = next(iter(state_band(STATES, 40))).plain
    assert [band.count(mark) for mark in "·▲█"] == [3, 1, 1]
