"""Proposes the time zone of a service from the features that are hours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.evidence.slot_table import ClockUnit
from stillsafe.core.schema import Row
from stillsafe.monitoring.clock_features import name_unit
from stillsafe.monitoring.columns import numbers_or_nan
from stillsafe.monitoring.local_time import UTC_NAME, Micros, local_times

FEWEST_HOURS = 12
LEAST_AGREEMENT = 0.98
"""Share of the rows whose hour a time zone has to explain."""
ZONES = (
    UTC_NAME,
    *("Europe/London", "Europe/Berlin", "Europe/Helsinki", "Europe/Istanbul", "Europe/Moscow"),
    *("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Phoenix"),
    *("America/Sao_Paulo", "America/Bogota", "America/Mexico_City", "America/Halifax", "America/St_Johns"),
    *("America/Anchorage", "Pacific/Honolulu", "America/Santiago", "America/Caracas", "Atlantic/Azores"),
    *("Africa/Lagos", "Africa/Johannesburg", "Africa/Nairobi", "Africa/Cairo", "Asia/Jerusalem", "Asia/Tehran"),
    *("Asia/Dubai", "Asia/Kabul", "Asia/Karachi", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Dhaka", "Asia/Yangon"),
    *("Asia/Bangkok", "Asia/Shanghai", "Asia/Tokyo", "Australia/Perth", "Australia/Adelaide", "Australia/Darwin"),
    *("Australia/Brisbane", "Australia/Sydney", "Pacific/Noumea", "Pacific/Auckland", "Pacific/Tongatapu"),
)
"""One zone of each offset and rule, those with the most people first."""


@dataclass(frozen=True, slots=True)
class TimeZoneChoice:
    """The proposed time zone.

    Attributes:
        name: IANA name.
        reason: a sentence for the owner; empty where nothing had to be chosen.
    """

    name: str = UTC_NAME
    reason: str = ""


def choose_time_zone(rows: Sequence[Row], times: Micros | None) -> TimeZoneChoice:
    """The first zone whose hours agree with every feature that is an hour by name and by values; else UTC.

    Args:
        rows: the sample.
        times: (n,) of the rows, or None where they are not known.
    """
    if times is None or not rows:
        return TimeZoneChoice()
    features = _hour_features(rows)
    if not features:
        return TimeZoneChoice()
    hours_by_zone = {zone: local_times(times, zone).cells(ClockUnit.HOUR).astype(np.float64) for zone in ZONES}
    agreements = {
        zone: min(float((numbers == hours)[np.isfinite(numbers)].mean()) for numbers in features.values())
        for zone, hours in hours_by_zone.items()
    }
    best = max(agreements.values())
    names = ", ".join(features)
    if best < LEAST_AGREEMENT:
        reason = f"{names}: no time zone explains these hours, so the service's days and hours are those of UTC."
        return TimeZoneChoice(UTC_NAME, reason)
    # A change to daylight saving time distinguishes zones of equal offset; without one, the first zone is proposed.
    zone = next(zone for zone, agreement in agreements.items() if agreement > best - (1 - LEAST_AGREEMENT) / 4)
    if zone == UTC_NAME:
        return TimeZoneChoice()
    reason = (
        f"The time zone is {zone}, since {names} agrees with its clock. Other zones may have the same hours in the "
        "sample: check `timezone` in [service]."
    )
    return TimeZoneChoice(zone, reason)


def _hour_features(rows: Sequence[Row]) -> Mapping[str, NDArray[np.float64]]:
    """The features that are an hour by name and by values, as numbers."""
    features = {}
    for name in rows[0]:
        if name_unit(name) is not ClockUnit.HOUR:
            continue
        numbers = numbers_or_nan([row[name] for row in rows])
        present = numbers[np.isfinite(numbers)]
        distinct = np.unique(present)
        is_hour = len(distinct) >= FEWEST_HOURS and bool((distinct % 1 == 0).all())
        if is_hour and distinct[0] >= 0 and distinct[-1] <= 23:
            features[name] = numbers
    return features
