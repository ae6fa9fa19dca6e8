"""The chart of estimated and realised loss."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from stillsafe.core.evidence.estimate_account import WindowAccount
from stillsafe.dashboard.estimate_chart import MOST_TICKS, estimate_chart
from stillsafe.dashboard.shapes import WIDTH
from tests.dashboard.story import EVERY, START

WINDOW = WindowAccount(START, START + EVERY, 300, 0.02, 0.01, 0.01, 0.01)


def snapshot(*windows: WindowAccount) -> Any:
    """All that the chart reads of a snapshot."""
    return SimpleNamespace(estimates=windows, estimate_unit="points")


def later(number: int, loss: float) -> WindowAccount:
    """A later window."""
    by = timedelta(hours=number)
    return replace(WINDOW, start=START + by, end=START + EVERY + by, realised_loss=loss)


def test_a_window_is_a_point_on_both_lines() -> None:
    """The description has the account in words, and a point outside its interval is marked."""
    chart = estimate_chart(snapshot(WINDOW, *(later(number, 0.2) for number in range(1, 20))))
    assert chart is not None
    assert (chart.title, chart.identifier) == ("Estimated and realised loss", "estimated-and-realised")
    assert chart.description.startswith("The estimate is not to be trusted on this service: over the last 20")
    assert [dot.kind for dot in chart.dots] == ["level-NONE"] + ["level-MODERATE"] * 19
    assert chart.dots[0].title.endswith("estimated 2%, realised 1% by 300 labels, within its interval")
    assert chart.note == "line: by the labels; green: the estimate"
    assert sum(label.kind == "time" for label in chart.labels) <= MOST_TICKS
    assert all(0 <= dot.x <= WIDTH and 0 <= dot.y <= chart.height for dot in chart.dots)


def test_one_window_is_a_chart_and_none_is_none() -> None:
    """Equal losses have a scale too."""
    chart = estimate_chart(snapshot(replace(WINDOW, estimated_loss=0.0, realised_loss=0.0)))
    assert chart is not None
    assert len(chart.dots) == 1
    assert estimate_chart(snapshot()) is None
