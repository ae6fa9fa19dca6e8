"""Families of traffic: small baselines, few rows, bursts, ever new categories, and rare positives."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.detection.damage import Kind
from benchmarks.detection.data import LABEL
from benchmarks.detection.life.blocks import (
    BAD_RUNS,
    CALM_RUNS,
    diverse_streams,
    faults,
    faulty,
    healthy,
    shop_at_random,
)
from benchmarks.detection.life.cases import LifeCase, LifeStream, Plan, Sort, Workshop, rare_harm, seed_of, split
from benchmarks.detection.life.estimators import Estimator
from benchmarks.detection.life.sets import LifeSet, by_name, load
from benchmarks.detection.life.streams_time import MONDAY
from stillsafe.table_file import TIMESTAMP

BAD = (CALM_RUNS, CALM_RUNS + BAD_RUNS)
RARE_SAMPLE, RARE_ROWS, LONGEST_WAIT = 20_000, 500, 20
UNFELT_RARE = 0.3  # of a tenth of AUC: a failure that costs less is harmless


def small(*, quick: bool) -> Iterator[Plan]:
    """Baselines of 300 and of 1,000 rows: healthy runs, and a few failures."""
    design = ("magic-trees", "diamonds-linear", "departures-trees", "letter-trees", "spam-linear")
    for name in (*design[: 3 if quick else None], "houses-trees", "votes-linear", "stops-trees"):
        one, estimator = _parts(name)
        for size in (300, 1_000):
            yield Plan(f"{name}-{size}", one.half, partial(_small_case, one, estimator, size, quick=quick))


def thin(*, quick: bool) -> Iterator[Plan]:
    """Few rows a run: as many as are gathered until there are 50 or 100; and bursts of 5 to 900 rows a window."""
    design, holdout = ("magic-trees", "departures-trees", "diamonds-linear"), ("votes-linear", "stops-trees")
    for name in (*design[: 2 if quick else None], *holdout):
        one, estimator = _parts(name)
        for size in (50, 100):
            yield Plan(f"{name}-{size}", one.half, partial(_thin_case, one, estimator, size, quick=quick))
        yield Plan(f"{name}-bursty", one.half, partial(_bursty_case, one, estimator))


def categories(*, quick: bool) -> Iterator[Plan]:
    """New categories every day: healthy rows in their order, and failures in them."""
    for name in ("places-trees", "tails-trees", *(() if quick else ("places-linear",)), "films-trees"):
        one, estimator = _parts(name)
        yield Plan(name, one.half, partial(_categories_case, one, estimator, quick=quick))


def rare(*, quick: bool) -> Iterator[Plan]:
    """1% positives, the owner's metric AUC: failures that halve recall or cost a tenth of AUC; healthy runs."""
    more = () if quick else ("queues-trees", "fraud-trees", "very_late-linear")
    for name in ("fraud-linear", "very_late-trees", *more, "crashes-linear", "dearest-trees"):
        one, estimator = _parts(name)
        yield Plan(name, one.half, partial(_rare_case, one, estimator, quick=quick))


def _parts(name: str) -> tuple[LifeSet, Estimator]:
    dataset, model = name.split("-")
    return by_name(dataset), Estimator(model)


def _small_case(one: LifeSet, estimator: Estimator, size: int, *, quick: bool) -> LifeCase:
    shop = shop_at_random(one, estimator, sample=size, size=300)
    tries = list(faults(shop, (Kind.NULLS, Kind.PERMUTATION, Kind.UNIT_CHANGE)))[:: 4 if quick else 2]
    streams = [faulty(shop, fault, shop.healthy(BAD[1], fault.name), BAD) for fault in tries]
    calm = healthy(shop, 20, 2 if quick else 6)
    return shop.case("small", f"{size}", [*calm, *(stream for stream in streams if stream is not None)])


def _thin_case(one: LifeSet, estimator: Estimator, size: int, *, quick: bool) -> LifeCase:
    shop = shop_at_random(one, estimator, size=size)
    kinds = (Kind.NULLS, Kind.PERMUTATION, Kind.STUCK_VALUE, Kind.UNIT_CHANGE, Kind.WRONG_JOIN)
    tries = (faulty(shop, fault, shop.healthy(BAD[1], fault.name), BAD) for fault in faults(shop, kinds))
    calm = healthy(shop, 60, 1 if quick else 3)
    return shop.case("thin", f"{size}", [*calm, *diverse_streams(tries, 1 if quick else 2, 1)])


def _bursty_case(one: LifeSet, estimator: Estimator) -> LifeCase:
    """Windows of ten minutes by time, with 5 to 900 rows each, all within forty seconds; all healthy."""
    shop = shop_at_random(one, estimator, size=300)
    draw = shop.draw("bursts")
    counts = np.exp(draw.uniform(np.log(5), np.log(900), 80)).astype(int)
    rows = shop.healthy(int(counts.sum()) // 300 + 1, "bursty").iloc[: counts.sum()]
    seconds = np.concatenate([draw.integers(0, 10) * 60 + np.sort(draw.uniform(0, 40, count)) for count in counts])
    at = MONDAY + pd.to_timedelta(np.repeat(np.arange(len(counts)) * 600, counts) + seconds, unit="s")
    timed_rows = rows.assign(**{TIMESTAMP: at}).sort_values(TIMESTAMP, kind="stable").reset_index(drop=True)
    runs = len(counts)
    stream = LifeStream(
        Sort.HEALTHY, "healthy", "bursty", (), timed_rows, None, runs, runs, (0.0,) * runs, False, one.half
    )  # fmt: skip
    return shop.case("thin", "bursty", [stream])


def _categories_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    table, size = load(one), 300
    if len(table) > 60_000:
        table = table.sample(60_000, random_state=1).sort_index()
    ends = int(len(table) * 0.3), int(len(table) * 0.45), len(table)
    train, sample, serve = (
        table.iloc[a:b].reset_index(drop=True) for a, b in zip((0, *ends[:2]), ends, strict=True)
    )  # fmt: skip
    shop = Workshop(one, estimator, train, sample, serve, size, "categories")
    total = len(serve) // size
    length = min(30, total // 2)
    streams = []
    for number, start in enumerate((0, total // 2), start=1):
        rows = serve.iloc[start * size : (start + length) * size].reset_index(drop=True)
        streams.append(shop.stream(Sort.NATURAL, "natural", f"stretch {number}", (), rows, (0, length)))
    kinds = (Kind.NULLS, Kind.PERMUTATION, Kind.RECODING, Kind.RENAMING)
    rows = serve.iloc[: BAD[1] * size].reset_index(drop=True)
    tries = [faulty(shop, fault, rows, BAD) for fault in list(faults(shop, kinds))[:: 4 if quick else 2]]
    return shop.case("categories", "", [*streams, *(stream for stream in tries if stream is not None)])


def _rare_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    table = load(one)
    table = table.sample(min(len(table), 100_000), random_state=seed_of(one.name))
    sample_size = min(RARE_SAMPLE, int(len(table) * 0.35))
    train, sample, serve = split(table, seed_of(one.name, "split"), sample_size, most=40_000)
    shop = Workshop(one, estimator, train, sample, serve, RARE_ROWS, "rare")
    positive = table[LABEL].value_counts().index[-1]
    streams = list(healthy(shop, 30, 1 if quick else 3))
    by_kind: dict[str, list[LifeStream]] = {}
    for stream in _rare_faults(shop, positive):
        by_kind.setdefault(stream.kind, []).append(stream)
    for group in by_kind.values():
        streams += [stream for stream in group if stream.harmful][: 1 if quick else 3]
        streams += [stream for stream in group if not stream.harmful and stream.harms[-1] < UNFELT_RARE][:1]
    return shop.case("rare", "", streams, metric="auc")


def _rare_faults(shop: Workshop, positive: object) -> Iterator[LifeStream]:
    """Failures that last until so many positives are expected; harm in tenths of AUC."""
    expected = RARE_ROWS * float((shop.sample[LABEL] == positive).mean())
    bad = (CALM_RUNS, CALM_RUNS + min(int(np.ceil(5 * 20 / expected)), LONGEST_WAIT))
    for fault in faults(shop, (Kind.NULLS, Kind.PERMUTATION, Kind.STUCK_VALUE, Kind.WRONG_JOIN, Kind.SIGN_FLIP)):
        clean = shop.healthy(bad[1], fault.name)
        stream = faulty(shop, fault, clean, bad)
        if stream is not None:
            since = bad[0] * RARE_ROWS
            loss, harmful = rare_harm(shop.model, stream.rows.iloc[since:], clean.iloc[since:], positive)
            harms = tuple(loss / 0.1 if run >= bad[0] else 0.0 for run in range(bad[1]))
            yield replace(stream, harms=harms, harmful=harmful, positives=expected)
