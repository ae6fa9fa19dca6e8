"""The cells of the matrix: combinations of traffic conditions, chosen so that every pair of values occurs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from random import Random
from typing import Any

DIMENSIONS: Mapping[str, tuple[Any, ...]] = {
    "rows_per_run": (5, 20, 60, 300, 2000),
    "traffic": ("steady", "bursty", "nightly silence"),
    "versions": (1, 2, 3),
    "writers": ("one", "late", "skewed clock"),
    "extra": ("none", "retries", "probes", "synthetic"),
    "sample_size": (400, 3000),
    "fault": ("nulls", "permuted", "stuck", "unseen"),
    "log": ("keep", "hash", "drop"),
    "monitor": ("on time", "late", "twice", "gone for a while"),
    "store": ("sqlite", "postgresql"),
}
"""Each condition with its values, the most ordinary one first.

`rows_per_run`: requests of one version in ten minutes. `writers`: one host; a second host whose rows are committed
three minutes after their time; a second host whose clock is three minutes behind. `extra`: one in ten rows twice;
twice as many copies of one row as there are rows; as many synthetic requests. `log`: how a category is logged that
the fault does not touch.
"""


CLIENTS: Mapping[str, tuple[int, int, float]] = {
    "unknown": (0, 0, 1.0),
    "one only": (1, 1, 1.0),
    "one of two": (2, 1, 0.6),
    "one of six": (6, 1, 0.25),
    "one of fifty": (50, 1, 0.6),
    "two of twenty": (20, 2, 0.6),
    "twenty of fifty": (50, 20, 0.6),
    "all of fifty": (50, 50, 1.0),
}
"""Who sends requests: how many clients, how many of them are faulty, and the share of the rows that these send."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of conditions; see `DIMENSIONS`. `clients` is a key of `CLIENTS`.

    `model`: `here`, or `elsewhere`, where its answers are recorded: without an impact study and without shadow scores.
    """

    rows_per_run: int = 300
    traffic: str = "steady"
    versions: int = 1
    writers: str = "one"
    extra: str = "none"
    sample_size: int = 3000
    fault: str = "nulls"
    log: str = "keep"
    monitor: str = "on time"
    store: str = "sqlite"
    clients: str = "unknown"
    model: str = "here"

    def __str__(self) -> str:
        clients = [] if self.clients == "unknown" else [self.clients]
        place = [] if self.model == "here" else [f"model {self.model}"]
        return ", ".join([*place, *clients, *(str(getattr(self, name)) for name in DIMENSIONS)])


def pairwise(seed: int, *, rounds: int = 60) -> list[Cell]:
    """Cells in which every pair of values of two conditions occurs at least once; the same for the same seed.

    Each further cell is the best of `rounds` random ones: the one with most pairs that no earlier cell has.
    """
    random = Random(seed)
    missing = set(_all_pairs())
    cells = []
    while missing:
        candidates = [_random_cell(random, missing) for _ in range(rounds)]
        best = max(candidates, key=lambda cell: len(missing & set(_pairs(cell))))
        missing -= set(_pairs(best))
        cells.append(Cell(**best))
    return cells


def _random_cell(random: Random, missing: set[Any]) -> dict[str, Any]:
    """Random values around one missing pair."""
    pair = random.choice(sorted(missing, key=str))
    return {name: random.choice(values) for name, values in DIMENSIONS.items()} | dict(pair)


def _all_pairs() -> Iterator[tuple[tuple[str, Any], tuple[str, Any]]]:
    for one, other in combinations(DIMENSIONS, 2):
        for values in product(DIMENSIONS[one], DIMENSIONS[other]):
            yield (one, values[0]), (other, values[1])


def _pairs(cell: Mapping[str, Any]) -> Iterator[tuple[tuple[str, Any], tuple[str, Any]]]:
    for one, other in combinations(DIMENSIONS, 2):
        yield (one, cell[one]), (other, cell[other])
