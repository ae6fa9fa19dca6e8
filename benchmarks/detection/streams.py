"""The streams: runs of 500 rows, of which it is known from the labels what they did to the model.

Built once from the data sets, kept in the cache, and the same on every machine: all chance is seeded by names.
"""

import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from benchmarks.detection import data, models
from benchmarks.detection.damage import (
    AMOUNTS,
    OF_GROUPS,
    OF_NUMBERS,
    OF_WORDS,
    RELATIONAL,
    Damage,
    Kind,
    apply_damage,
    half_of,
)
from benchmarks.detection.data import LABEL, Dataset, Half, Task
from benchmarks.detection.models import ModelFamily

ROWS = 500  # of a run
HEALTHY_RUNS, BROKEN_RUNS = 3, 5
SAMPLE, LARGEST_TRAINING = 3_000, 16_000
HEALTHY_STREAMS, HEALTHY_LENGTH = 8, 20
MOST_NATURAL_RUNS = 60
HARMFUL_A_KIND, HARMLESS_A_KIND, SHIFTS, BURSTS = 2, 1, 4, 4
HARMFUL, HARMLESS, UNFELT = 1.0, 0.5, 0.2  # in units of what matters
FEWEST_CHANGED = 0.2  # share of rows that a failure must touch


class StreamFamily(StrEnum):
    """What happens in a stream."""

    HEALTHY = "healthy"
    INJECTED = "injected"
    BURST = "burst"
    SHIFT = "shift"
    BENIGN = "benign"
    NATURAL = "natural"


@dataclass(frozen=True, slots=True)
class Stream:
    """Runs of rows in order, and what they did to the model.

    Attributes:
        dataset, model: the names of both.
        family: what happens.
        kind: the name of the failure, or of the family where there is none.
        name: kind, features and strength.
        features: the columns damaged, or by which a shift was drawn.
        runs: features and `label`, 500 rows each.
        first_bad: index of the first run in which it happens; the number of runs if it never does.
        scores: the model's accuracy in [0, 1], or its mean absolute error, on each run as served.
        reference_score: the same on the healthy sample.
        losses: each run's harm in units of what matters (1 is five points of accuracy or a fifth of the error):
            against the same rows undamaged where rows were damaged, against the sample otherwise.
        harmful: whether the mean loss of the runs in which it happens is 1 or more.
        harmless: whether it is below 0.5; a benign stream's is within 0.2 either way.
        half: seen or aside.
    """

    dataset: str
    model: str
    family: StreamFamily
    kind: str
    name: str
    features: tuple[str, ...]
    runs: tuple[pd.DataFrame, ...]
    first_bad: int
    scores: tuple[float, ...]
    reference_score: float
    losses: tuple[float, ...]
    harmful: bool
    harmless: bool
    half: Half

    @property
    def key(self) -> str:
        """A unique name within its case."""
        return f"{self.family}: {self.name}"

    @property
    def relational(self) -> bool:
        """Whether the failure leaves the distribution of every column as it was."""
        return self.kind in RELATIONAL

    @property
    def harmful_runs(self) -> tuple[bool, ...]:
        """Of a natural stream: the runs on which the model lost what matters."""
        return tuple(loss >= HARMFUL for loss in self.losses)


@dataclass(frozen=True, slots=True)
class Case:
    """A model as it would be handed to `stillsafe init`, and the streams that it meets.

    Attributes:
        dataset, model: the names of both.
        split: `random`, or `time` for a natural stream.
        model_file: the fitted pipeline, joblib.
        sample_file: the labelled healthy sample, Parquet; `timestamp` gives its order where it has one.
        label: the column with the answers.
        kind: what the model answers.
        half: of the data set.
        streams: in a fixed order.
    """

    dataset: str
    model: str
    split: str
    model_file: Path
    sample_file: Path
    label: str
    kind: Task
    half: Half
    streams: tuple[Stream, ...]

    @property
    def name(self) -> str:
        """Data set, model and split."""
        return f"{self.dataset}-{self.model}-{self.split}"


def load(half: Half | str | None, *, only: Callable[[str], bool] = lambda _name: True) -> Iterator[Case]:
    """The cases with their streams of one half, or of both; those not yet built are built.

    Args:
        half: `seen`, `aside` or None for both.
        only: chooses cases by their name (`dataset-model-split`).
    """
    for dataset, family, split in plans():
        if only(f"{dataset.name}-{family}-{split}"):
            case = read(dataset, family, split, half)
            if case.streams:
                yield case


def plans() -> list[tuple[Dataset, ModelFamily, str]]:
    """Every pair of a data set and a model, split at random; ordered sets also by time."""
    return [
        (dataset, family, split)
        for dataset in data.DATASETS
        for family in ModelFamily
        for split in (("random", "time") if dataset.is_ordered else ("random",))
    ]


def folder(dataset: Dataset, family: ModelFamily, split: str) -> Path:
    """Where a case is kept."""
    return data.CACHE / "streams" / f"{dataset.name}-{family}-{split}"


def read(dataset: Dataset, family: ModelFamily, split: str, half: Half | str | None) -> Case:
    """One case with its streams of a half, or of both, from the cache; built first if need be."""
    place = folder(dataset, family, split)
    if not (place / "streams.json").exists():
        build(dataset, family, split)
    documents = json.loads((place / "streams.json").read_text(encoding="utf-8"))
    indices = [i for i, one in enumerate(documents) if half in (None, one["half"])]
    rows = data.with_objects(pd.read_parquet(place / "rows.parquet", filters=[("stream", "in", indices)]))
    parts: dict[Any, pd.DataFrame] = dict(iter(rows.groupby(["stream", "run"]))) if indices else {}
    streams = tuple(_stream(documents[i], [parts[i, k] for k in range(len(documents[i]["scores"]))]) for i in indices)
    files = place / "model.joblib", place / "sample.parquet"
    return Case(dataset.name, family, split, *files, LABEL, dataset.task, dataset.half, streams)


def build(dataset: Dataset, family: ModelFamily, split: str) -> None:
    """Fit the model, make every stream of this case and write them."""
    seed = _seed(dataset.name, split)  # both families meet the same rows
    parts = _parts(data.load(dataset), split, seed)
    model = models.fit(family, dataset.task, parts.train)
    reference = float(models.losses(model, parts.sample, dataset.task).mean())
    workshop = _Workshop(dataset, family, model, parts, reference, models.losses(model, parts.serve, dataset.task))
    streams = [workshop.natural()] if split == "time" else list(_random(workshop))
    _write(folder(dataset, family, split), model, parts.sample, split, streams)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Rows that nothing shares: to train on, for `init`, to find out about the model, to serve."""

    train: pd.DataFrame
    sample: pd.DataFrame
    probe: pd.DataFrame
    serve: pd.DataFrame


def _parts(table: pd.DataFrame, split: str, seed: int) -> _Parts:
    if split == "time":
        first = min(LARGEST_TRAINING, int(len(table) * 0.4))
        last = min(len(table), first + SAMPLE + MOST_NATURAL_RUNS * ROWS)
        return _cut(table, (first, first + SAMPLE, first + SAMPLE, last))
    shuffled_rows = table.sample(min(data.LARGEST, len(table)), random_state=seed)
    first = int(len(shuffled_rows) * 0.4)
    return _cut(
        shuffled_rows, (first, first + SAMPLE, first + SAMPLE + int(len(shuffled_rows) * 0.15), len(shuffled_rows))
    )


def _cut(table: pd.DataFrame, ends: Sequence[int]) -> _Parts:
    starts = (0, *ends[:-1])
    return _Parts(*(table.iloc[a:b].reset_index(drop=True) for a, b in zip(starts, ends, strict=True)))


@dataclass(frozen=True, slots=True)
class _Workshop:
    """What all streams of a case are made from."""

    dataset: Dataset
    family: ModelFamily
    model: Any
    parts: _Parts
    reference: float  # mean loss on the sample
    clean_losses: NDArray[np.float64]  # loss of each row to serve

    def losses(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        return models.losses(self.model, rows, self.dataset.task)

    def harm(self, loss: float, reference: float) -> float:
        return models.harm(loss, reference, self.dataset.task)

    def score(self, loss: float) -> float:
        return loss if self.dataset.task is Task.REGRESSION else 1 - loss

    def draw(self, *names: object) -> np.random.Generator:
        return np.random.default_rng(_seed(self.dataset.name, *names))

    def healthy(self, count: int, draw: np.random.Generator) -> list[pd.DataFrame]:
        """Runs of the served rows, by their index; no row twice in a run, nor twice at all while there are enough."""
        order = np.concatenate([draw.permutation(len(self.parts.serve)) for _ in range(count)])
        whole = len(self.parts.serve) // ROWS * ROWS
        order = np.concatenate([one[:whole] for one in np.split(order, count)])
        return [self.parts.serve.iloc[order[i * ROWS : (i + 1) * ROWS]] for i in range(count)]

    def stream(
        self,
        family: StreamFamily,
        kind: str,
        name: str,
        features: tuple[str, ...],
        runs: Sequence[pd.DataFrame],
        bad: Sequence[int],
        *,
        half: Half,
        damage: bool = False,
    ) -> Stream:
        """A stream with what it did to the model; `bad` are the runs in which it happens, to damaged rows or not."""
        clean = [float(self.clean_losses[run.index].mean()) for run in runs]
        means = list(clean)
        if damage:
            for i, loss in zip(bad, self.losses(pd.concat([runs[i] for i in bad])).reshape(len(bad), -1), strict=True):
                means[i] = float(loss.mean())
        against = clean if damage else [self.reference] * len(runs)
        harms = [self.harm(loss, reference) for loss, reference in zip(means, against, strict=True)]
        mean_harm = float(np.mean([harms[i] for i in bad])) if bad else 0.0
        return Stream(
            dataset=self.dataset.name,
            model=self.family,
            family=family,
            kind=kind,
            name=name,
            features=features,
            runs=tuple(runs),
            first_bad=min(bad, default=len(runs)),
            scores=tuple(self.score(loss) for loss in means),
            reference_score=self.score(self.reference),
            losses=tuple(harms),
            harmful=mean_harm >= HARMFUL,
            harmless=abs(mean_harm) < UNFELT if family is StreamFamily.BENIGN else mean_harm < HARMLESS,
            half=half,
        )

    def natural(self) -> Stream:
        """The rows after the sample as time brought them."""
        serve = self.parts.serve
        runs = [serve.iloc[i : i + ROWS] for i in range(0, len(serve) - ROWS + 1, ROWS)]
        bad = range(len(runs))
        return self.stream(StreamFamily.NATURAL, "natural", "as time brought it", (), runs, bad, half=self.dataset.half)


def _random(workshop: _Workshop) -> Iterator[Stream]:
    """All streams of a case whose rows were split at random."""
    half = workshop.dataset.half
    for number in range(HEALTHY_STREAMS):
        runs = workshop.healthy(HEALTHY_LENGTH, workshop.draw("healthy", number))
        yield workshop.stream(StreamFamily.HEALTHY, "healthy", f"healthy {number + 1}", (), runs, (), half=half)
    ranking = _rank_features(workshop)
    injected = [stream for kind in Kind for stream in _injected(workshop, kind, ranking)]
    yield from (stream for stream, _ in injected)
    yield from _bursts(workshop, [(s, d) for s, d in injected if s.harmful and s.half is half])
    yield from _shifts(workshop)


def _rank_features(workshop: _Workshop) -> list[str]:
    """The features by what the model loses when one is permuted, the dearest first."""
    probe = workshop.parts.probe.iloc[:1500].reset_index(drop=True)
    draw = workshop.draw("importance")
    lost = {}
    for name in probe.columns.drop(LABEL):
        order = draw.permutation(len(probe))
        lost[name] = float(workshop.losses(probe.assign(**{name: probe[name].to_numpy()[order]})).mean())
    return sorted(lost, key=lambda name: -lost[name])


def _injected(workshop: _Workshop, kind: Kind, ranking: list[str]) -> Iterator[tuple[Stream, Damage]]:
    """Streams of one kind: some that the model feels, some that it does not, on different features if possible."""
    candidates: list[tuple[Stream, Damage]] = []
    for damage in _candidates(workshop, kind, ranking):
        runs = workshop.healthy(HEALTHY_RUNS + BROKEN_RUNS, workshop.draw("rows", damage.name))
        draw = workshop.draw("damage", damage.name)
        served_runs = [
            run if i < HEALTHY_RUNS else apply_damage(run, damage, workshop.parts.sample, draw)
            for i, run in enumerate(runs)
        ]
        if _changed_share(runs[-1], served_runs[-1]) < FEWEST_CHANGED:
            continue
        bad = range(HEALTHY_RUNS, len(runs))
        half = half_of(kind, workshop.dataset.half)
        stream = workshop.stream(
            StreamFamily.INJECTED, kind, damage.name, damage.features, served_runs, bad, half=half, damage=True
        )
        candidates.append((stream, damage))
    yield from _diverse([one for one in candidates if one[0].harmful], HARMFUL_A_KIND)
    yield from _diverse([one for one in candidates if one[0].harmless], HARMLESS_A_KIND)


def _changed_share(clean_rows: pd.DataFrame, damaged_rows: pd.DataFrame) -> float:
    same = (clean_rows == damaged_rows) | (clean_rows.isna() & damaged_rows.isna())
    return 1 - float(same.all(axis="columns").mean())


def _diverse(candidates: list[tuple[Stream, Damage]], count: int) -> list[tuple[Stream, Damage]]:
    """So many of them, with features and strengths that differ before ones that repeat."""
    diverse: list[tuple[Stream, Damage]] = []
    while candidates and len(diverse) < count:
        best = min(candidates, key=lambda one: sum(one[1].features == c[1].features for c in diverse))
        diverse.append(best)
        candidates = [one for one in candidates if one is not best]
    return diverse


def _candidates(workshop: _Workshop, kind: Kind, ranking: list[str]) -> Iterator[Damage]:
    """Failures of one kind to try: on what the model leans on most, and on what it hardly uses."""
    numbers = [n for n in ranking if pd.api.types.is_numeric_dtype(workshop.parts.sample[n])]
    words = [n for n in ranking if n not in numbers]
    fitting = numbers if kind in OF_NUMBERS else words if kind in OF_WORDS else ranking
    feature_groups = _groups(kind, numbers, words, ranking) if kind in OF_GROUPS else [(n,) for n in _ends(fitting)]
    draw = workshop.draw("candidates", kind)
    amounts = AMOUNTS.get(kind, (0.0,))
    turn = int(draw.integers(len(amounts)))
    for place, features in enumerate(feature_groups):
        share = 0.5 if place % 3 == 2 and kind is not Kind.SWAP else 1.0
        yield Damage(kind, features, amounts[(turn + place) % len(amounts)], share, int(draw.integers(1 << 30)))
    if kind not in OF_GROUPS and len(fitting) >= 2:
        yield Damage(kind, tuple(fitting[:2]), amounts[turn], 1.0, int(draw.integers(1 << 30)))


def _ends(names: list[str]) -> list[str]:
    """The four dearest and the three cheapest."""
    return list(dict.fromkeys(names[:4] + names[-3:]))


def _groups(kind: Kind, numbers: list[str], words: list[str], ranking: list[str]) -> list[tuple[str, ...]]:
    if kind is Kind.SWAP:
        pairs = [pair for part in (numbers, words) for names in (part[:4], part[-3:]) for pair in _pairs(names)]
        return list(dict.fromkeys(pairs))
    groups = [
        ranking[:2],
        ranking[:3],
        ranking[1:3],
        ranking[2:4],
        ranking[-3:],
        ranking[-2:],
        ranking[len(ranking) // 2 :][:2],
    ]
    return list(dict.fromkeys(tuple(group) for group in groups if len(group) >= 2))


def _pairs(names: list[str]) -> list[tuple[str, ...]]:
    return list(itertools.combinations(names, 2))


def _bursts(workshop: _Workshop, harmful: list[tuple[Stream, Damage]]) -> Iterator[Stream]:
    """One broken run among healthy ones, of failures that would harm if they stayed."""
    order = workshop.draw("bursts").permutation(len(harmful))[:BURSTS]
    for stream, damage in (harmful[i] for i in order):
        runs = workshop.healthy(HEALTHY_RUNS + BROKEN_RUNS, workshop.draw("burst", damage.name))
        served_runs = list(runs)
        draw = workshop.draw("burst damage", damage.name)
        served_runs[HEALTHY_RUNS] = apply_damage(runs[HEALTHY_RUNS], damage, workshop.parts.sample, draw)
        yield workshop.stream(
            StreamFamily.BURST, stream.kind, damage.name, damage.features, served_runs, (HEALTHY_RUNS,),
            half=stream.half, damage=True,
        )  # fmt: skip


def _shifts(workshop: _Workshop) -> Iterator[Stream]:
    """Real rows, drawn otherwise: those that the model is worse on, and those that it serves as well."""
    shifts = list(_candidate_shifts(workshop))
    order = workshop.draw("shifts").permutation(len(shifts))
    shuffled_rows = [shifts[i] for i in order]
    harmful = [one for one in shuffled_rows if one.harmful]
    benign = [replace(one, family=StreamFamily.BENIGN) for one in shuffled_rows if abs(_mean_harm(one)) < UNFELT]
    for shifts in (harmful, benign):
        yield from _by_turns(shifts, SHIFTS)


def _mean_harm(stream: Stream) -> float:
    return float(np.mean(stream.losses[HEALTHY_RUNS:]))


def _by_turns(shifts: list[Stream], count: int) -> list[Stream]:
    """So many, of each kind in turn."""
    turns = {id(one): sum(other.kind == one.kind for other in shifts[:i]) for i, one in enumerate(shifts)}
    return sorted(shifts, key=lambda one: turns[id(one)])[:count]


def _candidate_shifts(workshop: _Workshop) -> Iterator[Stream]:
    serve = workshop.parts.serve
    for kind, name, features, mask in _subsets(workshop):
        if mask.sum() < ROWS:
            continue
        draw = workshop.draw("shift", kind, name)
        runs = workshop.healthy(HEALTHY_RUNS, draw)
        places = np.flatnonzero(mask)
        for _ in range(BROKEN_RUNS):
            runs.append(serve.iloc[draw.choice(places, ROWS, replace=False)])
        bad = range(HEALTHY_RUNS, len(runs))
        yield workshop.stream(
            StreamFamily.SHIFT, kind, f"{kind}: {name}", features, runs, bad, half=workshop.dataset.half
        )


_Subset = tuple[str, str, tuple[str, ...], NDArray[np.bool_]]


def _subsets(workshop: _Workshop) -> Iterator[_Subset]:
    serve = workshop.parts.serve
    for feature in serve.columns.drop(LABEL):
        yield from _by_feature(serve[feature], feature)
    yield from _by_label(workshop)
    yield from _weak(workshop)


def _by_feature(column: "pd.Series[Any]", feature: str) -> Iterator[_Subset]:
    if not pd.api.types.is_numeric_dtype(column):
        for value in column.value_counts().index[:4]:
            yield "to_category", f"{feature} = {value}", (feature,), (column == value).to_numpy()
        return
    low, high = column.quantile(0.25), column.quantile(0.75)
    yield "by_range", f"{feature} in its upper quarter", (feature,), (column >= high).to_numpy()
    yield "by_range", f"{feature} in its lower quarter", (feature,), (column <= low).to_numpy()


def _by_label(workshop: _Workshop) -> Iterator[_Subset]:
    labels = workshop.parts.serve[LABEL]
    if workshop.dataset.task is Task.REGRESSION:
        quarters = pd.qcut(labels.rank(method="first"), 4, labels=False)
        for quarter in range(4):
            yield "by_label", f"quarter {quarter + 1} of the label", (LABEL,), (quarters == quarter).to_numpy()
        return
    classes = labels.value_counts().index
    draw = workshop.draw("classes")
    for turn in range(1 if len(classes) == 2 else 4):
        few = draw.permutation(len(classes))[: max(1, len(classes) // 3)]
        often = labels.isin(classes[few]).to_numpy()
        rest = draw.random(len(labels)) < 0.2  # a fifth of the others stays
        yield "by_label", f"mostly {len(few)} of {len(classes)} classes ({turn + 1})", (LABEL,), often | rest


def _weak(workshop: _Workshop) -> Iterator[_Subset]:
    """Where a tree grown on the errors on other rows expects the most, and the next most."""
    probe, serve = workshop.parts.probe, workshop.parts.serve
    features = list(probe.columns.drop(LABEL))
    category_codes = {
        name: {value: i for i, value in enumerate(probe[name].dropna().unique())}
        for name in features
        if not pd.api.types.is_numeric_dtype(probe[name])
    }

    def numbers(rows: pd.DataFrame) -> pd.DataFrame:
        words = {name: rows[name].map(codes) for name, codes in category_codes.items()}
        return rows[features].assign(**words).astype(np.float64).fillna(-1e6)

    for depth in (2, 3):
        tree = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=len(probe) // 8, random_state=data.SEED)
        tree.fit(numbers(probe), workshop.losses(probe))
        expected = tree.predict(numbers(serve))
        for place, worst in enumerate(np.unique(expected)[::-1][:2]):
            split_features = tuple(features[i] for i in sorted({int(i) for i in tree.tree_.feature if i >= 0}))
            yield "where_weak", f"leaf {place + 1} of a tree of depth {depth}", split_features, expected == worst


def _seed(*names: object) -> int:
    return zlib.crc32(" / ".join(str(name) for name in names).encode())


_STORED_FIELDS = ("dataset", "model", "family", "kind", "name", "features", "first_bad", "scores", "reference_score",
         "losses", "harmful", "harmless", "half")  # fmt: skip


def _write(place: Path, model: Any, sample: pd.DataFrame, split: str, streams: Sequence[Stream]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, place / "model.joblib")
    if split == "time":
        sample = sample.assign(timestamp=pd.date_range("2026-01-01", periods=len(sample), freq="min", tz="UTC"))
    sample.to_parquet(place / "sample.parquet")
    rows = pd.concat(
        [run.assign(stream=i, run=k) for i, stream in enumerate(streams) for k, run in enumerate(stream.runs)],
        ignore_index=True,
    )
    rows.to_parquet(place / "rows.parquet", compression="zstd", row_group_size=20_000)
    documents = [{name: getattr(stream, name) for name in _STORED_FIELDS} for stream in streams]
    (place / "streams.json").write_text(json.dumps(documents, indent=1), encoding="utf-8")


def _stream(document: dict[str, Any], parts: list[pd.DataFrame]) -> Stream:
    runs = tuple(part.drop(columns=["stream", "run"]).reset_index(drop=True) for part in parts)
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
    }
    fields |= {"family": StreamFamily(document["family"]), "half": Half(document["half"])}
    return Stream(**fields, runs=runs)
