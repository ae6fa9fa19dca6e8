"""The hours of the healthy period, and its clock features: aggregates that a baseline stores, never rows.

A *slot* is an hour of a workday or of a weekend day in the service's time zone, named `workday-07` or `weekend-23`; or
`day-07`, where the period is too short to distinguish the kinds of day. A *clock feature* is one whose value the time
of the request determines: an hour, a weekday, a month.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ClockUnit(StrEnum):
    """Which part of the local time determines a clock feature."""

    HOUR = "hour"  #: 0 to 23.
    HALF_HOUR = "half_hour"  #: 0 to 47.
    SLOT = "slot"  #: The hour and the kind of day: `workday-07`.
    WEEKDAY = "weekday"  #: 0 (Monday) to 6.
    MONTH = "month"  #: 1 to 12.
    DATE = "date"  #: The day: its value is known for the days of the healthy period only.
    UNKNOWN = "unknown"  #: It looks like a clock, but the healthy period has no times.


@dataclass(frozen=True, slots=True)
class ClockFeature:
    """A feature that the clock determines. It must agree with the clock, and is no evidence otherwise.

    Attributes:
        unit: the part of the local time that determines it.
        table: per value of that unit, written as text, the healthy rows in each of the feature's cells.
        values: the cells: each distinct value as text; empty where the feature's bins are the cells.
    """

    unit: ClockUnit
    table: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotTable:
    """The healthy period by slot. `S` slots; `B` bins of all features and outputs, one after the other.

    Attributes:
        timezone: IANA name of the time zone whose hours are counted.
        names: (S,) of the slots; empty where the hour foretells nothing about the rows.
        rows: (S,) rows of each slot.
        pooled_rows: (S,) rows behind its counts: its own, and those of neighbouring hours where its own are few.
        features, outputs: what is counted, in the order of the bins.
        counts: (S, B) pooled rows in each bin.
        confidences: (S,) count, sum, sum of squares and number of low ones of the pooled rows' confidences.
        predictions: (S,) count, sum and sum of squares of a regressor's predictions; empty of a classifier.
        frequent: per continuous feature and slot, its commonest numbers with their counts.
        variation, offset: per reading key, as in `Baseline`, of held-out blocks that are as long as a window, each
            compared with the baseline of its own slots.
        row_sd: per feature of the joint table, as in `Joint`, of the same comparison.
        shift_error: loss that the estimate for a genuine shift wrongly reports on such blocks, as a root mean square.
        day_count: days of the period.
    """

    timezone: str
    names: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    pooled_rows: tuple[int, ...] = ()
    features: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()
    confidences: tuple[tuple[float, ...], ...] = ()
    predictions: tuple[tuple[float, ...], ...] = ()
    frequent: Mapping[str, tuple[tuple[tuple[float, int], ...], ...]] = field(default_factory=dict)
    variation: Mapping[str, float] = field(default_factory=dict)
    offset: Mapping[str, float] = field(default_factory=dict)
    row_sd: tuple[float, ...] = ()
    shift_error: float = 0.0
    day_count: int = 0
