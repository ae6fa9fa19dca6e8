"""Costs that grow with a size, and the exponents of their growth."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks import spread
from benchmarks.spread import Spread


@dataclass(frozen=True, slots=True)
class Curve:
    """How one cost grows with one size.

    Attributes:
        size: what grows, such as `rows in the log`.
        cost: what is measured and its unit, such as `CPU of a run (s)`.
        line: where, such as `SQLite`; may be empty.
        rounds: size -> the cost of each round, above 0; at least two sizes above 0, ascending, with equally many
            rounds.
    """

    size: str
    cost: str
    line: str
    rounds: Mapping[int, Sequence[float]]

    def spreads(self) -> dict[int, Spread]:
        """Size -> the cost's median, lowest and highest round."""
        return {size: Spread.of(costs) for size, costs in self.rounds.items()}

    def exponent(self) -> Spread:
        """The exponent of a power law through all sizes: 1 where twice the size costs twice as much."""
        return Spread.of([_slope(points) for points in self._points()])

    def last_exponent(self) -> Spread:
        """The exponent between the two largest sizes, where a constant part of the cost weighs least."""
        return Spread.of([_slope(points[-2:]) for points in self._points()])

    def _points(self) -> list[list[tuple[int, float]]]:
        """Per round, the sizes above 0 with their costs."""
        rounds = len(next(iter(self.rounds.values())))
        return [[(size, costs[i]) for size, costs in self.rounds.items() if size > 0] for i in range(rounds)]


def _slope(points: Sequence[tuple[int, float]]) -> float:
    """The slope of the least-squares line through the logarithms."""
    sizes, costs = np.log(np.array(points, dtype=np.float64)).T
    return float(np.polyfit(sizes, costs, 1)[0])


@dataclass(frozen=True, slots=True)
class Part:
    """What one part has measured.

    Attributes:
        name: of the part.
        command: prints it.
        at: the day, ISO 8601.
        machine: what it was measured on.
        curves: in the order in which they are shown.
    """

    name: str
    command: str
    at: str
    machine: str
    curves: tuple[Curve, ...]


def document(parts: Sequence[Part]) -> str:
    """The text of a results file."""
    return json.dumps([asdict(part) for part in parts], indent=1) + "\n"


def read(text: str) -> list[Part]:
    """The parts of a results file."""
    return [Part(**{**each, "curves": tuple(map(_curve, each["curves"]))}) for each in json.loads(text)]


def _curve(document: Mapping[str, Any]) -> Curve:
    rounds = {int(size): tuple(costs) for size, costs in document["rounds"].items()}
    return Curve(**{**document, "rounds": rounds})


def with_part(parts: Sequence[Part], new: Part) -> list[Part]:
    """The parts with a new one in place of that of the same name, or at the end."""
    if all(part.name != new.name for part in parts):
        return [*parts, new]
    return [new if part.name == new.name else part for part in parts]


def table(part: Part) -> Table:
    """A line per curve: the cost at each size, and the exponents."""
    sizes = sorted({size for curve in part.curves for size in curve.rounds})
    result = Table(title=part.curves[0].size[0].upper() + part.curves[0].size[1:])
    result.add_column("")
    for heading in (*(f"{size:,}" for size in sizes), "exponent", "of the last step"):
        result.add_column(heading, justify="right")
    for curve in part.curves:
        spreads = curve.spreads()
        cells = [spread.text(spreads.get(size)) for size in sizes]
        exponents = [exponent_text(each) for each in (curve.exponent(), curve.last_exponent())]
        result.add_row(", ".join(filter(None, (curve.line, curve.cost))), *cells, *exponents)
    return result


def exponent_text(exponent: Spread) -> str:
    """`median (low to high)` with two decimals; 0.00 is never negative."""
    median, low, high = (f"{round(each, 2) + 0.0:.2f}" for each in (exponent.median, exponent.low, exponent.high))
    return median if low == high else f"{median} ({low} to {high})"


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around some values above 0: the lower and the upper, at least one apart."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)
