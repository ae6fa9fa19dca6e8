"""Building blocks of streams: faults on the rows of a stretch of runs, and faults of the clock."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.detection.damage import AMOUNTS, OF_NUMBERS, OF_WORDS, Damage, Kind, apply_damage, half_of
from benchmarks.detection.data import LABEL, Half
from benchmarks.detection.life.cases import BENIGN, HARMFUL, LifeStream, Sort, Workshop, counted_harm, seed_of, split
from benchmarks.detection.life.estimators import Estimator
from benchmarks.detection.life.sets import LifeSet, load
from stillsafe.table_file import TIMESTAMP

CALM_RUNS, BAD_RUNS = 3, 6
SAMPLE, SIZES = 3_000, (300, 400, 500)
ROWS, WIDEST_ROWS = 40_000, 9_000  # of a set that are used at most
SHIFT_SHARE = 0.75  # of a run's rows from one range or category
FEWEST_CHANGED = 0.2  # share of rows that a failure must touch
QUICK_KINDS = (
    Kind.NULLS, Kind.STUCK_VALUE, Kind.PERMUTATION, Kind.WRONG_JOIN, Kind.STALE, Kind.UNIT_CHANGE, Kind.SENTINEL,
    Kind.SWAP, Kind.RENAMING, Kind.ROUNDING, Kind.OFFSET,
)  # fmt: skip
HOLDOUT_CLOCK_KINDS = frozenset({"clock_off"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure to try: from the rows and the healthy sample to the rows as served."""

    kind: str
    name: str
    features: tuple[str, ...]
    damage: Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


def shop_at_random(one: LifeSet, estimator: Estimator, *, sample: int = SAMPLE, size: int | None = None) -> Workshop:
    """A workshop of rows split at random, without times; runs of `size` rows, by default of 300, 400 or 500."""
    table = load(one)
    table = table.sample(min(len(table), WIDEST_ROWS if table.shape[1] > 300 else ROWS), random_state=seed_of(one.name))
    train, healthy_rows, serve = split(table, seed_of(one.name, "split"), min(sample, int(len(table) * 0.25)))
    size = size or SIZES[seed_of(one.name, estimator) % len(SIZES)]
    return Workshop(one, estimator, train, healthy_rows, serve, size, "random")


def healthy(shop: Workshop, runs: int, count: int) -> Iterator[LifeStream]:
    """Streams of served rows in which nothing happens."""
    for number in range(1, count + 1):
        rows = shop.healthy(runs, "healthy", number)
        yield shop.stream(Sort.HEALTHY, "healthy", f"healthy {number}", (), rows, (runs, runs))


def faults(
    shop: Workshop, kinds: Sequence[Kind], *, features: Sequence[str] | None = None, most: int = 4
) -> Iterator[Fault]:
    """Failures of these kinds on the `most` dearest and the two cheapest features, a kind at a time."""
    numbers, words = shop.numbers(), shop.words()
    ranking = shop.ranking
    if features is not None:
        numbers, words, ranking = ([n for n in names if n in features] for names in (numbers, words, ranking))
    for kind in kinds:
        names = numbers if kind in OF_NUMBERS else words if kind in OF_WORDS else ranking
        for place, group in enumerate(_groups(kind, names, numbers, most)):
            amounts = AMOUNTS.get(kind, (0.0,))
            yield _fault(shop, Damage(kind, group, amounts[place % len(amounts)], 1.0, place))


def _groups(kind: Kind, names: list[str], numbers: list[str], most: int) -> list[tuple[str, ...]]:
    if kind is Kind.SWAP:
        return [tuple(pair) for pair in itertools.pairwise(numbers)][:4]
    if kind is Kind.WRONG_JOIN:
        return [tuple(names[:3]), tuple(names[:2]), tuple(names[1:5]), tuple(names[-3:])]
    return [(name,) for name in dict.fromkeys([*names[:most], *names[-2:]])]


def _fault(shop: Workshop, damage: Damage) -> Fault:
    def serve(rows: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
        return apply_damage(rows, damage, shop.sample, draw)

    return Fault(damage.kind, damage.name, damage.features, serve)


def faulty(
    shop: Workshop, fault: Fault, rows: pd.DataFrame, bad: tuple[int, int], sort: Sort = Sort.FAULT
) -> LifeStream | None:
    """The stream of a failure in the runs `bad` of these rows; None if it hardly changes a row.

    Args:
        shop: of the case.
        fault: the failure.
        rows: healthy, in order.
        bad: first run, and the one behind the last.
        sort: fault or burst.
    """
    size = shop.rows_per_run
    runs = [rows.iloc[i : i + size] for i in range(0, len(rows), size)]
    draw = shop.draw("fault", fault.name)
    served_rows = [fault.damage(run, draw) if bad[0] <= i < bad[1] else run for i, run in enumerate(runs)]
    if changed_share(runs[bad[0]], served_rows[bad[0]]) < FEWEST_CHANGED:
        return None
    half = _half(fault.kind, shop.one.half)
    damaged_rows = pd.concat(served_rows, ignore_index=True)
    return shop.stream(
        sort, fault.kind, f"{sort}: {fault.name}", fault.features, damaged_rows, bad, clean=rows, half=half
    )


def _half(kind: str, of_data: Half) -> Half:
    """A stream is seen only if both its data set and its kind of failure are."""
    if kind in HOLDOUT_CLOCK_KINDS:
        return Half.HOLDOUT
    return half_of(Kind(kind), of_data) if kind in list(Kind) else of_data


def changed_share(clean: pd.DataFrame, damaged_rows: pd.DataFrame) -> float:
    """Share of the rows of which anything changed."""
    same = (clean == damaged_rows) | (clean.isna() & damaged_rows.isna())
    return 1 - float(same.all(axis="columns").mean())


def diverse_streams(streams: Iterator[LifeStream | None], harmful: int, harmless: int) -> Iterator[LifeStream]:
    """So many harmful and harmless ones of each kind, on different features where possible."""
    by_kind: dict[str, list[LifeStream]] = {}
    for one in streams:
        if one is not None:
            by_kind.setdefault(one.kind, []).append(one)
    for group in by_kind.values():
        for is_harmful, count in ((True, harmful), (False, harmless)):
            yield from [one for one in group if one.harmful is is_harmful][:count]


def shifts(shop: Workshop, count: int) -> Iterator[LifeStream]:
    """Real rows drawn otherwise, three quarters of them from one range or category: benign ones, and harmful ones."""
    by_harm: dict[bool, list[LifeStream]] = {True: [], False: []}
    for feature in shop.draw("shifts").permutation(shop.ranking).tolist():
        stream = _shift(shop, feature)
        if stream is not None:
            by_harm[stream.harmful].append(stream)
    for streams in by_harm.values():
        yield from streams[:count]


def _shift(shop: Workshop, feature: str) -> LifeStream | None:
    draw, size = shop.draw("shift", feature), shop.rows_per_run
    mask = _part(shop.serve[feature], draw)
    most = round(SHIFT_SHARE * size)
    if mask.sum() < size or (~mask).sum() < size:
        return None
    runs = [shop.healthy(CALM_RUNS, "shift", feature)]
    for _ in range(BAD_RUNS):
        inside = draw.choice(np.flatnonzero(mask), most, replace=False)
        places = np.concatenate([inside, draw.choice(np.flatnonzero(~mask), size - most, replace=False)])
        runs.append(shop.serve.iloc[draw.permutation(places)])
    bad = (CALM_RUNS, CALM_RUNS + BAD_RUNS)
    rows = pd.concat(runs, ignore_index=True)
    harm = counted_harm(shop.harms(rows, None), bad)
    if BENIGN <= abs(harm) < HARMFUL or harm <= -HARMFUL:
        return None
    sort = Sort.FAULT if harm >= HARMFUL else Sort.BENIGN
    return shop.stream(sort, "shift", f"shift: {feature}", (feature,), rows, bad)


def _part(column: "pd.Series[Any]", draw: np.random.Generator) -> NDArray[np.bool_]:
    """The rows of one category, or of the highest or lowest three tenths of a number."""
    if not pd.api.types.is_numeric_dtype(column):
        return np.asarray(column == draw.choice(column.dropna().unique()))
    high = draw.random() < 0.5
    return np.asarray(column >= column.quantile(0.7) if high else column <= column.quantile(0.3))


def clock_faults(shop: Workshop, timeline: pd.DataFrame) -> Iterator[Fault]:
    """Failures that only time shows: hours late, day for night, an hour that stands or is off.

    Args:
        shop: of the case.
        timeline: all served rows with their times, in order; the damaged rows are looked up by their index in it.
    """
    features = [name for name in timeline.columns if name not in (LABEL, TIMESTAMP)]
    dearest = [name for name in shop.ranking if name not in ("hour", "weekday", "month", "working_day")][:2]

    def earlier(hours: float, names: Sequence[str]) -> Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]:
        def serve(rows: pd.DataFrame, _draw: np.random.Generator) -> pd.DataFrame:
            earlier_times = rows[TIMESTAMP] - pd.Timedelta(hours, "h")
            places = np.searchsorted(timeline[TIMESTAMP].to_numpy(), earlier_times.to_numpy())
            old = timeline.iloc[places % len(timeline)].set_axis(rows.index)
            return rows.assign(**{name: old[name] for name in names})

        return serve

    def of_hour(change: Callable[["pd.Series[float]"], "pd.Series[float]"]) -> Callable[..., pd.DataFrame]:
        return lambda rows, _draw: rows.assign(hour=change(rows["hour"]))

    yield Fault("day_for_night", "day_for_night: all features", tuple(features), earlier(12, features))
    for name in dearest:
        yield Fault("hours_late", f"hours_late 3: {name}", (name,), earlier(3, [name]))
    yield Fault("hours_late", "hours_late 3: " + ", ".join(dearest), tuple(dearest), earlier(3, dearest))
    if "hour" in features:
        yield Fault("clock_stuck", "clock_stuck at 3: hour", ("hour",), of_hour(lambda hour: hour * 0 + 3))
        yield Fault("clock_stuck", "clock_stuck at 15: hour", ("hour",), of_hour(lambda hour: hour * 0 + 15))
        yield Fault("clock_off", "clock_off 8: hour", ("hour",), of_hour(lambda hour: (hour + 8) % 24))
