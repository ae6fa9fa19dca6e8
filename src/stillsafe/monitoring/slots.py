"""Counts a healthy period by slot: the hours of a workday and of a weekend day, in the service's time zone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.slot_table import ClockFeature, SlotTable
from stillsafe.core.policy import EVIDENCE
from stillsafe.monitoring.binning import BinCodes, bin_codes, feature_bin_codes
from stillsafe.monitoring.category_groups import held_out_codes
from stillsafe.monitoring.clock_features import clock_features, look_alikes
from stillsafe.monitoring.columns import Columns, Mask, output_columns, prediction_numbers
from stillsafe.monitoring.local_time import LocalTimes, local_times

FEWEST_POOLED_ROWS = 60
"""Neighbouring hours of the same kind of day are pooled with a slot while fewer rows stand behind it."""
MOST_POOLED_HOURS = 3
"""Hours before and after a slot that may be pooled with it."""
FEWEST_DAYS_OF_KINDS = 3
"""A period of fewer days does not distinguish workdays from weekends."""
MOST_FREQUENT_NUMBERS = 5
LEAST_FREQUENT_RATE = 0.05
"""Of a slot's rows: a number is listed for a slot from this rate on."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Period:
    """A healthy period with times, ready to be counted by slot. `n` rows.

    Attributes:
        rows: the period, in time order.
        baseline: made of it.
        codes, output_codes: the bins of its features and outputs.
        joint_codes: the bins by which features are counted together, each row's groups learnt from other rows.
        local: its times.
        timezone: IANA name.
        names: the slots, in order.
        positions: (n,) each row's slot.
    """

    rows: Columns
    baseline: Baseline
    codes: Mapping[str, BinCodes]
    output_codes: Mapping[str, BinCodes]
    joint_codes: Mapping[str, BinCodes]
    local: LocalTimes
    timezone: str
    names: tuple[str, ...]
    positions: NDArray[np.intp]


def period_clock(rows: Columns, profiles: Baseline, timezone: str | None) -> dict[str, ClockFeature]:
    """The clock features of a healthy period; where its times are not is_kept, those that look like one.

    Args:
        rows: the period.
        profiles: a baseline with the profiles of its features.
        timezone: IANA name, or None where the rows' times are not those of the requests.
    """
    codes = feature_bin_codes(rows, profiles.features, slice(None))
    if timezone is None or not len(rows.times):
        return look_alikes(rows, profiles.features, codes)
    return clock_features(rows, profiles.features, codes, local_times(rows.times, timezone), profiles.min_count)


def period_of(rows: Columns, baseline: Baseline, timezone: str, *, has_kinds: bool | None = None) -> Period:
    """A healthy period by slot.

    Args:
        rows: with times, in their order.
        baseline: made of these rows.
        timezone: IANA name.
        has_kinds: whether workdays and weekends are distinguished; None where the length of the period decides.
    """
    local = local_times(rows.times, timezone)
    slots = local.slots()
    kinds = {name.partition("-")[0] for name in np.unique(slots).tolist()}
    if has_kinds is None:
        has_kinds = len(np.unique(local.days())) >= FEWEST_DAYS_OF_KINDS and kinds != {"weekend"}
    if not has_kinds:
        slots = np.array([f"day-{slot.rpartition('-')[2]}" for slot in slots.tolist()])
    names, positions = np.unique(slots, return_inverse=True)
    outputs = output_columns(rows)
    codes = feature_bin_codes(rows, baseline.features, slice(None))
    return Period(
        rows,
        baseline,
        codes,
        {
            name: bin_codes(outputs[name], output)
            for name, output in baseline.outputs.items()
            if name in outputs and output.bins is not None
        },
        held_out_codes(rows, baseline.features, codes),
        local,
        timezone,
        tuple(names.tolist()),
        positions,
    )


def count_slots(period: Period, rows: Mask) -> SlotTable:
    """The slot table of some rows of a period, without variation."""
    baseline, positions = period.baseline, period.positions[rows]
    own_rows = np.bincount(positions, minlength=len(period.names))
    pool = _pool(period.names, own_rows)
    is_known: Mask = np.asarray(pool.any(axis=1))
    counts = np.concatenate([_bin_counts(codes[rows], positions, period, name) for name, codes in _all(period)], axis=1)
    confidences = _confidence_sums(period, rows, positions)
    predictions = _prediction_sums(period, rows, positions)
    frequent = {
        name: tuple(
            _frequent_numbers(numbers[rows], positions, pool[index], baseline.min_count)
            for index in np.flatnonzero(is_known).tolist()
        )
        for name, numbers in period.rows.numbers.items()
        if baseline.features[name].distinct_count >= EVIDENCE.repeat_min_distinct and name not in baseline.clock
    }
    return SlotTable(
        timezone=period.timezone,
        names=tuple(name for name, is_kept in zip(period.names, is_known.tolist(), strict=True) if is_kept),
        rows=_integers(own_rows[is_known]),
        pooled_rows=_integers((pool @ own_rows)[is_known]),
        features=tuple(period.codes),
        outputs=tuple(period.output_codes),
        counts=tuple(_integers(row) for row in _disclosable_counts(pool @ counts, baseline.min_count)[is_known]),
        confidences=tuple(map(tuple, np.round((pool @ confidences)[is_known], 6).tolist())),
        predictions=tuple(map(tuple, np.round((pool @ predictions)[is_known], 6).tolist())),
        frequent=frequent,
        day_count=len(np.unique(period.local.days()[rows])),
    )


def _all(period: Period) -> list[tuple[str, BinCodes]]:
    return [*period.codes.items(), *period.output_codes.items()]


def _bin_counts(codes: BinCodes, positions: NDArray[np.intp], period: Period, name: str) -> NDArray[np.int64]:
    """(S, bins) rows of each slot in each bin; a bypassed row has no output and counts in no bin."""
    is_output = name not in period.codes
    feature = period.baseline.outputs[name] if is_output else period.baseline.features[name]
    size = feature.bins.size if feature.bins is not None else 0
    cells = np.bincount(positions * size + codes, minlength=len(period.names) * size)
    counts = cells.reshape(len(period.names), size)
    if is_output or not feature.missing_count:
        counts[:, -1] = 0
    return counts


def _disclosable_counts(counts: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Counts that show no value of fewer than `least` rows: such a count becomes 0 or `least`, the nearer one."""
    is_rare = (counts > 0) & (counts < least)
    return np.where(is_rare, np.where(2 * counts < least, 0, least), counts)


def _pool(names: tuple[str, ...], own_rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(S, S) flags: the slots whose rows stand behind each slot; none behind a slot without rows of its own."""
    kinds = np.array([name.partition("-")[0] for name in names])
    hours = np.array([int(name.rpartition("-")[2]) for name in names])
    pool = np.diag(own_rows > 0).astype(np.int64)
    distance = np.abs(hours[:, None] - hours[None, :])
    distance = np.minimum(distance, 24 - distance)
    is_like = np.equal.outer(kinds, kinds)
    for index in np.flatnonzero(own_rows).tolist():
        for reach in range(1, MOST_POOLED_HOURS + 1):
            if pool[index] @ own_rows >= FEWEST_POOLED_ROWS:
                break
            pool[index] = is_like[index] & (distance[index] <= reach)
    return pool


def _confidence_sums(period: Period, rows: Mask, positions: NDArray[np.intp]) -> Numbers:
    """(S, 4) count, sum, sum of squares and number of low ones of the confidences."""
    confidences = period.rows.confidences[rows]
    is_present = np.isfinite(confidences)
    values, threshold = np.where(is_present, confidences, 0.0), period.baseline.low_confidence_threshold
    is_low = is_present & (values < (-np.inf if threshold is None else threshold))
    columns = (is_present * 1.0, values, values**2, is_low * 1.0)
    return np.stack([np.bincount(positions, column, len(period.names)) for column in columns], axis=1)


def _prediction_sums(period: Period, rows: Mask, positions: NDArray[np.intp]) -> Numbers:
    """(S, 3) count, sum and sum of squares of a regressor's predictions; (S, 0) of a classifier."""
    if period.baseline.prediction_mean is None:
        return np.empty((len(period.names), 0))
    numbers = prediction_numbers(period.rows.predictions)[rows]
    is_present = np.isfinite(numbers)
    values = np.where(is_present, numbers, 0.0)
    columns = (is_present * 1.0, values, values**2)
    return np.stack([np.bincount(positions, column, len(period.names)) for column in columns], axis=1)


def _frequent_numbers(
    numbers: Numbers, positions: NDArray[np.intp], pool: NDArray[np.int64], least: int
) -> tuple[tuple[float, int], ...]:
    """The commonest numbers of a slot."""
    own = numbers[pool[positions] > 0]
    distinct, counts = np.unique(own[np.isfinite(own)], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_FREQUENT_NUMBERS]
    enough = max(least, 2, LEAST_FREQUENT_RATE * len(own))
    return tuple((float(distinct[i]), int(counts[i])) for i in order.tolist() if counts[i] >= enough)


def _integers(numbers: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(numbers.tolist())
