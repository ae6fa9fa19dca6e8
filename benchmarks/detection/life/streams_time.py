"""Families of time: the hours of a week, real consecutive days, and what time brought."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.detection.damage import Kind
from benchmarks.detection.life.blocks import (
    BAD_RUNS,
    CALM_RUNS,
    QUICK_KINDS,
    clock_faults,
    diverse_streams,
    faults,
    faulty,
)
from benchmarks.detection.life.cases import LifeCase, LifeStream, Plan, Sort, Workshop, seed_of
from benchmarks.detection.life.estimators import Estimator
from benchmarks.detection.life.sets import LifeSet, by_name, load
from stillsafe.table_file import TIMESTAMP

SAMPLE, SERVE, TRAIN = 6_000, 20_000, 16_000
SAMPLE_WEEKS = 4
UNFELT = 0.4  # a stretch of days in which the model is worse by more, on the whole, is not healthy
MONDAY = pd.Timestamp("2026-01-05", tz="UTC")


def clock(*, quick: bool) -> Iterator[Plan]:
    """Healthy and faulty in the hours of a week, dense as busy services are: no weather, no season."""
    pairs = [
        ("departures", "trees"),
        ("departures", "linear"),
        ("deliveries", "trees"),
        ("demand", "trees"),
        ("places", "trees"),
    ]
    holdout = [("stops", "trees"), ("taxi", "linear"), ("calls", "trees"), ("weather", "trees")]
    for name, estimator in [*pairs[: 4 if quick else 5], *holdout]:
        one = by_name(name)
        yield Plan(f"{name}-{estimator}", one.half, partial(_clock_case, one, Estimator(estimator), quick=quick))


def days(*, quick: bool) -> Iterator[Plan]:
    """Healthy on consecutive rows of real days, every third week of the year; faults in them."""
    pairs = [("departures", "trees"), ("demand", "trees"), ("pizza", "linear")]
    holdout = [("stops", "trees"), ("calls", "trees"), ("weather", "trees")]
    for name, estimator in [*pairs, *holdout]:
        one = by_name(name)
        yield Plan(f"{name}-{estimator}", one.half, partial(_days_case, one, Estimator(estimator), quick=quick))


def tails(*, quick: bool) -> Iterator[Plan]:
    """What time brought after a sample of some weeks: natural drift and calm tails."""
    pairs = [
        ("departures", "trees"),
        ("demand", "trees"),
        ("pizza", "trees"),
        ("departures", "linear"),
        ("demand", "linear"),
    ]
    holdout = [("stops", "trees"), ("calls", "trees"), ("weather", "trees"), ("stops", "linear"), ("films", "linear")]
    for name, estimator in [*pairs[: 3 if quick else None], *holdout]:
        one = by_name(name)
        yield Plan(f"{name}-{estimator}", one.half, partial(_tail_case, one, Estimator(estimator), quick=quick))


def _clock_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    table = load(one).drop(columns="month", errors="ignore")
    rows = table.sample(frac=1, random_state=seed_of(one.name, "clock"))
    first = min(int(len(rows) * 0.35), TRAIN)
    second = first + min(int(len(rows) * 0.25), SAMPLE)
    draw = np.random.default_rng(seed_of(one.name, "weeks"))
    sample = on_a_week(rows.iloc[first:second], draw, MONDAY, SAMPLE_WEEKS)
    serve = on_a_week(rows.iloc[second : second + SERVE], draw, MONDAY + pd.Timedelta(SAMPLE_WEEKS * 7, "D"), 1)
    size = 300 if len(serve) > 10_000 else 150
    shop = Workshop(one, estimator, rows.iloc[:first].reset_index(drop=True), sample, serve, size, "clock")
    return shop.case("clock", "", _streams_of_days(shop, quick=quick))


def on_a_week(rows: pd.DataFrame, draw: np.random.Generator, start: pd.Timestamp, weeks: int) -> pd.DataFrame:
    """The rows at their weekday and time of day in one of so many weeks from `start` on, a Monday; in that order."""
    at = pd.DatetimeIndex(rows[TIMESTAMP]).floor("min")
    within = pd.to_timedelta(at.day_of_week, unit="D") + (at - at.normalize())
    spread = pd.to_timedelta(draw.integers(0, weeks, len(rows)) * 7, unit="D")
    seconds = pd.to_timedelta(draw.integers(0, 60, len(rows)), unit="s")
    timed_rows = rows.assign(**{TIMESTAMP: start + within + spread + seconds})
    return timed_rows.sort_values(TIMESTAMP, kind="stable").reset_index(drop=True)


def _days_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    table = load(one)
    week = ((table[TIMESTAMP] - table[TIMESTAMP].iloc[0]) // pd.Timedelta(7, "D")).to_numpy()
    train, sample, serve = (table[week % 3 == i].reset_index(drop=True) for i in range(3))
    train, sample = (
        part.sample(min(len(part), most), random_state=1).sort_index().reset_index(drop=True)
        for part, most in ((train, TRAIN), (sample, SAMPLE))
    )
    serve = serve.iloc[: 4 * SERVE]
    size = 300 if len(serve) > 10_000 else 150
    shop = Workshop(one, estimator, train, sample, serve, size, "days")
    return shop.case("days", "", _streams_of_days(shop, quick=quick))


def _streams_of_days(shop: Workshop, *, quick: bool) -> Iterator[LifeStream]:
    """Healthy stretches of consecutive runs in which the model is as good as ever, and failures in such."""
    size, total = shop.rows_per_run, len(shop.serve) // shop.rows_per_run
    length, draw = min(30, total // 2), shop.draw("stretches")
    starts = np.unique(np.linspace(0, total - length, 3 if quick else 6).astype(int))
    for number, start in enumerate(starts, start=1):
        rows = shop.serve.iloc[start * size : (start + length) * size].reset_index(drop=True)
        if float(np.mean(shop.harms(rows, None))) < UNFELT:
            yield shop.stream(Sort.HEALTHY, "healthy", f"healthy {number}", (), rows, (length, length))
    runs = CALM_RUNS + BAD_RUNS
    kinds = QUICK_KINDS if quick else list(Kind)
    candidates = [*faults(shop, kinds), *clock_faults(shop, shop.serve)]

    def tries() -> Iterator[LifeStream | None]:
        for fault in candidates:
            start = int(draw.integers(0, total - runs + 1))
            rows = shop.serve.iloc[start * size : (start + runs) * size].reset_index(drop=True)
            yield faulty(shop, fault, rows, (CALM_RUNS, runs))

    yield from diverse_streams(tries(), 1 if quick else 2, 0 if quick else 1)


def _tail_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    table = load(one)
    first, second = int(len(table) * 0.35), int(len(table) * 0.5)
    train = table.iloc[:first].sample(min(first, TRAIN), random_state=1).reset_index(drop=True)
    sample = table.iloc[first:second].sample(min(second - first, SAMPLE), random_state=1).sort_index()
    serve = table.iloc[second:].reset_index(drop=True)
    size = 300 if len(serve) > 8_000 else 150
    shop = Workshop(one, estimator, train, sample.reset_index(drop=True), serve, size, "tails")
    total = len(serve) // size
    length = min(20, total // 4)
    streams = []
    for number, start in enumerate(np.linspace(0, total - length, 3 if quick else 6).astype(int), start=1):
        rows = serve.iloc[start * size : (start + length) * size].reset_index(drop=True)
        streams.append(shop.stream(Sort.NATURAL, "natural", f"stretch {number}", (), rows, (0, length)))
    return shop.case("tails", "", streams)


def with_neighbours(harms: tuple[float, ...]) -> list[float]:
    """The mean harm of each run with the one before and the one after."""
    return [float(np.mean(harms[max(i - 1, 0) : i + 2])) for i in range(len(harms))]
