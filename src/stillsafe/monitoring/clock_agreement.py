"""How many values of each clock feature contradict the time of their request."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.slot_table import ClockFeature, ClockUnit
from stillsafe.core.evidence.slots import slot_of, slot_shares
from stillsafe.core.policy import EVIDENCE
from stillsafe.monitoring.binning import BinCodes
from stillsafe.monitoring.columns import Column, Columns, DictionaryColumn, Mask, RowSelection
from stillsafe.monitoring.local_time import LocalTimes, local_times

FEWEST_CLAIMS = 20
"""Contradictions from which on the other features of their rows can tell which hour they come from."""
FEWEST_HOURS = 6
"""Distinct values from which on a clock feature claims one hour."""
DIGITS = 6


class ClockCounts(NamedTuple):
    """The values of one clock feature, as in `FeatureTally`."""

    known_count: int
    contradiction_count: int
    claim_deviations: float


def clock_counts(
    rows: Columns, baseline: Baseline, selection: RowSelection, codes: Mapping[str, BinCodes]
) -> dict[str, ClockCounts]:
    """Per clock feature the values whose time the baseline knows, and those of them that contradict it.

    Args:
        rows: with times; without any the result is empty.
        baseline: with clock features.
        selection: the rows to count.
        codes: the bins of these rows.
    """
    if baseline.slots is None or not len(rows.times) or not baseline.clock:
        return {}
    local = local_times(rows.times[selection], baseline.slots.timezone)
    columns: dict[str, Column] = {**rows.numbers, **rows.categories}
    counts = {}
    for name, clock in baseline.clock.items():
        if clock.unit is ClockUnit.UNKNOWN or name not in columns or (not clock.values and name not in codes):
            continue
        cells, is_present = value_cells(clock, columns[name][selection], codes.get(name))
        flags = contradictions(clock, local, cells)
        is_contradiction = (flags > 0) & is_present
        claim = _claim_deviations(baseline, clock, local, np.where(is_contradiction, cells, -1), codes)
        counts[name] = ClockCounts(int((flags >= 0)[is_present].sum()), int(is_contradiction.sum()), claim)
    return counts


def _claim_deviations(
    baseline: Baseline,
    clock: ClockFeature,
    local: LocalTimes,
    cells: NDArray[np.intp],
    codes: Mapping[str, BinCodes],
) -> float:
    """How clearly the other features of rows fit the hour that they claim: the mean log-likelihood ratio.

    It is over its standard error, and 0 where the feature is no hour or too few rows claim a known one.

    Args:
        baseline: with slots.
        clock: the feature.
        local: the rows' times.
        cells: (n,) the feature's cell in rows that contradict their time, -1 in others.
        codes: the bins of the rows.
    """
    table, hours = baseline.slots, _hours_of_cells(clock)
    if table is None or not table.names or len(hours) < FEWEST_HOURS or (cells >= 0).sum() < FEWEST_CLAIMS:
        return 0.0
    positions = {name: index for index, name in enumerate(table.names)}
    actual_slots = local.slots().tolist()
    claims = [
        (row, positions.get(slot_of(table, f"{actual.partition('-')[0]}-{hours[cells[row]]:02d}"), -1), actual)
        for row, actual in enumerate(actual_slots)
        if cells[row] >= 0 and cells[row] in hours
    ]
    pairs = [(row, claim, positions.get(slot_of(table, actual), -1)) for row, claim, actual in claims]
    pairs = [pair for pair in pairs if min(pair[1:]) >= 0]
    if len(pairs) < FEWEST_CLAIMS:
        return 0.0
    indices, claimed_slots, own_slots = (np.array(column) for column in zip(*pairs, strict=True))
    ratios = np.zeros(len(indices))
    for name, shares in slot_shares(baseline).items():
        if name in codes:
            logs, bins = np.log(np.maximum(shares, 1e-9)), codes[name][indices].astype(np.intp)
            ratios += logs[claimed_slots, bins] - logs[own_slots, bins]
    error = float(ratios.std()) / math.sqrt(len(ratios))
    return round(float(ratios.mean()) / error, DIGITS) if error > 0 else 0.0


def _hours_of_cells(clock: ClockFeature) -> dict[int, int]:
    """Per cell of an hour or half hour, the hour in which healthy rows have it most often; empty of another feature."""
    if clock.unit not in (ClockUnit.HOUR, ClockUnit.HALF_HOUR) or not clock.table:
        return {}
    names = list(clock.table)
    width = max(len(counts) for counts in clock.table.values())
    table = np.array([(*counts, *[0] * (width - len(counts))) for counts in clock.table.values()])
    size = 2 if clock.unit is ClockUnit.HALF_HOUR else 1
    most = table.argmax(axis=0).tolist()
    return {cell: int(names[index]) // size for cell, index in enumerate(most) if table[index, cell]}


def value_cells(clock: ClockFeature, column: Column, codes: BinCodes | None) -> tuple[NDArray[np.intp], Mask]:
    """(n,) the cell of each value, -1 for a value that the healthy period lacks; and whether it is present."""
    texts = column if isinstance(column, DictionaryColumn) else DictionaryColumn.of_codes(column)
    is_missing = np.array([text is None for text in texts.vocabulary])[texts.indices]
    if not clock.values:
        bins = np.zeros(len(column), np.intp) if codes is None else codes.astype(np.intp)
        return bins, ~is_missing
    positions = {value: index for index, value in enumerate(clock.values)}
    cells = np.array([positions.get(str(text), -1) for text in texts.vocabulary], dtype=np.intp)
    return cells[texts.indices], ~is_missing


def contradictions(clock: ClockFeature, local: LocalTimes, cells: NDArray[np.intp]) -> NDArray[np.int8]:
    """(n,) 1 where a value contradicts the clock, 0 where it agrees, -1 where the baseline does not know the time."""
    width = len(clock.values) or max((len(counts) for counts in clock.table.values()), default=0)
    units = local.cells(clock.unit)
    names, positions = np.unique(units, return_inverse=True)
    # One more column, for values that the healthy period lacks: they contradict any time that it knows.
    table = np.full((len(names), width + 1), -1, dtype=np.int8)
    for index, name in enumerate(names.tolist()):
        if (counts := clock.table.get(name)) is not None:
            table[index] = _rare(tuple(counts))
    return np.asarray(table[positions, np.where((cells < 0) | (cells >= width), width, cells)])


@lru_cache(maxsize=4_096)
def _rare(counts: tuple[int, ...]) -> tuple[int, ...]:
    total = sum(counts)
    return (*(int(count < EVIDENCE.clock_rare_share * total) for count in counts), 1)
