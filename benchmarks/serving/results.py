"""The results of all rounds as tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from benchmarks import spread
from benchmarks.serving.contenders import CONNECTIONS, REFERENCE
from benchmarks.serving.load import Load
from benchmarks.serving.visit import Visit
from benchmarks.spread import Spread

Visits = Mapping[str, Sequence[Visit]]
"""Contender -> its visits, one per round."""
Quantity = Callable[[Visit], float | None]
_MEGA = 1e6

QUANTITIES: Mapping[str, Quantity] = {
    f"requests/s, {CONNECTIONS} connections": lambda visit: visit.concurrent_load.per_second,
    f"99th percentile, {CONNECTIONS} connections (ms)": lambda visit: visit.concurrent_load.p99_ms,
    "median latency, 1 connection (ms)": lambda visit: visit.single_load.p50_ms,
    "batch rows/s": lambda visit: visit.rows_per_second,
    "memory (MB)": lambda visit: visit.memory_bytes / _MEGA,
    "start-up (s)": lambda visit: visit.startup_seconds,
    "bytes a logged row": lambda visit: visit.row_bytes,
}


def absolute(visits: Visits) -> Table:
    """Every quantity in its own unit: the median of the rounds, and their range."""

    def middle(quantity: Quantity, name: str) -> Spread | None:
        values = _values(quantity, visits[name])
        return Spread.of(values) if values else None

    return _table("In their own units: median (lowest to highest) of the rounds", visits, middle)


def relative(visits: Visits) -> Table:
    """Every quantity as so many times the reference's of the same round."""

    def ratio(quantity: Quantity, name: str) -> Spread | None:
        values, reference = (_values(quantity, visits[which]) for which in (name, REFERENCE))
        return spread.ratio(values, reference) if values and reference else None

    return _table(f"As so many times {REFERENCE}", visits, ratio)


def growth_table(title: str, first: str, lines: Mapping[str, Mapping[str, Sequence[Load]]], reference: str) -> Table:
    """Requests per second as something grows.

    Args:
        title: of the table.
        first: the heading of its first column.
        lines: who -> size -> loads, one per round.
        reference: the size that the others are compared with.
    """
    sizes = list(dict.fromkeys(size for line in lines.values() for size in line))
    table = Table(title=title)
    table.add_column(first)
    for size in sizes:
        table.add_column(size, justify="right")
    for name, line in lines.items():
        rates = {size: [load.per_second for load in loads] for size, loads in line.items()}
        table.add_row(f"{name}, requests/s", *(spread.text(Spread.of(rates[size])) for size in sizes))
        ratios = (spread.ratio(rates[size], rates[reference]) for size in sizes)
        table.add_row(f"  against {reference}", *(spread.text(each) for each in ratios))
    return table


def document(visits: Visits) -> dict[str, Any]:
    """For a program: every round of every contender."""
    return {name: [asdict(visit) for visit in rounds] for name, rounds in visits.items()}


def _table(title: str, visits: Visits, spread_of: Callable[[Quantity, str], Spread | None]) -> Table:
    table = Table(title=title)
    table.add_column("")
    for quantity in QUANTITIES:
        table.add_column(quantity, justify="right")
    for name in visits:
        table.add_row(name, *(spread.text(spread_of(quantity, name)) for quantity in QUANTITIES.values()))
    return table


def _values(quantity: Quantity, rounds: Sequence[Visit]) -> list[float]:
    return [value for visit in rounds if (value := quantity(visit)) is not None]
