"""Local times: the slots and the clock units of requests, in a service's time zone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.slot_table import ClockUnit
from stillsafe.monitoring.columns import Columns

Micros = NDArray[np.int64]
"""Times in microseconds since 1970, UTC."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUARTER_MICROS = 900 * 10**6
"""Every time zone of today differs from UTC by whole quarters of an hour, and so do its changes."""
UTC_NAME = "UTC"
WORKDAYS = 5


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """The local quarter of an hour of each of `n` rows.

    Attributes:
        quarters: the distinct ones, as naive local times.
        positions: (n,) index of each row's in `quarters`.
    """

    quarters: tuple[datetime, ...]
    positions: NDArray[np.intp]

    def texts(self, text_of: Callable[[datetime], str]) -> NDArray[np.str_]:
        """(n,) a text for each row, such as its slot."""
        return np.array([text_of(quarter) for quarter in self.quarters], dtype=np.str_)[self.positions]

    def cells(self, unit: ClockUnit) -> NDArray[np.str_]:
        """(n,) the value of a clock unit for each row, as text."""
        return self.texts(lambda quarter: cell_of(unit, quarter))

    def slots(self) -> NDArray[np.str_]:
        """(n,) the slot of each row."""
        return self.texts(slot_of)

    def days(self) -> NDArray[np.int64]:
        """(n,) the number of each row's local day."""
        return np.array([quarter.toordinal() for quarter in self.quarters], dtype=np.int64)[self.positions]


def local_times(times: Micros, timezone: str) -> LocalTimes:
    """Convert times to a time zone.

    Args:
        times: (n,) microseconds since 1970, UTC.
        timezone: IANA name.
    """
    quarters, positions = np.unique(times // QUARTER_MICROS, return_inverse=True)
    return LocalTimes(tuple(_local_quarter(quarter, timezone) for quarter in quarters.tolist()), positions)


def middle_time(times: Micros, default: datetime) -> datetime:
    """The time in the middle of times in microseconds since 1970, aware UTC; the default where there are none."""
    return EPOCH + timedelta(microseconds=int(np.median(times))) if len(times) else default


def utc_offsets(times: Micros, timezone: str) -> Micros:
    """(n,) what the clock of a time zone is ahead of UTC at these times, in microseconds."""
    quarters, positions = np.unique(times // QUARTER_MICROS, return_inverse=True)
    local = [_local_quarter(quarter, timezone).replace(tzinfo=UTC) - EPOCH for quarter in quarters.tolist()]
    walls = np.array([each // timedelta(microseconds=1) for each in local], dtype=np.int64)
    return np.asarray((walls - quarters * QUARTER_MICROS)[positions], dtype=np.int64)


@lru_cache(maxsize=50_000)
def _local_quarter(quarter: int, timezone: str) -> datetime:
    utc = EPOCH + timedelta(microseconds=quarter * QUARTER_MICROS)
    return utc.astimezone(zone_of(timezone)).replace(tzinfo=None)


@lru_cache(maxsize=16)
def zone_of(timezone: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        ZoneInfoNotFoundError: there is none of that name.
    """
    return ZoneInfo(timezone)


def slot_of(quarter: datetime) -> str:
    """The slot of a local time: `workday-07`."""
    kind = "workday" if quarter.weekday() < WORKDAYS else "weekend"
    return f"{kind}-{quarter.hour:02d}"


def cell_of(unit: ClockUnit, quarter: datetime) -> str:
    """The value of a clock unit at a local time, as text; empty of an unknown unit."""
    match unit:
        case ClockUnit.HOUR:
            return str(quarter.hour)
        case ClockUnit.SLOT:
            return slot_of(quarter)
        case ClockUnit.HALF_HOUR:
            return str(quarter.hour * 2 + quarter.minute // 30)
        case ClockUnit.WEEKDAY:
            return str(quarter.weekday())
        case ClockUnit.MONTH:
            return str(quarter.month)
        case ClockUnit.DATE:
            return quarter.date().isoformat()
        case ClockUnit.UNKNOWN:
            return ""


def fresh_slots(rows: Columns, baseline: Baseline | None) -> dict[str, int]:
    """The fresh rows of a window by slot, in order of name; empty where the baseline or the rows have no times."""
    if baseline is None or baseline.slots is None or not len(rows.times):
        return {}
    local = local_times(rows.times[rows.fresh], baseline.slots.timezone)
    counts = Counter[str]()
    for quarter, count in zip(local.quarters, np.bincount(local.positions).tolist(), strict=True):
        counts[slot_of(quarter)] += count
    return dict(sorted(counts.items()))
