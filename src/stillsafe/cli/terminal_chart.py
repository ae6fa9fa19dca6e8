"""Charts of runs as plain text: marks on a grid, the limit as a dashed line, and the states below. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

from rich.text import Text

from stillsafe.cli.output import STATE_STYLE
from stillsafe.core.signals import Evidence, Reading, excess

HEIGHT = 8
"""Lines of a chart, without its title."""
WIDEST_STEP = 4
"""Columns between two runs, where there are few."""
STATE_MARKS = {"NORMAL": "·", "WARNING": "▲", "DEGRADED": "█"}
LIMIT_MARK, AXIS = "╌", "│"
DEVIATION_TITLE = "Largest deviation (1 is its limit)"
MOST_LIMITS = 5.0
"""A deviation beyond so many limits is drawn there, so that smaller ones can be told apart."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values of consecutive runs, oldest first.

    Attributes:
        name: what they are.
        values: one for each run; None where a run has none.
        mark: one character.
    """

    name: str
    values: Sequence[float | None]
    mark: str = "●"


def chart(title: str, series: Sequence[Series], width: int, limit: float | None = None) -> Iterator[Text]:
    """The lines of a chart, none wider than `width` columns; no lines without a value.

    Args:
        title: one line.
        series: of equal length. Where runs are more than columns, a column has their mean.
        width: of the terminal, in columns.
        limit: a value to draw a dashed line at, or None.
    """
    numbers = [value for each in series for value in each.values if value is not None and isfinite(value)]
    if not numbers:
        return
    low, high = min([*numbers, *_as_list(limit)]), max([*numbers, *_as_list(limit)])
    high = high if high > low else low + max(abs(low), 1.0) * 0.1
    labels = [f"{high - (high - low) * row / (HEIGHT - 1):.3g}" for row in range(HEIGHT)]
    if limit is not None:
        labels[_row(limit, low, high)] = f"{limit:.3g}"
    label_width = max(map(len, labels))
    columns = _columns(len(series[0].values), width - label_width - 2)
    grid = [[" "] * len(columns) for _ in range(HEIGHT)]
    if limit is not None:
        grid[_row(limit, low, high)] = [LIMIT_MARK] * len(columns)
    for each in series:
        for place, runs in enumerate(columns):
            values = [value for run in runs if (value := each.values[run]) is not None and isfinite(value)]
            if values:
                grid[_row(sum(values) / len(values), low, high)][place] = each.mark
    yield Text(title[:width], "bold")
    if len(series) > 1:
        yield Text("  ".join(f"{each.mark} {each.name}" for each in series)[:width])
    for label, cells in zip(labels, grid, strict=True):
        yield Text(f"{label:>{label_width}} {AXIS}{''.join(cells)}")


def state_band(states: Sequence[str], width: int, label_width: int = 0) -> Iterator[Text]:
    """A line with a mark for each run, or for the worst of the runs of a column, and a line that explains the marks.

    Args:
        states: of consecutive runs, oldest first.
        width: of the terminal, in columns.
        label_width: columns before the first mark.
    """
    order = list(STATE_MARKS)
    band = Text(" " * label_width)
    for runs in _columns(len(states), width - label_width):
        marks = [states[run] for run in runs if states[run] in STATE_MARKS]
        if marks:
            worst = max(marks, key=order.index)
            band.append(STATE_MARKS[worst], STATE_STYLE[worst])
        else:
            band.append(" ")
    yield band
    yield Text("  ".join(f"{mark} {state}" for state, mark in STATE_MARKS.items())[:width])


def largest_deviation(readings: Iterable[Reading]) -> float | None:
    """The largest deviation of a run as a multiple of its limit, at most `MOST_LIMITS`; None without evidence."""
    ratios = [excess(reading) for reading in readings if reading.evidence is not Evidence.INSUFFICIENT]
    return min(max(ratios, default=0.0), MOST_LIMITS) if ratios else None


def label_width_of(lines: Sequence[Text]) -> int:
    """Columns before the first mark of a chart's lines."""
    return next((line.plain.index(AXIS) + 1 for line in lines if AXIS in line.plain), 0)


def _as_list(limit: float | None) -> list[float]:
    return [] if limit is None else [limit]


def _columns(run_count: int, width: int) -> list[list[int]]:
    """The runs of each column: some columns are empty between few runs, and a column has several of many."""
    width = max(width, 1)
    if run_count > width:
        return [list(range(run_count * i // width, run_count * (i + 1) // width)) for i in range(width)]
    step = min(WIDEST_STEP, max(1, width // max(run_count, 1)))
    columns: list[list[int]] = [[] for _ in range(max(0, (run_count - 1) * step + 1))]
    for run in range(run_count):
        columns[run * step] = [run]
    return columns


def _row(value: float, low: float, high: float) -> int:
    return round((HEIGHT - 1) * (high - value) / (high - low))
