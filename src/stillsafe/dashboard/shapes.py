"""The shapes of a chart: boxes, paths, dots and labels, the time axis and the value scale. Pure.

From left to right a chart has `WIDTH` units, however wide the screen is; from top to bottom its unit is a pixel. A
label left of the chart has a negative x, in pixels.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

WIDTH = 1000.0
TICK_LENGTH, TICK_LABEL_GAP, VALUE_LABEL_GAP = 4.0, 18.0, 6.0
HALF_LETTER = 4.0  # lowers a label's baseline so that its letters are centred on a line


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with a tooltip."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """A line or an area: SVG path data, and its kind, which is its CSS class."""

    data: str
    kind: str


@dataclass(frozen=True, slots=True)
class Dot:
    """The value of one run with a tooltip."""

    x: float
    y: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text in the chart."""

    x: float
    y: float
    text: str
    kind: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Chart:
    """What a template draws.

    Attributes:
        identifier: unique on the page.
        title: the caption.
        description: the chart in words, for people who do not see it.
        height: in pixels.
        note: the newest figures, beside the caption.
        boxes, paths, dots, labels: the shapes, in drawing order.
    """

    identifier: str
    title: str
    description: str
    height: float
    note: str = ""
    boxes: list[Box] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Axis:
    """Time from left to right."""

    start: datetime
    end: datetime
    left: float = 0.0
    right: float = WIDTH

    def x(self, at: datetime) -> float:
        """The position of a time; a time outside the axis is at its edge."""
        share = (at - self.start) / (self.end - self.start)
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from bottom to top."""

    low: float
    high: float
    top: float
    bottom: float

    def y(self, value: float) -> float:
        """The position of a value; a value outside the scale is at its edge."""
        share = (value - self.low) / (self.high - self.low)
        return self.bottom - min(max(share, 0.0), 1.0) * (self.bottom - self.top)


def box(left: float, right: float, top: float, bottom: float, kind: str, title: str = "") -> Box:
    """A rectangle between four coordinates, half a unit wide at least."""
    return Box(left, top, max(right - left, 0.5), max(bottom - top, 0.0), kind, title)


def line(points: Iterable[tuple[float, float]], kind: str) -> Path:
    """A line through points."""
    pairs = [f"{x:.4g} {y:.4g}" for x, y in points]
    # A path of one point would be invisible; a line from the point to itself is drawn as a dot by round line caps.
    return Path("M" + "L".join(pairs if len(pairs) > 1 else pairs * 2), kind)


def points(positions: Iterable[tuple[float, float]], kind: str) -> Path:
    """Points as one path, which round line caps draw."""
    return Path("".join(line([position], kind).data for position in positions), kind)


def areas(boxes: Iterable[Box], kind: str) -> Path:
    """Rectangles as one path."""
    outlines = (
        [(b.x, b.y), (b.x + b.width, b.y), (b.x + b.width, b.y + b.height), (b.x, b.y + b.height)] for b in boxes
    )
    return Path("".join(area(outline, kind).data for outline in outlines), kind)


def area(outline: Iterable[tuple[float, float]], kind: str) -> Path:
    """An area with an outline."""
    return Path(f"{line(outline, kind).data}Z", kind)


def add_time_tick(chart: Chart, x: float, y: float, text: str) -> None:
    """Add a tick below the chart and its label."""
    chart.paths.append(line([(x, y), (x, y + TICK_LENGTH)], "tick"))
    chart.labels.append(Label(x, y + TICK_LABEL_GAP, text, "time", "middle"))


def add_grid(chart: Chart, scale: Scale, text: Callable[[float], str], line_count: int = 4) -> None:
    """Add horizontal lines at round values, with their labels.

    Args:
        chart: where to add them.
        scale: the chart's scale.
        text: a value's label.
        line_count: about how many lines.
    """
    step = round_step((scale.high - scale.low) / line_count)
    value = math.ceil(scale.low / step - 1e-9) * step
    while value <= scale.high + 1e-9:
        y = scale.y(value)
        chart.paths.append(line([(0.0, y), (WIDTH, y)], "grid"))
        chart.labels.append(Label(-VALUE_LABEL_GAP, y + HALF_LETTER, text(value), "value", "end"))
        value += step


def round_step(step: float) -> float:
    """The smallest of 1, 2, 2.5, 5 or 10 times a power of ten that is not below a step; 1 for an impossible step."""
    if not math.isfinite(step) or step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= step * 0.999)
