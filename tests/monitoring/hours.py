"""A made-up service whose rows depend on the hour and on the kind of day: what every test of slots is about."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.policy import Policy
from stillsafe.core.readings import read_signals
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.window import Window
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.monitoring.columns import Columns
from stillsafe.monitoring.disclosure import Disclosure
from stillsafe.monitoring.local_time import EPOCH, fresh_slots, local_times
from stillsafe.monitoring.slot_noise import with_slots
from stillsafe.monitoring.tally import tally
from tests.monitoring.log_rows import AT

SCHEMA = Schema(
    (
        FeatureSpec("hour", FeatureType.INTEGER, required=False),
        FeatureSpec("weekday", FeatureType.CATEGORY, required=False),
        FeatureSpec("size", FeatureType.NUMERIC, required=False),
        FeatureSpec("cost", FeatureType.NUMERIC, required=False),
        FeatureSpec("town", FeatureType.CATEGORY, required=False),
    )
)
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONDAY = datetime(2026, 3, 2, tzinfo=EPOCH.tzinfo)
"""Midnight of a Monday."""
POLICY = Policy()


@dataclass(frozen=True)
class Traffic:
    """Made-up rows.

    Attributes:
        timezone: whose hours the rows depend on.
        strength: how much they do; 0 not at all.
    """

    timezone: str = "UTC"
    strength: float = 1.0

    def rows(self, start: datetime, days: float, per_hour: int, seed: int) -> Columns:
        """Rows in the order of their times, evenly spread."""
        count = round(days * 24 * per_hour)
        micros = (start - EPOCH) // timedelta(microseconds=1)
        times = micros + np.arange(count, dtype=np.int64) * (3_600_000_000 // per_hour)
        return self.rows_at(times, seed)

    def rows_at(self, times: NDArray[np.int64], seed: int) -> Columns:
        """Rows at these times."""
        draw, count = np.random.default_rng(seed), len(times)
        local = local_times(times, self.timezone)
        quarters = [local.quarters[position] for position in local.positions.tolist()]
        hours = np.array([quarter.hour for quarter in quarters])
        is_weekend = np.array([quarter.weekday() > 4 for quarter in quarters])
        wave = self.strength * np.sin(2 * np.pi * hours / 24) * np.where(is_weekend, -0.5, 1.0)
        size = 20 + 4 * wave + draw.normal(0, 2, count)
        cost = 3 * size + draw.normal(0, 4, count)
        is_north = draw.random(count) < 0.5 + 0.35 * wave
        confidences = np.clip(0.8 + 0.1 * wave + draw.normal(0, 0.05, count), 0, 1)
        rows: list[Row] = [
            {
                "hour": int(hour),
                "weekday": WEEKDAYS[quarter.weekday()],
                "size": float(one),
                "cost": float(other),
                "town": "north" if north else "south",
            }
            for hour, quarter, one, other, north in zip(hours, quarters, size, cost, is_north, strict=True)
        ]
        answers = ["yes" if value > 20 else "no" for value in size.tolist()]
        return reference_columns(SCHEMA, rows, confidences.tolist(), answers, salt="salt", times=times)


def hourly_baseline(rows: Columns, timezone: str | None = "UTC", min_count: int = 5) -> Baseline:
    """The baseline of these rows with its slots; without a time zone that of a sample without times."""
    disclosure = Disclosure(min_count, "salt")
    baseline = reference_baseline(rows, SCHEMA, model_version="1", at=AT, disclosure=disclosure, timezone=timezone)
    return baseline if timezone is None else with_slots(baseline, rows, timezone, POLICY)


def window_of(rows: Columns, baseline: Baseline) -> Window:
    """The window of these rows, counted as a run does."""
    slots = fresh_slots(rows, baseline)
    counts = tally(rows, composed_baseline(baseline, slots), 0)
    return Window(AT, AT, "1", counts, counts, slot_counts=slots)


def readings_of(rows: Columns, baseline: Baseline) -> dict[str, Reading]:
    """The readings of one run over these rows, by key."""
    window = window_of(rows, baseline)
    slot_baseline = composed_baseline(baseline, window.slot_counts)
    return {reading.key: reading for reading in read_signals(POLICY, slot_baseline, window)}


def deviations(rows: Columns, baseline: Baseline) -> set[str]:
    """The keys of the readings that deviate."""
    return {key for key, reading in readings_of(rows, baseline).items() if reading.evidence is Evidence.BAD}
