"""A service's life in one cell: healthy traffic, a harmful fault, its mending; through the real store and monitor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sqlalchemy import Engine

from stillsafe import service
from stillsafe.core.schema import LogMode, Row, sanitise
from stillsafe.core.state import Severity, State, worst_severity
from stillsafe.init.recorded_answers import AnswerColumns
from stillsafe.judging import version_conditions
from stillsafe.model.load import load_model
from stillsafe.model.model import Model
from stillsafe.model.reference import read_baseline
from stillsafe.monitoring import registration, run
from stillsafe.monitoring.columns import ShadowScorer
from stillsafe.serving.state_reading import serving_state
from stillsafe.settings import Settings
from stillsafe.settings_sections import Feature
from stillsafe.store import database
from stillsafe.store.read.runs import last_run
from stillsafe.store.read.state import current_state
from stillsafe.store.records import PredictionRecord
from stillsafe.store.write.baselines import insert_baseline, mark_active
from stillsafe.store.write.predictions import append_predictions
from tests.init.external import external_service
from tests.init.services import init_service
from tests.matrix import traffic
from tests.matrix.cells import CLIENTS, Cell

Numbers = NDArray[np.float64]
START = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
EVERY = timedelta(minutes=10)
LATE = timedelta(minutes=3)
NUMBERS, CATEGORIES = ["age", "income", "ratio"], ["country", "channel"]
FEATURES = [*NUMBERS, *CATEGORIES]
RECOVERY_RUNS = 8
"""Intervals of the recovery beyond those of the fault."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a cell's life, as its first version shows it.

    Attributes:
        states: the state after each run.
        severities: the severity of the evidence after each run.
        was_judged: whether the version counted as judged at the end.
        progress: what the state waited for at the end.
        gap_was_shown: whether the version was stale or not judged whenever its monitor was gone longer than two
            intervals.
        left_out: requests that waited for a run and that it did not read.
        outliers: the sources that a run left out.
    """

    states: tuple[State, ...]
    severities: tuple[Severity, ...]
    was_judged: bool
    progress: str
    gap_was_shown: bool = True
    left_out: int = 0
    outliers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one cell showed: in health, with the fault, and after its mending."""

    healthy: Phase
    faulty: Phase
    mended: Phase

    @property
    def alarm_run(self) -> int | None:
        """The run of the fault, from 1, in which the evidence became CRITICAL; None where it did not.

        Whether the model is bypassed then depends on the fallback: `init` writes that it must be worth it.
        """
        severities = enumerate(self.faulty.severities, start=1)
        return next((run for run, severity in severities if severity is Severity.CRITICAL), None)

    @property
    def recovery_run(self) -> int | None:
        """The run after the mending in which neither the state was DEGRADED nor the evidence CRITICAL; None without."""
        runs = enumerate(zip(self.mended.states, self.mended.severities, strict=True), start=1)
        harm = (State.DEGRADED, Severity.CRITICAL)
        return next((run for run, (state, severity) in runs if state is not harm[0] and severity is not harm[1]), None)

    def violations(self) -> Iterator[str]:
        """How the cell breaks the law; nothing where it holds."""
        if Severity.CRITICAL in self.healthy.severities:
            yield "healthy traffic became CRITICAL"
        if self.alarm_run is None and self.faulty.was_judged:
            yield "a harmful fault was neither CRITICAL nor visibly not judged"
        if self.recovery_run is None and self.mended.was_judged:
            yield "mended traffic did not recover"
        if self.recovery_run is None and not self.mended.progress:
            yield "the state does not say what it waits for"
        phases = (self.healthy, self.faulty, self.mended)
        if not all(phase.gap_was_shown for phase in phases):
            yield "the monitor was gone and nothing said so"
        if any(phase.left_out for phase in phases):
            yield "a run left out requests that waited for it"


def play(cell: Cell, url: str, folder: Path) -> Outcome:
    """Play one cell on an empty database."""
    return _Simulation(cell, url, folder).play()


@dataclass(slots=True)
class _Simulation:
    cell: Cell
    url: str
    folder: Path
    random: np.random.Generator = field(init=False)
    ids: Iterator[int] = field(init=False)
    late: list[PredictionRecord] = field(default_factory=list)
    engine: Engine = field(init=False)
    all_settings: list[Settings] = field(init=False)
    model: Model = field(init=False)
    now: datetime = START
    waiting_count: int = 0
    left_out: int = 0
    names: list[int] = field(default_factory=list)
    outliers: set[str] = field(default_factory=set)

    def play(self) -> Outcome:
        self.random, self.ids = np.random.default_rng(11), count(1)
        self._open()
        try:
            fault_intervals = traffic.fault_intervals(self.cell, self.all_settings[0].policy)
            healthy = self._phase(traffic.healthy_intervals(self.cell), faulty=False)
            faulty = self._phase(fault_intervals, faulty=True)
            mended = self._phase(fault_intervals + RECOVERY_RUNS, faulty=False)
            return Outcome(healthy, faulty, mended)
        finally:
            self.engine.dispose()

    def _open(self) -> None:
        """The store, with a baseline for each version."""
        first, self.model = service_of(self.cell.sample_size)
        if self.cell.model == "elsewhere":
            first = external_service_of(self.cell.sample_size)
        features = tuple(
            replace_log(each, self.cell.log) if each.name == "channel" else each for each in first.features
        )
        first = first.model_copy(update={"features": features})
        self.engine = database.connect(self.url, first.service.name)
        database.upgrade(self.engine)
        registration.ensure_registered(self.engine)
        baseline = read_baseline(first.path(first.model.reference))
        versions = [first.model.version, "second", "third"][: self.cell.versions]
        self.all_settings = [
            first.model_copy(update={"model": first.model.model_copy(update={"version": v})}) for v in versions
        ]
        with database.writing(self.engine) as connection:
            for version in versions:
                own = replace(baseline, model_version=version, baseline_id=f"{baseline.baseline_id}-{version}")
                insert_baseline(connection, own)
                mark_active(connection, own)

    def _phase(self, intervals: int, *, faulty: bool) -> Phase:
        runs_seen, gap_was_shown, self.left_out, self.outliers = [], True, 0, set()
        for interval in range(intervals):
            for each in self.all_settings:
                self._send(each, traffic.row_count(self.cell, interval), faulty)
            self.now += EVERY
            if traffic.has_run(self.cell, interval):
                runs_seen.append(self._monitor())
            elif interval == traffic.GAP[-1]:
                gap_was_shown = self._shows_gap()
        first = self.all_settings[0]
        with database.reading(self.engine) as connection:
            record = current_state(connection, first.model.version)
            was_judged = serving_state(connection, first, self.now).judged
        assert record is not None
        states, severities = zip(*runs_seen, strict=True)
        outliers = frozenset(self.outliers)
        return Phase(states, severities, was_judged, record.progress, gap_was_shown, self.left_out, outliers)

    def _shows_gap(self) -> bool:
        """Whether anybody who looks now sees that no run judges the first version."""
        first = self.all_settings[0]
        with database.reading(self.engine) as connection:
            conditions = version_conditions(connection, first.policy, first.model.version, self.now)
        return conditions.served_version.stale or not conditions.served_version.judged

    def _send(self, own: Settings, row_count: int, faulty: bool) -> None:
        """Answer and log requests of the next ten minutes."""
        if not row_count:
            return
        rows = rows_of(self._table(row_count, faulty))
        synthetic = [False] * len(rows)
        if self.cell.extra == "retries":
            rows += rows[::10]
        elif self.cell.extra == "probes":
            rows += [_PROBE] * (2 * row_count)
        elif self.cell.extra == "synthetic":
            rows += [_PROBE] * row_count
        synthetic += [self.cell.extra == "synthetic"] * (len(rows) - len(synthetic))
        records = self._answers(own, rows, synthetic)
        if self.cell.clients != "unknown":
            records = [replace(each, source=f"{name:016x}") for each, name in zip(records, self.names, strict=True)]
        half = len(records) // 2 if self.cell.writers != "one" else 0
        if self.cell.writers == "skewed clock":
            records[:half] = [replace(record, timestamp=record.timestamp - LATE) for record in records[:half]]
        waiting, self.late = self.late, []
        if self.cell.writers == "late":
            self.late = [record for record in records[:half] if record.timestamp > self.now + EVERY - LATE]
        late_ids = {record.prediction_id for record in self.late}
        with database.writing(self.engine) as connection:
            in_time = [*waiting, *(r for r in records if r.prediction_id not in late_ids)]
            append_predictions(connection, in_time)
        first_version = self.all_settings[0].model.version
        self.waiting_count += sum(each.model_version == first_version and not each.synthetic for each in in_time)

    def _answers(self, own: Settings, rows: Sequence[Row], synthetic: Sequence[bool]) -> list[PredictionRecord]:
        with database.reading(self.engine) as connection:
            record = current_state(connection, own.model.version)
        state = State.NORMAL if record is None else record.state
        is_bypassed = state is State.DEGRADED
        offsets = np.sort(self.random.uniform(0, EVERY.total_seconds(), len(rows)))
        snapshots = sanitise(own.schema_of_features, rows, own.service.hash_salt)
        scores = self.model.score(list(rows))
        return [
            PredictionRecord(
                f"p{next(self.ids)}",
                self.now + timedelta(seconds=float(offset)),
                own.model.version,
                state,
                snapshot,
                0 if is_bypassed or score.prediction is None else score.prediction,
                None if is_bypassed else score.confidence,
                is_bypassed,
                "matrix",
                synthetic=is_synthetic,
            )
            for offset, snapshot, score, is_synthetic in zip(offsets, snapshots, scores, synthetic, strict=True)
        ]

    def _table(self, row_count: int, faulty: bool) -> pd.DataFrame:
        table = people(self.random, row_count)
        client_count, faulty_count, share = CLIENTS[self.cell.clients]
        is_faulty = np.arange(row_count) < share * row_count
        if client_count:
            others = self.random.integers(faulty_count, max(client_count, faulty_count + 1), row_count)
            self.names = np.where(is_faulty, self.random.integers(0, faulty_count, row_count), others).tolist()
        if faulty:
            ratio = table["ratio"].to_numpy(copy=True)
            table.loc[is_faulty, "ratio"] = _faulty_ratio(self.cell.fault, ratio[is_faulty], self.random)
        return table

    def _monitor(self) -> tuple[State, Severity]:
        """One run of each version's monitor; the first version's state and its evidence's severity."""
        at = self.now + (timedelta(minutes=4) if self.cell.monitor == "late" else timedelta(0))
        for _ in range(2 if self.cell.monitor == "twice" else 1):
            for number, each in enumerate(self.all_settings):
                # Monitors of several versions start at the same minute, some seconds apart.
                score, now = shadow_scorer(each, self.model), at + timedelta(seconds=number)
                run.run(self.engine, each, now=now, score=score)
        with database.reading(self.engine) as connection:
            record = current_state(connection, self.all_settings[0].model.version)
            stored_run = last_run(connection, self.all_settings[0].model.version)
        assert record is not None
        assert stored_run is not None
        self.outliers |= (stored_run.window or {})["outliers"].keys()
        self.left_out += max(0, self.waiting_count - stored_run.prediction_count) + (stored_run.expired_count or 0)
        self.waiting_count = 0
        return record.state, worst_severity(self.all_settings[0].policy, record.memory.streaks)


def _faulty_ratio(fault: str, ratio: Numbers, random: np.random.Generator) -> Numbers:
    """The values of the feature that the model leans on, with a fault."""
    match fault:
        case "nulls":
            return np.full(len(ratio), np.nan)
        case "permuted":
            return random.permutation(ratio)
        case "stuck":
            return np.full(len(ratio), 0.95)
        case _:
            return ratio * 100


_PROBE: Row = {"age": 40, "income": 24000.0, "ratio": 0.2, "country": "de", "channel": "web"}


def replace_log(feature: Feature, log: str) -> Feature:
    """A feature that is logged another way."""
    return feature.model_copy(update={"log": LogMode(log)})


def shadow_scorer(own: Settings, model: Model) -> ShadowScorer | None:
    """The scorer of bypassed rows, where the log has every feature."""
    return model.score if own.has_shadow_scores else None


@lru_cache
def service_of(sample_size: int) -> tuple[Settings, Model]:
    """The service that every cell of a sample size plays; `init` made it."""
    random = np.random.default_rng(5)
    train, sample = people(random, 6000), people(random, sample_size)
    for table in (train, sample):
        table["label"] = labels_of(random, table)
    folder = Path(mkdtemp(prefix="stillsafe-matrix-"))
    init_service(_pipeline().fit(train[FEATURES], train["label"]), sample, folder, label="label", name="loan")
    read = service.settings_of(folder / "out" / "stillsafe.toml")
    return read, load_model(read)


@lru_cache
def external_service_of(sample_size: int) -> Settings:
    """The same service where the model runs elsewhere, which `init` made of its answers to such a sample."""
    _, model = service_of(sample_size)
    table = people(np.random.default_rng(6), sample_size)
    scores = model.score(rows_of(table))
    answers: list[Any] = [score.prediction for score in scores]
    sample = table.assign(answer=answers)
    for name in ("0", "1"):
        sample[f"p_{name}"] = [(score.probabilities or {})[name] for score in scores]
    folder = Path(mkdtemp(prefix="stillsafe-matrix-"))
    external_service(folder, sample, AnswerColumns("answer", ("p_0", "p_1")), label=None, name="loan")
    return service.settings_of(folder / "out" / "stillsafe.toml")


def _pipeline() -> Pipeline:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer((numbers, NUMBERS), (OneHotEncoder(handle_unknown="ignore"), CATEGORIES))
    return make_pipeline(columns, LogisticRegression())


def people(random: np.random.Generator, row_count: int) -> pd.DataFrame:
    """Requests. Income and age go with the ratio, so that a ratio on the wrong row shows."""
    ratio = random.beta(2, 3, row_count).round(3)
    return pd.DataFrame(
        {
            "age": (20 + 50 * ratio + random.normal(0, 5, row_count)).round(),
            "income": (random.lognormal(10, 0.1, row_count) * (0.5 + ratio)).round(),
            "ratio": ratio,
            "country": random.choice(["de", "fr", "it", "es"], row_count, p=[0.4, 0.3, 0.2, 0.1]),
            "channel": random.choice(["web", "shop"], row_count),
        }
    )


def labels_of(random: np.random.Generator, table: pd.DataFrame) -> "pd.Series[int]":
    """What became of these people, in the healthy world."""
    score = 8 * (table["ratio"] - 0.4) + 0.3 * (table["country"] == "fr")
    return (score + random.logistic(size=len(table)) * 0.4 > 0).astype(int)


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The requests of a table."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]
