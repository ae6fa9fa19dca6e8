"""One quantity over several rounds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some rounds, and how far they lay apart; all in the quantity's own unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one round."""
        return cls(statistics.median(values), min(values), max(values))


def ratio(values: Sequence[float], reference: Sequence[float]) -> Spread:
    """How many times the reference, round by round: what slows a whole round down slows both.

    Args:
        values: one per round.
        reference: of the same rounds in the same order, none of them 0.
    """
    return Spread.of([value / other for value, other in zip(values, reference, strict=True)])


def text(spread: Spread | None, digits: int = 3) -> str:
    """`median (low to high)` in so many significant digits, or a dash for what was not measured."""
    if spread is None:
        return "–"
    median, low, high = (significant(value, digits) for value in (spread.median, spread.low, spread.high))
    return median if low == high == median else f"{median} ({low} to {high})"


def significant(value: float, digits: int) -> str:
    """A number in so many significant digits, with commas between thousands."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(0, places)}f}"
