"""Families of states: an outage with a shift that stays, slow damage, and the mission's own metrics moved alone."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.detection.data import LABEL, Task
from benchmarks.detection.life.blocks import CALM_RUNS, shop_at_random
from benchmarks.detection.life.cases import HARMFUL, LifeCase, LifeStream, Plan, Sort, Workshop
from benchmarks.detection.life.estimators import Estimator
from benchmarks.detection.life.sets import LifeSet, by_name
from benchmarks.detection.life.streams_time import with_neighbours

OUTAGE_RUNS, LATER_RUNS = 4, 16
SLOW_RUNS = 60
_DESIGN = ["magic-trees", "diamonds-trees", "departures-linear", "letter-trees", "spam-linear"]
_HOLDOUT = ["houses-trees", "votes-linear", "stops-trees", "weather-linear"]


def _plans(quick: bool, case: Callable[..., LifeCase]) -> Iterator[Plan]:
    for name in (*_DESIGN[: 3 if quick else None], *_HOLDOUT[: 2 if quick else None]):
        one, estimator = by_name(name.split("-")[0]), Estimator(name.split("-")[1])
        yield Plan(name, one.half, partial(case, one, estimator, quick=quick))


def outage(*, quick: bool) -> Iterator[Plan]:
    """The dearest feature is missing for four runs, while a harmless shift of a cheap one begins and stays."""
    yield from _plans(quick, _outage_case)


def _outage_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    shop = shop_at_random(one, estimator, size=400)
    return shop.case("outage", "", _outages(shop, quick=quick))


def _slow_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    shop = shop_at_random(one, estimator, size=300)
    return shop.case("slow", "", _slow(shop, quick=quick))


def _limits_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    del quick
    shop = shop_at_random(one, estimator, size=500)
    return shop.case("limits", "", _limits(shop))


def _outages(shop: Workshop, *, quick: bool) -> Iterator[LifeStream]:
    runs, size = CALM_RUNS + OUTAGE_RUNS + LATER_RUNS, shop.rows_per_run
    bad = (CALM_RUNS, CALM_RUNS + OUTAGE_RUNS)
    for number, cheap in enumerate(shop.ranking[::-1][: 2 if quick else 4]):
        for dear in shop.ranking[: 1 if quick else 2]:
            clean = shop.healthy(runs, "outage", cheap, dear)
            shifted_rows = _with_shift(shop, clean, cheap, size * (CALM_RUNS - 1 if number % 2 else CALM_RUNS))
            served_rows = shifted_rows.copy()
            served_rows.loc[bad[0] * size : bad[1] * size - 1, dear] = np.nan
            stream = shop.stream(
                Sort.OUTAGE, "outage", f"{dear} out, {cheap} moves", (dear, cheap), served_rows, bad, clean=clean
            )
            later = shop.harms(shifted_rows, clean)[bad[1] :]
            if stream.harmful and float(np.mean(later)) < HARMFUL / 5:
                yield stream


def _with_shift(shop: Workshop, rows: pd.DataFrame, feature: str, since: int) -> pd.DataFrame:
    """From that row on, a number is higher by 1.5 standard deviations, a category mostly the commonest."""
    served_rows, column = rows.copy(), rows[feature]
    later = rows.index >= since
    if pd.api.types.is_numeric_dtype(column):
        served_rows.loc[later, feature] = column[later] + 1.5 * float(shop.sample[feature].std())
        return served_rows
    often = later & (shop.draw("moved", feature).random(len(rows)) < 0.7)
    served_rows.loc[often, feature] = shop.sample[feature].value_counts().index[0]
    return served_rows


def slow(*, quick: bool) -> Iterator[Plan]:
    """Damage that grows over sixty runs: a share of the rows, a factor, noise."""
    yield from _plans(quick, _slow_case)


def _slow(shop: Workshop, *, quick: bool) -> Iterator[LifeStream]:
    size, total = shop.rows_per_run, SLOW_RUNS + CALM_RUNS
    growth = np.repeat(np.clip((np.arange(total) - CALM_RUNS) / SLOW_RUNS, 0, 1), size)
    numbers = shop.numbers()[:3]
    tries = [("slow_nulls", n) for n in shop.ranking[:2]] + [("slow_drift", n) for n in numbers[:2]]
    tries += [("slow_noise", n) for n in numbers[:1]] + [("slow_permuted", n) for n in shop.ranking[:2]]
    for kind, name in tries[:: 2 if quick else 1]:
        draw = shop.draw(kind, name)
        clean = shop.healthy(total, kind, name)
        served_rows, column = clean.copy(), clean[name]
        hit = draw.random(len(clean)) < growth
        if kind == "slow_nulls":
            served_rows.loc[hit, name] = np.nan
        elif kind == "slow_permuted":
            served_rows.loc[hit, name] = column.to_numpy()[draw.permutation(len(clean))][hit]
        else:
            spread = float(shop.sample[name].std())
            served_rows[name] = column + growth * spread * (
                4.0 if kind == "slow_drift" else draw.normal(0, 3, len(clean))
            )
        smooth = with_neighbours(shop.harms(served_rows, clean))
        first = next((i for i, harm in enumerate(smooth) if harm >= HARMFUL and np.mean(smooth[i:]) >= HARMFUL), None)
        if first is not None and CALM_RUNS < first < total - 5:
            stream = shop.stream(Sort.SLOW, kind, f"{kind}: {name}", (name,), served_rows, (first, total), clean=clean)
            yield replace(stream, harmful=True)


def limits(*, quick: bool) -> Iterator[Plan]:
    """Missing, unseen, out of range or confidence alone beyond its first limit, without harm: WARNING in run two."""
    yield from _plans(quick, _limits_case)


def _limits(shop: Workshop) -> Iterator[LifeStream]:
    runs = CALM_RUNS + 4
    bad = (CALM_RUNS, runs)
    cheap_number, cheap_word = (names[-1] if names else None for names in (shop.numbers(), shop.words()))
    for kind, name in (("missing", cheap_number or cheap_word), ("unseen", cheap_word), ("out_of_range", cheap_number)):
        if name is None:
            continue
        clean = shop.healthy(runs, kind)
        served_rows = clean.copy()
        hit = (clean.index >= bad[0] * shop.rows_per_run) & (shop.draw(kind).random(len(clean)) < 0.25)
        column = shop.sample[name]
        beyond = float(column.max() + 2 * column.std()) if kind == "out_of_range" else None
        values = {"missing": np.nan, "unseen": "never seen", "out_of_range": beyond}
        served_rows[name] = served_rows[name].mask(hit, values[kind])
        stream = shop.stream(Sort.LIMITS, kind, f"{kind}: {name}", (name,), served_rows, bad, clean=clean)
        if not stream.harmful:
            yield stream
    if shop.one.task is not Task.REGRESSION:
        yield _unsure(shop, bad)


def _unsure(shop: Workshop, bad: tuple[int, int]) -> LifeStream:
    """Rows on which the model is less sure are drawn more often: half of a run from the least sure fifth."""
    size, draw = shop.rows_per_run, shop.draw("unsure")
    sure = shop.model.predict_proba(shop.serve.drop(columns=LABEL)).max(axis=1)
    low = np.flatnonzero(sure < np.quantile(sure, 0.25))
    runs = [shop.healthy(CALM_RUNS, "unsure")]
    for _ in range(bad[1] - bad[0]):
        places = np.concatenate([draw.choice(low, size // 2), draw.choice(len(sure), size - size // 2, replace=False)])
        runs.append(shop.serve.iloc[draw.permutation(places)])
    rows = pd.concat(runs, ignore_index=True)
    return shop.stream(Sort.LIMITS, "confidence", "confidence: half from the least sure quarter", (), rows, bad)
