"""Families of failures: of every kind, with and without labels, joins of every size, and many features."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.detection.damage import Kind
from benchmarks.detection.life.blocks import (
    BAD_RUNS,
    CALM_RUNS,
    QUICK_KINDS,
    Fault,
    diverse_streams,
    faults,
    faulty,
    healthy,
    shifts,
    shop_at_random,
)
from benchmarks.detection.life.cases import LifeCase, LifeStream, Plan, Sort, Workshop
from benchmarks.detection.life.estimators import Estimator, is_available
from benchmarks.detection.life.sets import LifeSet, by_name

BAD = (CALM_RUNS, CALM_RUNS + BAD_RUNS)
WIDE_SAMPLE = 1_500
_DESIGN = (
    "magic-trees", "diamonds-linear", "departures-trees", "letter-trees", "spam-linear", "texture-knn", "magic-svm",
    "diamonds-trees", "deliveries-trees", "departures-forest", "texture-linear", "magic-lightgbm", "diamonds-catboost",
    "letter-knn",
)  # fmt: skip
_HOLDOUT = (
    "houses-trees", "votes-linear", "stops-trees", "digits-trees", "calls-linear", "weather-trees", "houses-forest",
    "houses-xgboost", "digits-svm", "votes-knn",
)  # fmt: skip


def injected(*, quick: bool) -> Iterator[Plan]:
    """Failures of every kind, shifts, bursts and healthy runs of 300 to 500 rows on many sets and models."""
    names = (*_DESIGN[: 4 if quick else None], *_HOLDOUT[: 3 if quick else None])
    yield from _plans(names, partial(_injected_case, labels=True, quick=quick))


def without_labels(*, quick: bool) -> Iterator[Plan]:
    """The same failures where `init` gets no labels."""
    names = (*_DESIGN[: 3 if quick else None], *_HOLDOUT[: 2 if quick else None])
    yield from _plans(names, partial(_injected_case, labels=False, quick=quick))


def joins(*, quick: bool) -> Iterator[Plan]:
    """Two, three, five, half or almost all of the columns from another row."""
    design = ("departures-trees", "magic-trees", "diamonds-linear", "letter-trees", "spam-trees")
    holdout = ("houses-trees", "votes-linear", "stops-trees", "weather-trees")
    names = (*design[: 3 if quick else None], *holdout[: 2 if quick else None])
    yield from _plans(names, partial(_join_case, quick=quick))


def wide(*, quick: bool) -> Iterator[Plan]:
    """Many features: each of the ten that matter most permuted, missing or stuck."""
    more = () if quick else ("wide200-trees", "texture-trees")
    names = ("wide200-linear", "spam-trees", *more, "digits-trees", "wide500-linear")
    yield from _plans(names, partial(_wide_case, quick=quick))


def _plans(names: Sequence[str], case: Callable[[LifeSet, Estimator], LifeCase]) -> Iterator[Plan]:
    """A plan for each data set and model whose library is installed."""
    for name in names:
        dataset, model = name.split("-")
        if is_available(Estimator(model)):
            one = by_name(dataset)
            yield Plan(name, one.half, partial(case, one, Estimator(model)))


def _injected_case(one: LifeSet, estimator: Estimator, *, labels: bool, quick: bool) -> LifeCase:
    shop = shop_at_random(one, estimator)
    return shop.case("injected" if labels else "without_labels", "", _injected(shop, quick=quick), labels=labels)


def _injected(shop: Workshop, *, quick: bool) -> Iterator[LifeStream]:
    yield from healthy(shop, 20, 1 if quick else 3)
    candidates = list(faults(shop, QUICK_KINDS if quick else list(Kind)))
    tries = (faulty(shop, fault, shop.healthy(BAD[1], fault.name), BAD) for fault in candidates)
    streams = list(diverse_streams(tries, 1 if quick else 2, 1))
    yield from streams
    yield from shifts(shop, 2 if quick else 4)
    harmful = {one.name for one in streams if one.harmful}
    lasting = [fault for fault in candidates if f"{Sort.FAULT}: {fault.name}" in harmful]
    for fault in lasting[:: 3 if quick else 2]:
        rows = shop.healthy(BAD[1], "burst", fault.name)
        burst = faulty(shop, fault, rows, (CALM_RUNS, CALM_RUNS + 1), Sort.BURST)
        if burst is not None:
            yield burst


def _join_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    shop = shop_at_random(one, estimator)
    streams = (faulty(shop, fault, shop.healthy(BAD[1], fault.name), BAD) for fault in _joins(shop, 1 if quick else 3))
    return shop.case("joins", "", [stream for stream in streams if stream is not None])


def _joins(shop: Workshop, turns: int) -> Iterator[Fault]:
    names, draw, count = shop.ranking, shop.draw("joins"), len(shop.ranking)
    for size in dict.fromkeys(min(n, count - 1) for n in (2, 3, 5, count // 2, count - 2)):
        for turn in range(turns):
            pool = names[: max(size, 8)] if turn % 2 == 0 else names
            group = tuple(draw.permutation(pool)[:size].tolist())
            yield other_rows(f"join of {size}", group, together=True)
            if size > 2:
                yield other_rows(f"{size} permuted", group, together=False)


def other_rows(kind: str, group: tuple[str, ...], *, together: bool) -> Fault:
    """Columns from other rows of the run: together as a wrong join has them, or each by itself."""

    def serve(rows: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
        order = draw.permutation(len(rows))
        orders = {name: order if together else draw.permutation(len(rows)) for name in group}
        return rows.assign(**{name: rows[name].to_numpy()[orders[name]] for name in group})

    return Fault(kind, f"{kind}: {', '.join(group)}", group, serve)


def _wide_case(one: LifeSet, estimator: Estimator, *, quick: bool) -> LifeCase:
    shop = shop_at_random(one, estimator, sample=WIDE_SAMPLE)
    best = shop.ranking[:10]
    kinds = (Kind.PERMUTATION,) if quick else (Kind.PERMUTATION, Kind.NULLS, Kind.STUCK_VALUE)
    tries = [fault for kind in kinds for fault in faults(shop, (kind,), features=best, most=10)]
    tries += [other_rows("3 permuted", tuple(best[i : i + 3]), together=False) for i in (0, 3, 6)]
    streams = [faulty(shop, fault, shop.healthy(BAD[1], fault.name), BAD) for fault in tries]
    calm = healthy(shop, 12 if quick else 20, 1)
    return shop.case("wide", "", [*calm, *(stream for stream in streams if stream is not None)])
