"""The shapes of a chart: coordinates stay inside their axis and scale, and grids have round values."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.dashboard import shapes
from stillsafe.dashboard.shapes import Axis, Chart, Scale

from .story import START


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_positions_stay_inside(seconds: float, value: float) -> None:
    """Whatever the time or the value, its position is on the axis or on the scale."""
    axis = Axis(START, START + timedelta(hours=1), 10.0, 90.0)
    assert 10.0 <= axis.x(START + timedelta(seconds=seconds)) <= 90.0
    assert 5.0 <= Scale(0.0, 1.0, 5.0, 50.0).y(value) <= 50.0


def test_a_box_has_a_visible_width() -> None:
    """A box of no width is half a unit wide; a box of no height stays flat."""
    box = shapes.box(10.0, 10.0, 5.0, 4.0, "gap", "No run")
    assert (box.x, box.y, box.width, box.height) == (10.0, 5.0, 0.5, 0.0)


def test_a_point_is_a_line() -> None:
    """A line through one point goes to itself; an area is closed."""
    assert shapes.line([(1, 2)], "value").data == "M1 2L1 2"
    assert shapes.area([(1, 2), (3, 4), (5, 6)], "healthy").data == "M1 2L3 4L5 6Z"


@pytest.mark.parametrize(("step", "result"), [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (2.1, 2.5), (60, 100)])
def test_steps_are_round(step: float, result: float) -> None:
    """A step is rounded up to 1, 2, 2.5 or 5 times a power of ten; an impossible step is 1."""
    assert shapes.round_step(step) == pytest.approx(result)
    assert shapes.round_step(float("nan")) == shapes.round_step(float("inf")) == 1.0


def test_many_shapes_are_one_path() -> None:
    """Points are strokes without length, rectangles are closed outlines."""
    assert shapes.points([(1, 2), (3, 4)], "points").data == "M1 2L1 2M3 4L3 4"
    boxes = [shapes.box(0, 2, 1, 5, "a"), shapes.box(4, 6, 1, 5, "a")]
    assert shapes.areas(boxes, "a").data == "M0 1L2 1L2 5L0 5ZM4 1L6 1L6 5L4 5Z"


def test_a_grid_has_labels_at_round_values() -> None:
    """Lines and labels are at multiples of the step, and only inside the scale."""
    chart = Chart("a", "A", "A chart.", 50.0)
    shapes.add_grid(chart, Scale(0.0, 1.0, 0.0, 50.0), lambda value: f"{value:g}")
    assert [label.text for label in chart.labels] == ["0", "0.25", "0.5", "0.75", "1"]
    assert len(chart.paths) == 5
