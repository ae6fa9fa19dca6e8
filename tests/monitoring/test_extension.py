"""A baseline is widened by healthy days of the log, and judges by hours on both stores."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.slot_table import ClockFeature, ClockUnit
from stillsafe.core.schema import Row
from stillsafe.core.signals import Level
from stillsafe.core.state import State
from stillsafe.errors import BaselineRefused
from stillsafe.monitoring import baseline
from stillsafe.monitoring.extension import HealthySpan, extend, sum_of
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from tests.monitoring.conftest import STEP, Service
from tests.monitoring.hours import MONDAY, Traffic, deviations, hourly_baseline

FIRST_MONDAY = datetime(2026, 2, 23, tzinfo=UTC)
SUNDAY = datetime(2026, 3, 1, tzinfo=UTC)
COUNT = 6_000


def by_hour(start: datetime, over: timedelta, count: int) -> Callable[[int, Row], None]:
    """Rows whose size and floor follow the hour; the floor is the hour itself."""

    def change(i: int, row: Row) -> None:
        hour = (start + over * (i / count)).hour
        row["size"] = float(row["size"] or 0) + 40 * math.sin(2 * math.pi * hour / 24)
        row["floor"] = hour

    return change


def send(service: Service, count: int, start: datetime, over: timedelta) -> None:
    """Healthy rows over a time."""
    service.send(count, start=start, over=over, change=by_hour(start, over, count))


@pytest.fixture
def hourly_service(bare_service: Service) -> Service:
    """A service with a baseline of five workdays."""
    send(bare_service, COUNT, FIRST_MONDAY, timedelta(days=5))
    baseline.create(bare_service.engine, bare_service.settings, baseline.HealthyPeriod(COUNT), at=SUNDAY)
    return bare_service


def active(service: Service) -> Baseline:
    """The active baseline."""
    with database.reading(service.engine) as connection:
        active_one = active_baseline(connection, "1")
    assert active_one is not None
    return active_one


def run_at(service: Service, at: datetime, count: int = 200) -> Level:
    """Ten minutes of healthy rows up to a time, and the worst level of the run that judges them."""
    service.now = at
    send(service, count, at - STEP, STEP)
    decision = service.run().decision
    assert decision is not None
    return max((reading.level for reading in decision.readings), key=list(Level).index)


def test_a_service_with_an_hour_is_calm_and_its_runs_replay(hourly_service: Service) -> None:
    """Healthy through the hours of a Monday, though each differs from the whole week; every window is recounted."""
    assert active(hourly_service).clock.keys() == {"floor"}
    for hour in (3, 6, 9, 13, 18, 21):
        level = run_at(hourly_service, SUNDAY + timedelta(days=1, hours=hour))
        assert level is Level.NONE
        assert hourly_service.state() is State.NORMAL
    result = replay(
        hourly_service.engine,
        from_logs=True,
        log_format=LogFormat.of(hourly_service.settings),
        model_version="1",
        score=hourly_service.score,
    )
    assert result.difference is None
    assert (result.runs, result.windows) == (6, 6)


def test_a_healthy_weekend_makes_weekends_known(hourly_service: Service) -> None:
    """Before, a Sunday is compared with nothing; a healthy one in the log widens the baseline."""
    assert run_at(hourly_service, SUNDAY + timedelta(hours=6)) is Level.NONE
    send(hourly_service, 2_000, SUNDAY + timedelta(hours=8), timedelta(hours=12))
    old = active(hourly_service)
    new = extend(hourly_service.engine, hourly_service.settings, HealthySpan(SUNDAY), at=SUNDAY + timedelta(days=1))
    assert active(hourly_service) == new
    assert new.baseline_id != old.baseline_id
    assert old.slots is not None
    assert new.slots is not None
    assert {name for name in new.slots.names if name.startswith("weekend")} > set()
    assert {*old.slots.names} < {*new.slots.names}
    assert new.sample_size == old.sample_size + 2_200


def test_rows_of_an_extension_count_once(hourly_service: Service) -> None:
    """By default the next extension starts where the last one was made."""
    send(hourly_service, 500, SUNDAY, timedelta(hours=12))
    now = SUNDAY + timedelta(hours=12)
    first = extend(hourly_service.engine, hourly_service.settings, HealthySpan(SUNDAY), at=now)
    send(hourly_service, 300, now, timedelta(hours=6))
    second = extend(hourly_service.engine, hourly_service.settings, HealthySpan(), at=now + timedelta(hours=6))
    assert second.sample_size == first.sample_size + 300


def test_too_few_rows_and_no_baseline_are_refused(bare_service: Service) -> None:
    """Nothing to widen, and nothing to widen it by."""
    with pytest.raises(BaselineRefused, match="no active baseline"):
        extend(bare_service.engine, bare_service.settings, HealthySpan(), at=SUNDAY)
    bare_service.make_baseline()
    with pytest.raises(BaselineRefused, match="too few"):
        extend(bare_service.engine, bare_service.settings, HealthySpan(SUNDAY), at=SUNDAY + timedelta(days=1))


def test_the_sum_of_two_weeks_is_nearly_the_baseline_of_both() -> None:
    """Counts add up exactly where the bins are the same, and the result judges both weeks' hours as calm."""
    traffic = Traffic()
    whole = hourly_baseline(traffic.rows(MONDAY, 14, 30, 1))
    parts = [
        replace(hourly_baseline(traffic.rows(MONDAY + timedelta(days=7 * week), 7, 30, week)), features=whole.features)
        for week in (2, 3)
    ]
    total = sum_of(*parts)
    assert total.sample_size == whole.sample_size
    assert total.slots is not None
    assert sum(total.slots.rows) == 14 * 24 * 30
    assert total.slots.day_count == 14
    assert total.clock["hour"].unit is ClockUnit.HOUR
    rows = traffic.rows(MONDAY + timedelta(days=28, hours=6), 1 / 24, 300, 9)
    assert deviations(rows, sum_of(*(hourly_baseline(traffic.rows(MONDAY, 7, 30, seed)) for seed in (4, 4)))) == set()


def test_clock_tables_of_different_values_are_joined() -> None:
    """A second period with another month has one more value and one more cell."""
    template = hourly_baseline(Traffic().rows(MONDAY, 3, 20, 1))
    months = [
        ClockFeature(ClockUnit.MONTH, {"3": (40,)}, ("3",)),
        ClockFeature(ClockUnit.MONTH, {"3": (10, 0), "4": (0, 20)}, ("3", "4")),
    ]
    first, second = (replace(template, clock={"month": month}) for month in months)
    clock = sum_of(first, second).clock["month"]
    assert clock == ClockFeature(ClockUnit.MONTH, {"3": (50, 0), "4": (0, 20)}, ("3", "4"))


def test_a_period_without_slots_keeps_those_of_the_other() -> None:
    """A short quiet period does not erase what the baseline knows of hours."""
    template = hourly_baseline(Traffic().rows(MONDAY, 14, 20, 1))
    without = replace(template, slots=None)
    assert sum_of(template, without).slots == template.slots
    assert sum_of(without, template).slots == template.slots
    assert np.isfinite(sum_of(template, without).avg_confidence or np.nan)


def test_rows_that_runs_left_out_are_named_and_the_owner_may_count_them(service: Service) -> None:
    """After a new category every run deviates, so nothing is left: the refusal says why, and what widens it anyway."""

    def rename(i: int, row: Row) -> None:
        row["town"] = "F" if i % 6 == 0 else row["town"]

    start = service.now
    for _ in range(4):
        service.step(300, change=rename)
    assert service.state() is State.WARNING
    span = HealthySpan(start, service.now)
    with pytest.raises(BaselineRefused, match="1200 more that the model answered were left out") as refusal:
        extend(service.engine, service.settings, span, at=service.now)
    assert any(
        each.startswith("unseen_category_rate:town deviated in 4 of the 4 runs") for each in refusal.value.evidence
    )
    old = active(service)
    new = extend(service.engine, service.settings, replace(span, accept_contradiction=True), at=service.now)
    assert new.sample_size == old.sample_size + 1200
    for _ in range(8):
        service.step(300, change=rename)
    assert service.state() is State.NORMAL
