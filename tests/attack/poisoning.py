"""A client that only predicts: which share of the traffic it needs to force, to hold and to hide a degradation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd

from stillsafe.core.state import Severity, State
from tests.matrix import simulation
from tests.matrix.cells import Cell

HONEST_ROWS = 300
"""Rows of honest clients in ten minutes, 30 a minute."""
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Rows of the hostile client for each honest one."""
RUNS = 9
"""Runs of ten minutes that an attack lasts."""
Rows = Callable[[np.random.Generator, int], pd.DataFrame]


def _missing(random: np.random.Generator, count: int) -> pd.DataFrame:
    return simulation.people(random, count).assign(ratio=np.nan)


def _without_all(random: np.random.Generator, count: int) -> pd.DataFrame:
    people = simulation.people(random, count)
    return people.assign(**dict.fromkeys(simulation.NUMBERS, np.nan), country=None, channel=None)


def _beyond(random: np.random.Generator, count: int) -> pd.DataFrame:
    people = simulation.people(random, count)
    return people.assign(ratio=people["ratio"] + 1, income=people["income"] * 10)


def _one_row(random: np.random.Generator, count: int) -> pd.DataFrame:
    return simulation.people(random, 1).sample(count, replace=True).reset_index(drop=True)


def _one_side(random: np.random.Generator, count: int) -> pd.DataFrame:
    """Ordinary rows, chosen so that the model answers the same to all."""
    people = simulation.people(random, 40 * count + 40)
    return people[people["ratio"] > 0.6].head(count).reset_index(drop=True)


HOSTILE_ROWS: dict[str, Rows] = {
    "one feature missing": _missing,
    "all features missing": _without_all,
    "values beyond the range": _beyond,
    "one row again and again": _one_row,
    "ordinary rows of one kind": _one_side,
}


@dataclass(slots=True)
class Target(simulation._Simulation):
    """A service with honest clients, of which all may be broken, and one hostile client beside them.

    Attributes:
        hostile_rows: what the hostile client sends.
        hostile_count: its rows in ten minutes.
    """

    hostile_rows: Rows = field(default=simulation.people)
    hostile_count: int = 0

    def begin(self) -> None:
        """Eight healthy runs."""
        self.random, self.ids = np.random.default_rng(11), count(1)
        self._open()
        self.runs(8)

    def runs(self, count: int, *, is_broken: bool = False, hostile_count: int = 0) -> list[tuple[State, Severity]]:
        """The state and severity after each of so many intervals."""
        self.hostile_count = hostile_count
        results = []
        for _ in range(count):
            self._send(self.all_settings[0], HONEST_ROWS, is_broken)
            self.now += simulation.EVERY
            results.append(self._monitor())
        return results

    def _table(self, row_count: int, faulty: bool) -> pd.DataFrame:
        honest = simulation._Simulation._table(self, row_count, faulty)
        if not self.hostile_count:
            return honest
        both = pd.concat([honest, self.hostile_rows(self.random, self.hostile_count)], ignore_index=True)
        return both.iloc[self.random.permutation(len(both))].reset_index(drop=True)


HOLDING = ("one feature missing", "values beyond the range")
"""Rows with which a hostile client goes on after a real fault is mended."""


def _play(folder: Path, hostile_rows: Rows, act: Callable[[Target], bool]) -> bool:
    number = len(list(folder.iterdir()))
    service = Target(Cell(fault="nulls"), f"sqlite:///{folder / f'{number}.db'}", folder, hostile_rows=hostile_rows)
    service.begin()
    try:
        return act(service)
    finally:
        service.engine.dispose()


def forces(folder: Path, hostile_rows: Rows, share: float) -> bool:
    """Whether the hostile client alone makes the evidence CRITICAL."""
    return _play(folder, hostile_rows, lambda each: _is_critical(each.runs(RUNS, hostile_count=_count(share))))


def holds(folder: Path, hostile_rows: Rows, share: float) -> bool:
    """Whether, after a real fault is mended, the hostile client keeps the evidence CRITICAL to the end."""

    def act(each: Target) -> bool:
        assert _is_critical(each.runs(RUNS, is_broken=True))
        return each.runs(2 * RUNS, hostile_count=_count(share))[-1][1] is Severity.CRITICAL

    return _play(folder, hostile_rows, act)


def hides(folder: Path, share: float) -> bool:
    """Whether ordinary rows of the hostile client keep the evidence of a real fault from becoming CRITICAL."""
    rows = simulation.people
    return not _play(
        folder, rows, lambda each: _is_critical(each.runs(RUNS, is_broken=True, hostile_count=_count(share)))
    )


def least_share(attack: Callable[[float], bool]) -> float | None:
    """The least of the shares with which an attack succeeds, or None."""
    return next((share for share in SHARES if attack(share)), None)


def least_shares(folder: Path) -> dict[str, float | None]:
    """By attack the least share of rows that succeeds."""
    attacks: dict[str, Callable[[float], bool]] = {
        f"to force a degradation, {name}": partial(forces, folder, rows) for name, rows in HOSTILE_ROWS.items()
    }
    for name in HOLDING:
        attacks[f"to hold a degradation, {name}"] = partial(holds, folder, HOSTILE_ROWS[name])
    attacks["to hide that all others are broken, ordinary rows"] = partial(hides, folder)
    return {name: least_share(attack) for name, attack in attacks.items()}


def _count(share: float) -> int:
    return round(share * HONEST_ROWS)


def _is_critical(results: list[tuple[State, Severity]]) -> bool:
    return any(Severity.CRITICAL in result or State.DEGRADED in result for result in results)
