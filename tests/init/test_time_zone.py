"""The time zone that `init` proposes is that of the features that are hours."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from stillsafe.core.schema import Row
from stillsafe.init.time_zone import TimeZoneChoice, choose_time_zone
from stillsafe.monitoring.local_time import EPOCH, Micros, local_times

START = datetime(2026, 3, 20, tzinfo=UTC)


def times(days: int) -> Micros:
    """Every twenty minutes from 20 March on."""
    return np.arange(days * 72, dtype=np.int64) * 1_200_000_000 + (START - EPOCH) // timedelta(microseconds=1)


def rows(micros: Micros, timezone: str, name: str = "hour") -> list[Row]:
    """Rows with the local hour."""
    local = local_times(micros, timezone)
    return [{name: local.quarters[position].hour, "size": 1.0} for position in local.positions.tolist()]


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Sydney"])
def test_the_zone_of_an_hour(timezone: str) -> None:
    """Over a change of the clocks, or in a zone without one: the zone's hours are those of the feature."""
    micros = times(25)
    choice = choose_time_zone(rows(micros, timezone, "pickup_hour"), micros)
    hours = [local_times(micros, zone).cells("hour").tolist() for zone in (choice.name, timezone)]  # type: ignore[arg-type] # its text
    assert hours[0] == hours[1]
    assert choice.name in choice.reason
    assert "pickup_hour" in choice.reason


def test_utc_where_nothing_has_to_be_chosen() -> None:
    """Hours of UTC, no hour at all, no times."""
    micros = times(10)
    assert choose_time_zone(rows(micros, "UTC"), micros) == TimeZoneChoice()
    assert choose_time_zone(rows(micros, "Europe/Berlin", "size_of_box"), micros) == TimeZoneChoice()
    assert choose_time_zone(rows(micros, "Europe/Berlin"), None) == TimeZoneChoice()


def test_hours_that_no_zone_explains_are_said() -> None:
    """Hours that have nothing to do with the times: UTC, and a sentence."""
    micros = times(10)
    shuffled_rows: list[Row] = [{"hour": int(hour)} for hour in np.random.default_rng(1).integers(0, 24, len(micros))]
    choice = choose_time_zone(shuffled_rows, micros)
    assert choice.name == "UTC"
    assert choice.reason.startswith("hour: no time zone explains")
