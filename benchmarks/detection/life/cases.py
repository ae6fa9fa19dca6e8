"""Cases of the bench like life: a model, a healthy sample, and tables of rows of which it is known what they cost."""

import itertools
import pickle
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.detection import data, models
from benchmarks.detection.data import LABEL, Half, Task
from benchmarks.detection.life import estimators
from benchmarks.detection.life.estimators import Estimator
from benchmarks.detection.life.sets import LifeSet
from stillsafe.table_file import TIMESTAMP

COUNTED_RUNS = 10  # harm is the mean over the last so many runs of a failure
HARMFUL, BENIGN = 1.0, 0.4  # units of what matters: five points or a fifth of the error; two points or 8%
RECALL_SHARE, AUC_LOSS = 0.5, 0.1  # of a rare class: harmful where recall halves or the AUC falls by this

Numbers = NDArray[np.float64]


class Sort(StrEnum):
    """What a stream is: what is right follows from it."""

    HEALTHY = "healthy"
    FAULT = "fault"
    BENIGN = "benign"
    BURST = "burst"
    NATURAL = "natural"
    SLOW = "slow"
    OUTAGE = "outage"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class LifeStream:
    """Rows in order, and what they did to the model.

    Attributes:
        sort: what happens.
        kind: of failure; `healthy` or the like without one.
        name: unique within its case.
        features: the columns concerned.
        rows: features, `label` and, where known, `timestamp`.
        rows_per_run: rows of a run; None runs by time.
        first_bad: index of the first run in which it happens; the number of runs if it never does.
        last_bad: index behind the last.
        harms: each run's harm in units of what matters: 1 is five points of accuracy or a fifth of the error.
        harmful: by the definition of the bench.
        half: seen or aside.
        positives: of a rare class, how many a run is expected to have; else None.
    """

    sort: Sort
    kind: str
    name: str
    features: tuple[str, ...]
    rows: pd.DataFrame
    rows_per_run: int | None
    first_bad: int
    last_bad: int
    harms: tuple[float, ...]
    harmful: bool
    half: Half
    positives: float | None = None

    @property
    def run_count(self) -> int:
        """How many runs there are by rows."""
        return len(self.harms)


@dataclass(frozen=True, slots=True)
class LifeCase:
    """A model as it is handed to `init`, and its streams.

    Attributes:
        family: of the streams.
        dataset, model: names of both.
        variant: what is special, or empty.
        task: what the model answers.
        half: of the data set.
        estimator: the fitted model.
        sample: for `init`, with `label` and perhaps `timestamp`.
        reference: mean loss on the sample.
        streams: in a fixed order.
        metric: the owner's metric, or None for the default one.
        labels: whether `init` gets them.
        policy: lines for the settings' `[policy]`.
    """

    family: str
    dataset: str
    model: str
    variant: str
    task: Task
    half: Half
    estimator: Any
    sample: pd.DataFrame
    reference: float
    streams: tuple[LifeStream, ...]
    metric: str | None = None
    labels: bool = True
    policy: str = ""

    @property
    def name(self) -> str:
        """Family, data set, model and variant."""
        return "-".join(part for part in (self.family, self.dataset, self.model, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Plan:
    """A case that can be made: its name within its family, the half of its data set, and how."""

    name: str
    half: Half
    make: Callable[[], LifeCase]


@dataclass(slots=True)
class Workshop:
    """What the streams of a case are made from.

    Attributes:
        one: the data set.
        estimator: how the model is built.
        model: fitted on `train`.
        sample, serve: rows that the model never saw, for `init` and for the streams.
        rows_per_run: of the streams.
    """

    one: LifeSet
    estimator: Estimator
    train: pd.DataFrame
    sample: pd.DataFrame
    serve: pd.DataFrame
    rows_per_run: int
    seed: str = ""
    model: Any = None
    reference: float = 0.0
    ranking: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Fit the model and rank the features."""
        without = [frame.drop(columns=TIMESTAMP, errors="ignore") for frame in (self.train, self.sample)]
        self.model = estimators.fit(self.estimator, self.one.task, without[0])
        self.reference = float(self.losses(without[1]).mean())
        self.ranking = self._ranking(without[1])

    def losses(self, rows: pd.DataFrame) -> Numbers:
        """What each row's answer costs: 1 for a wrong class, the absolute error of a number."""
        return models.losses(self.model, rows.drop(columns=TIMESTAMP, errors="ignore"), self.one.task)

    def draw(self, *names: object) -> np.random.Generator:
        """Chance, seeded by names."""
        return np.random.default_rng(seed_of(self.one.name, self.seed, *names))

    def numbers(self) -> list[str]:
        """The features that are numbers, the dearest first."""
        return [name for name in self.ranking if pd.api.types.is_numeric_dtype(self.sample[name])]

    def words(self) -> list[str]:
        """The features that are texts, the dearest first."""
        return [name for name in self.ranking if not pd.api.types.is_numeric_dtype(self.sample[name])]

    def healthy(self, runs: int, *names: object) -> pd.DataFrame:
        """Served rows at random for so many runs, none twice while there are enough, each run without repetition."""
        draw, rows = self.draw("rows", *names), self.rows_per_run
        order: list[NDArray[np.int64]] = []
        while sum(map(len, order)) < runs * rows:
            order.append(draw.permutation(len(self.serve))[: max(len(self.serve) // rows, 1) * rows])
        return self.serve.iloc[np.concatenate(order)[: runs * rows]].reset_index(drop=True)

    def harms(self, rows: pd.DataFrame, clean: pd.DataFrame | None) -> tuple[float, ...]:
        """Harm of each run: against the same rows undamaged, or against the sample."""
        lost = _run_means(self.losses(rows), self.rows_per_run)
        against = np.full(len(lost), self.reference)
        if clean is not None:
            against = _run_means(self.losses(clean), self.rows_per_run)
        if self.one.task is Task.REGRESSION:
            growth: Numbers = (lost - against) / self.reference / models.MATTERS["error"]
            return tuple(growth.tolist())
        return tuple(((lost - against) / models.MATTERS["accuracy"]).tolist())

    def stream(
        self,
        sort: Sort,
        kind: str,
        name: str,
        features: Sequence[str],
        rows: pd.DataFrame,
        bad: tuple[int, int],
        *,
        clean: pd.DataFrame | None = None,
        half: Half | None = None,
    ) -> LifeStream:
        """A stream, with its harm over the last ten runs in which it happens."""
        harms = self.harms(rows, clean)
        return LifeStream(
            sort, kind, name, tuple(features), rows, self.rows_per_run, *bad, harms,
            counted_harm(harms, bad) >= HARMFUL, half or self.one.half,
        )  # fmt: skip

    def case(self, family: str, variant: str, streams: Iterable[LifeStream], **more: Any) -> LifeCase:
        """The case of these streams."""
        one = self.one
        return LifeCase(
            family, one.name, self.estimator, variant, one.task, one.half, self.model,
            self.sample.reset_index(drop=True), self.reference, tuple(streams), **more,
        )  # fmt: skip

    def _ranking(self, sample: pd.DataFrame) -> list[str]:
        probe = sample.iloc[:1500].reset_index(drop=True)
        order = self.draw("importance").permutation(len(probe))
        features = list(probe.columns.drop(LABEL))
        if len(features) > 100:
            return sorted(features, key=lambda name: not name.endswith("_main"))
        lost = {n: float(self.losses(probe.assign(**{n: probe[n].to_numpy()[order]})).mean()) for n in features}
        return sorted(lost, key=lambda name: -lost[name])


def counted_harm(harms: Sequence[float], bad: tuple[int, int]) -> float:
    """Mean harm over the last ten runs in which it happens; 0 if it never does."""
    part = list(harms[bad[0] : bad[1]])[-COUNTED_RUNS:]
    return float(np.mean(part)) if part else 0.0


def rare_harm(model: Any, damaged_rows: pd.DataFrame, clean: pd.DataFrame, positive: object) -> tuple[float, bool]:
    """The loss of AUC, and whether recall halves or the AUC falls by 0.1, over the rows of a failure."""
    place = list(model.classes_).index(positive)

    def measure(rows: pd.DataFrame) -> tuple[float, float]:
        score = model.predict_proba(rows.drop(columns=[LABEL, TIMESTAMP], errors="ignore"))[:, place]
        truth = (rows[LABEL] == positive).to_numpy()
        return float(roc_auc_score(truth, score)), float((score[truth] >= 0.5).mean())

    (auc, recall), (auc_then, recall_then) = measure(damaged_rows), measure(clean)
    has_half_recall = recall_then >= 0.1 and recall <= RECALL_SHARE * recall_then
    return auc_then - auc, bool(has_half_recall or auc_then - auc >= AUC_LOSS)


def split(table: pd.DataFrame, seed: int, sample: int, *, train: float = 0.4, most: int = 16_000) -> list[pd.DataFrame]:
    """Rows to train on, for `init` and to serve, at random."""
    rows = table.drop(columns=TIMESTAMP, errors="ignore").sample(frac=1, random_state=seed)
    first = min(int(len(rows) * train), most)
    cuts = (0, first, first + sample, len(rows))
    return [rows.iloc[a:b].reset_index(drop=True) for a, b in itertools.pairwise(cuts)]


def seed_of(*names: object) -> int:
    """A number from names, the same everywhere."""
    return zlib.crc32(" / ".join(str(name) for name in names).encode())


def from_cache(key: str, module: str, make: Callable[[], LifeCase]) -> LifeCase:
    """The case of that key: made once for the code of the file `module`, which makes its streams, as it is."""
    package = Path(__file__).parent
    files = [package / f"{name}.py" for name in ("cases", "estimators", "sets", "blocks")] + [Path(module)]
    version = seed_of(*(file.read_text(encoding="utf-8") for file in files))
    place = data.CACHE / "life" / f"{key}-{version:08x}.pickle"
    if place.exists():
        cached_case: LifeCase = pickle.loads(place.read_bytes())  # noqa: S301 - its own file
        return cached_case
    case = make()
    place.parent.mkdir(parents=True, exist_ok=True)
    for old in place.parent.glob(f"{key}-????????.pickle"):
        old.unlink()
    place.write_bytes(pickle.dumps(case))
    return case


def _run_means(values: Numbers, size: int) -> Numbers:
    count = len(values) // size
    means: Numbers = values[: count * size].reshape(count, size).mean(axis=1)
    return means
