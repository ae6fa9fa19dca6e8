"""Ranges, edges and quantiles that enough values share, so that none of them shows the number of a single row.

An end of a range, an edge of a bin or a quantile is a number that at least `min_count` values equal, or else the
roundest number among the values around it. With a `min_count` of 1 each is the exact order statistic.

Source: A. Hundepool et al., "Statistical Disclosure Control", 2012, chapters 4 (threshold rule) and 5 (rounding).
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NumberRange:
    """The range of a feature's numbers.

    Attributes:
        minimum, maximum: each end has at least `min_count` numbers at or beyond it, one of them at the end itself or
            the end a round number among them.
        outside_count: numbers beyond the ends.
    """

    minimum: float
    maximum: float
    outside_count: int


def number_range(ascending: Numbers, min_count: int) -> NumberRange | None:
    """The range of numbers in ascending order; None where there are too few of them for two ends."""
    count = len(ascending)
    if not count or count < min_count or ascending[min_count - 1] > ascending[count - min_count]:
        return None
    middle = count // 2
    inner = min(min_count - 1 + min_count // 2, middle)
    low = _shared_number(ascending, min_count - 1, (min_count - 1, inner), min_count)
    high = _shared_number(ascending, count - min_count, (count - 1 - inner, count - min_count), min_count)
    low, high = min(low, high), max(low, high)
    outside = np.searchsorted(ascending, low, "left") + count - np.searchsorted(ascending, high, "right")
    return NumberRange(low, high, int(outside))


def quantile_edges(ascending: Numbers, most_bins: int, min_count: int) -> Numbers:
    """The inner edges of at most so many bins with about equally many numbers each; an edge belongs to the bin below.

    Args:
        ascending: the numbers in ascending order, at least one.
        most_bins: most bins.
        min_count: numbers that an edge lies among, and that a bin holds.
    """
    count, reach = len(ascending), min_count // 2
    positions = np.ceil(np.linspace(0, 1, most_bins + 1)[1:-1] * count).astype(int) - 1
    edges = [
        _shared_number(ascending, at, (max(at - reach, 0), min(at + reach, count - 1)), min_count)
        for at in np.maximum(positions, 0).tolist()
    ]
    return wide_edges(ascending, np.unique(edges), min_count)


def midpoint_edges(ascending: Numbers, min_count: int) -> Numbers:
    """The edges between each two of few different numbers; a round number where too few values share either."""
    distinct, counts = np.unique(ascending, return_counts=True)
    middles = distinct[:-1] / 2 + distinct[1:] / 2
    are_shared = np.minimum(counts[:-1], counts[1:]) >= min_count
    edges = [
        middle if is_shared else roundest_number((low + middle) / 2, (middle + high) / 2, middle)
        for low, middle, high, is_shared in zip(
            distinct[:-1].tolist(), middles.tolist(), distinct[1:].tolist(), are_shared.tolist(), strict=True
        )
    ]
    return wide_edges(ascending, np.array(edges, dtype=np.float64), min_count)


def wide_edges(ascending: Numbers, edges: Numbers, min_count: int) -> Numbers:
    """The edges without those that leave a bin with fewer than `min_count` numbers; none above the largest number."""
    wide: list[float] = []
    start = 0
    for edge in edges.tolist():
        stop = int(np.searchsorted(ascending, edge, "right"))
        if stop - start >= min_count and len(ascending) - stop >= min_count:
            wide.append(edge)
            start = stop
    return np.array(wide, dtype=np.float64)


def shared_quantiles(ascending: Numbers, count: int, min_count: int) -> Numbers:
    """So many evenly spaced quantiles, from the 0th to the 100th percentile, in increasing order.

    The outermost ones are the ends of `number_range`; without these there are too few numbers, and all are equal.
    """
    ends = number_range(ascending, min_count)
    reach, last = min_count // 2, len(ascending) - 1
    if ends is None:
        return np.full(count, roundest_number(float(ascending[0]), float(ascending[last]), float(np.median(ascending))))
    positions = np.round(np.linspace(0, last, count)).astype(int).tolist()
    quantiles = [
        _shared_number(ascending, at, (max(at - reach, 0), min(at + reach, last)), min_count) for at in positions
    ]
    return np.maximum.accumulate(np.clip(quantiles, ends.minimum, ends.maximum))


def _shared_number(ascending: Numbers, at: int, span: tuple[int, int], min_count: int) -> float:
    """The number at a position if enough others are equal to it, else the roundest number of a span around it."""
    number = float(ascending[at])
    equal_count = np.searchsorted(ascending, number, "right") - np.searchsorted(ascending, number, "left")
    if equal_count >= min_count:
        return number
    return roundest_number(float(ascending[span[0]]), float(ascending[span[1]]), number)


def roundest_number(low: float, high: float, target: float) -> float:
    """The number with the fewest decimal digits in a closed interval; of several the nearest to a target.

    An interval of a single number contains only that one.
    """
    if low <= 0 <= high:
        return 0.0
    lowest, highest, exponent = Decimal(low), Decimal(high), Decimal(max(abs(low), abs(high))).adjusted()
    while True:
        unit = Decimal(1).scaleb(exponent)
        first, last = (
            (lowest / unit).to_integral_value("ROUND_CEILING"),
            (highest / unit).to_integral_value("ROUND_FLOOR"),
        )
        if first <= last:
            nearest = min(max((Decimal(target) / unit).to_integral_value(), first), last)
            return min(max(float(nearest * unit), low), high)
        if unit <= abs(lowest) * Decimal("1e-17"):
            return target
        exponent -= 1


def merged_bin_counts(counts: tuple[int, ...], ordinary: int, min_count: int) -> tuple[int, ...]:
    """Counts of a number's bins in which a bin with fewer than `min_count` values counts in the nearest other one.

    A bin far outside the range counts in the outermost ordinary bin. Missing values are no values, so their bin stays;
    the last bin with values stays too, because there is none to merge it with.
    """
    merged_counts = list(counts)
    for far, outermost in ((ordinary, 0), (ordinary + 1, ordinary - 1)):
        if merged_counts[far] < min_count:
            merged_counts[outermost] += merged_counts[far]
            merged_counts[far] = 0
    while True:
        full_bins = [code for code in range(ordinary) if merged_counts[code]]
        smallest = min(full_bins, key=lambda code: merged_counts[code], default=0)
        if len(full_bins) < 2 or merged_counts[smallest] >= min_count:
            return tuple(merged_counts)
        nearest = min((code for code in full_bins if code != smallest), key=lambda code: abs(code - smallest))
        merged_counts[nearest] += merged_counts[smallest]
        merged_counts[smallest] = 0
