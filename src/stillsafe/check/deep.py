"""`check --deep`: play a fault and its mending through a copy of the service, and count the runs until it acts.

The copy has the service's model, baseline, policy, schedule and traffic rate, a store of its own in a temporary folder
and a simulated clock. Endpoint, monitor and store are the real ones; nothing of the service itself changes.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from stillsafe import service
from stillsafe.backtest.history import column_kinds, read_history
from stillsafe.check.findings import Finding, error, ok, warning
from stillsafe.core.baseline import Baseline
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Row, Value
from stillsafe.core.score import Score
from stillsafe.core.state import State
from stillsafe.errors import RefusedError
from stillsafe.identifiers import new_ids
from stillsafe.judging import runs_per_conclusion
from stillsafe.model.load import load_scoring_model
from stillsafe.model.model import Model, ModelKind
from stillsafe.model.reference import read_reference
from stillsafe.monitoring import run
from stillsafe.monitoring.date_values import moved_dates
from stillsafe.progress import Progress, no_progress
from stillsafe.serving import predict
from stillsafe.settings import Settings
from stillsafe.settings_sections import Observer
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.requests import (
    LogRows,
    first_healthy_rows,
    first_request_at,
    last_prediction_row,
    micros_of,
    window_row_count,
)
from stillsafe.store.read.state import current_state

SUBJECT = "deep check"
START = datetime(2026, 1, 5, tzinfo=UTC)
DAY, HOUR_SECONDS = timedelta(days=1), 3600.0
FEWEST_ROWS, MOST_ROWS = 200, 5_000
"""Rows to draw from: fewer would repeat themselves in a window, and more show nothing else."""
MOST_SECONDS = 90.0
"""Longest time for a play. What has not happened until then counts as unknown."""
HEALTHY_CONCLUSIONS = 3
"""Conclusive runs on healthy rows before the fault."""
MARGIN_RUNS = 4
"""Conclusive runs beyond those that the policy needs, after which a phase ends without its result."""
PORTIONS = 12
"""Rows of an interval come in so many portions of equal size, at equal distances."""
PROBE_ROWS, PROBE_VALUES = 200, 8
"""Rows and values on which the costliest fault is looked for."""


@dataclass(frozen=True, slots=True)
class PlayedFault:
    """The fault: from its first row on, a feature has one value in every request.

    Attributes:
        feature: its name.
        value: the value; None for a missing one.
        change: what it does to the model's answers: the share that change, or a regressor's mean change.
    """

    feature: str
    value: Value
    change: float

    @property
    def description(self) -> str:
        """The fault in words."""
        return f"{self.feature} missing" if self.value is None else f"{self.feature} always {self.value!r}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the copy is sent.

    Attributes:
        rows: healthy rows, drawn in turn.
        source: where they come from, in words.
        requests_per_hour: the rate.
        times: of the rows, in microseconds since 1970; empty where they are not known. Dates move with the played time.
    """

    rows: tuple[Row, ...]
    source: str
    requests_per_hour: float
    times: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DeepCheck:
    """What the play showed. Runs are counted from the first run of their phase.

    Attributes:
        fault: what was broken.
        rows: how many different rows were drawn from.
        source: where they come from.
        requests_per_hour: the rate that was played.
        every_seconds: the interval between two runs.
        runs_per_conclusion: after how many runs one has enough rows to conclude; None for never.
        healthy_state: the worst state before the fault.
        warning_run, degraded_run: the run of the fault that reached WARNING, and DEGRADED; None where none did.
        recovered_run: the run after the mending that reached NORMAL; None where none did.
        progress: what the state waits for where it did not recover.
        complete: whether the play ended within its time.
    """

    fault: PlayedFault
    rows: int
    source: str
    requests_per_hour: float
    every_seconds: float
    runs_per_conclusion: int | None
    healthy_state: State = State.NORMAL
    warning_run: int | None = None
    degraded_run: int | None = None
    recovered_run: int | None = None
    progress: str = ""
    complete: bool = True

    def findings(self) -> Iterator[Finding]:
        """The result as findings."""
        traffic = f"At {self.requests_per_hour:g} requests per hour"
        if self.runs_per_conclusion is None:
            remedy = "Make `every` and `window` longer, or lower `min_predictions`."
            yield error(SUBJECT, f"{traffic} no run would ever have enough requests to judge the model. {remedy}")
            return
        if self.runs_per_conclusion > 1:
            message = f"{traffic} only one run in {self.runs_per_conclusion} has enough requests to judge the model."
            yield warning(
                SUBJECT, f"{message} A longer `every` shows the same, a lower `min_predictions` decides earlier."
            )
        if not self.complete:
            yield warning(SUBJECT, f"The play was stopped after {MOST_SECONDS:g} s, so later runs are unknown.")
        if self.healthy_state is not State.NORMAL:
            message = f"Healthy rows ({self.source}) alone led to {self.healthy_state.value}"
            yield warning(SUBJECT, f"{message}: make a new baseline, or check that these rows are healthy.")
        if self.complete or self.degraded_run is not None:
            yield self._detection(traffic)
        if self.degraded_run is not None and (self.complete or self.recovered_run is not None):
            yield self._recovery()

    def _detection(self, traffic: str) -> Finding:
        fault = f"{traffic} a fault ({self.fault.description}) "
        warning_text = "" if self.warning_run is None else f"would lead to WARNING {self._runs_text(self.warning_run)}"
        if self.degraded_run is not None:
            joint = f"{warning_text}, and to DEGRADED" if warning_text else "would lead to DEGRADED"
            return ok(SUBJECT, f"{fault}{joint} {self._runs_text(self.degraded_run)}")
        if warning_text:
            return warning(
                SUBJECT, f"{fault}{warning_text}, and never to DEGRADED: its estimated cost stays below the limits."
            )
        return error(SUBJECT, f"{fault}would never be noticed, though it changes the model's answers.")

    def _recovery(self) -> Finding:
        if self.recovered_run is not None:
            return ok(SUBJECT, f"Once it is mended, the model would answer again {self._runs_text(self.recovered_run)}")
        waits = f" The state says: {self.progress}" if self.progress else ""
        return error(SUBJECT, f"Once it is mended, the service would not recover.{waits}")

    def _runs_text(self, runs: int) -> str:
        minutes = runs * self.every_seconds / 60
        return f"after {runs} {'run' if runs == 1 else 'runs'} ({minutes:g} min)"


def play_faults(
    config: Path | Settings,
    *,
    now: datetime,
    sample: Path | None = None,
    requests_per_hour: float | None = None,
    progress: Progress = no_progress,
) -> DeepCheck:
    """Play a fault and its mending through a copy of the service.

    Args:
        config: the settings file, or settings that are read already.
        now: aware UTC; the traffic rate is that of the day before.
        sample: a table of healthy rows, CSV or Parquet; by default they come from the log.
        requests_per_hour: the traffic rate; by default that of the log.
        progress: called with the activity and the share of it that is complete.

    Raises:
        ConfigurationError: settings, model or sample are wrong.
        NoModel: the model runs elsewhere.
        RefusedError: there is no baseline, are too few rows, or no request to measure the rate by.
        StoreError: the log cannot be read.
    """
    settings = service.settings_of(config)
    progress("Reading the log", None)
    model = load_scoring_model(settings, "deep check")
    baseline, traffic = _read_service(settings, now, sample, requests_per_hour)
    fault = costliest_fault(model, traffic.rows, baseline)
    rate = traffic.requests_per_hour
    result = DeepCheck(
        fault,
        len(traffic.rows),
        traffic.source,
        rate,
        settings.monitor.every,
        runs_per_conclusion(settings.policy, rate / HOUR_SECONDS),
    )
    if result.runs_per_conclusion is None:
        return result
    with tempfile.TemporaryDirectory(prefix="stillsafe-check-") as folder:
        copy = copy_of(settings, baseline, Path(folder))
        engine = service.open_store(copy, create=True)
        try:
            return _Play(copy, engine, model, traffic, fault, progress).result(result)
        finally:
            engine.dispose()


def _read_service(
    settings: Settings, now: datetime, sample: Path | None, requests_per_hour: float | None
) -> tuple[Baseline, Traffic]:
    """The baseline, rows and rate of the service."""
    version = settings.model.version
    engine = service.open_store(settings)
    try:
        with database.reading(engine) as connection:
            baseline = active_baseline(connection, version)
            rate = _hourly_rate(connection, settings, now) if requests_per_hour is None else requests_per_hour
            log_rows = None if sample else first_healthy_rows(connection, version, MOST_ROWS)
    finally:
        engine.dispose()
    if baseline is None:
        raise RefusedError(f"Model version {version} has no active baseline. Run `stillsafe baseline create` first.")
    if rate <= 0:
        raise RefusedError("The log has no request of the last day. Name the traffic with --rate (requests per hour).")
    rows, times = _sample_rows(settings, sample) if sample else _log_rows(settings, log_rows)
    source = sample.name if sample else "the log"
    if len(rows) < FEWEST_ROWS:
        problem = f"There are {len(rows)} healthy rows in {source}, and a play needs {FEWEST_ROWS}."
        raise RefusedError(f"{problem} Name a table of healthy rows with --sample.")
    return baseline, Traffic(rows, source, rate, times)


def _hourly_rate(connection: Connection, settings: Settings, now: datetime) -> float:
    """Requests per hour since the first one of the last day; 0 without any."""
    version = settings.model.version
    first = first_request_at(connection, version, now - DAY)
    if first is None or first >= now:
        return 0.0
    request_count = window_row_count(connection, first, now, version, last_prediction_row(connection))
    return request_count * HOUR_SECONDS / max((now - first).total_seconds(), settings.policy.window_seconds)


def _log_rows(settings: Settings, log_rows: LogRows | None) -> tuple[tuple[Row, ...], tuple[int, ...]]:
    """Rows of the log with their times; none where it lacks values that the model needs."""
    if not settings.schema_of_features.scorable_from_log:
        raise RefusedError("The log keeps some features hashed or not at all. Name a table of rows with --sample.")
    names = settings.schema_of_features.names
    documents = (json.loads(summary) for summary in (log_rows.input_summaries if log_rows else ()))
    rows = tuple({name: document.get(name) for name in names} for document in documents)
    return rows, tuple(micros_of(log_rows.timestamps) if log_rows else ())


def _sample_rows(settings: Settings, file: Path) -> tuple[tuple[Row, ...], tuple[int, ...]]:
    # Imported here: pandas takes a second to import.
    from stillsafe.table_file import read_with_remarks

    table = read_with_remarks(file, column_kinds(settings), "sample")
    history = read_history(table.frame, settings.schema_of_features)
    columns: Any = history.columns
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    times = () if history.micros is None else history.micros.tolist()
    return tuple(rows)[:MOST_ROWS], tuple(times)[:MOST_ROWS]


def costliest_fault(model: Model, rows: Sequence[Row], baseline: Baseline) -> PlayedFault:
    """The single value of the most important feature that changes the model's answers most.

    The impact study of `init` names the feature. Without a study every feature is tried, missing where it may be.
    """
    changes = _error_change if model.kind is ModelKind.REGRESSOR else _changed_share
    probes = list(rows[:: max(1, len(rows) // PROBE_ROWS)][:PROBE_ROWS])
    scores = model.score(probes)
    names = model.features.names
    if baseline.harm is not None and baseline.harm.features:
        impacts = {name: each for name, each in baseline.harm.features.items() if each.view_of is None}
        costs = {name: max(impacts[name].permuted, *(loss or 0.0 for loss in impacts[name].at)) for name in impacts}
        names = (max(costs, key=costs.__getitem__),)
    faults = (
        PlayedFault(name, value, changes(scores, model.score([{**row, name: value} for row in probes])))
        for name in names
        for value in _fault_values(model, probes, name, is_only=len(names) == 1)
    )
    return max(faults, key=lambda fault: fault.change)


def _fault_values(model: Model, rows: Sequence[Row], name: str, *, is_only: bool) -> list[Value]:
    """Values that a broken feed could give a feature: healthy ones, or none where a request may lack it."""
    (spec,) = (spec for spec in model.features.features if spec.name == name)
    present = sorted({row.get(name) for row in rows} - {None}, key=lambda value: (str(type(value)), value))
    values = present[:: max(1, len(present) // PROBE_VALUES)] + present[-1:]
    if is_only or spec.required:
        return values or [None]
    return [None]


def _changed_share(scores: Sequence[Score], new_scores: Sequence[Score]) -> float:
    """The share of a classifier's answers that differ. A failure of the model is an answer of its own."""
    return float(np.mean([old.prediction != new.prediction for old, new in zip(scores, new_scores, strict=True)]))


def _error_change(scores: Sequence[Score], new_scores: Sequence[Score]) -> float:
    """The mean distance of a regressor's answers, in their unit; 0 where the model fails."""
    pairs = [(old.prediction, new.prediction) for old, new in zip(scores, new_scores, strict=True)]
    distances = [abs(float(old) - float(new)) for old, new in pairs if old is not None and new is not None]
    return float(np.mean(distances)) if distances else 0.0


def copy_of(settings: Settings, baseline: Baseline, folder: Path) -> Settings:
    """The settings of a copy of the service whose store, spool and reference are in another folder."""
    model = settings.model
    reference = replace(read_reference(settings.path(model.reference)), baseline=baseline)
    (folder / "reference.json").write_text(reference.to_json())
    copied_model = model.model_copy(update={"reference": str(folder / "reference.json")})
    return settings.model_copy(
        update={
            "service": settings.service.model_copy(update={"database": f"sqlite:///{folder}/play.db"}),
            "model": copied_model,
            "serving": settings.serving.model_copy(update={"spool": str(folder / "spool.db")}),
            "observer": Observer(),
        }
    )


@dataclass(slots=True)
class _Play:
    """One play: its simulated time, and what it has sent so far."""

    settings: Settings
    engine: Engine
    model: Model
    traffic: Traffic
    fault: PlayedFault
    report: Progress
    now: datetime = START
    due_rows: float = 0.0
    deadline: float = field(default_factory=lambda: time.monotonic() + MOST_SECONDS)
    context: predict.Context = field(init=False)
    rows: Iterator[Row] = field(init=False)

    def __post_init__(self) -> None:
        fallback = service.fallback_of(self.settings)
        self.context = predict.Context(self.settings, self.engine, self.model, fallback, lambda: self.now, new_ids)
        self.rows = self._shuffled_rows()

    @property
    def is_out_of_time(self) -> bool:
        return time.monotonic() > self.deadline

    def result(self, result: DeepCheck) -> DeepCheck:
        """Play health, the fault, and its mending."""
        policy, per_conclusion = self.settings.policy, result.runs_per_conclusion or 1
        self._run()  # so that the monitor counts as running when the first request comes
        healthy = self._phase("Healthy rows", HEALTHY_CONCLUSIONS * per_conclusion, None, is_broken=False)
        worst = max(healthy, key=list(State).index, default=State.NORMAL)
        longest = per_conclusion * (_detection_runs(policy) + MARGIN_RUNS)
        fault_states = self._phase(f"Broken: {self.fault.description}", longest, State.DEGRADED, is_broken=True)
        result = replace(
            result,
            healthy_state=worst,
            warning_run=_first_run(fault_states, State.WARNING),
            degraded_run=_first_run(fault_states, State.DEGRADED),
        )
        if result.degraded_run is not None:
            longest = per_conclusion * (policy.recovery_runs + MARGIN_RUNS + _window_runs(policy))
            recovery_states = self._phase("Mended", longest, State.NORMAL, is_broken=False)
            result = replace(result, recovered_run=_first_run(recovery_states, State.NORMAL), progress=self._progress())
        return replace(result, complete=not self.is_out_of_time)

    def _phase(self, activity: str, longest: int, end: State | None, *, is_broken: bool) -> list[State]:
        """The state after each run, until the state `end` or for so many runs."""
        states: list[State] = []
        while len(states) < longest and not self.is_out_of_time and (not states or states[-1] is not end):
            self.report(activity, len(states) / longest)
            self._send_interval(is_broken=is_broken)
            states.append(self._run())
        return states

    def _send_interval(self, *, is_broken: bool) -> None:
        """Answer the requests of one interval."""
        every = self.settings.monitor.every
        most = min(len(self.traffic.rows), MOST_ROWS)
        due = min(self.traffic.requests_per_hour * every / HOUR_SECONDS, most) / PORTIONS
        start = self.now
        for portion in range(PORTIONS):
            self.now = start + timedelta(seconds=every * (portion + 0.5) / PORTIONS)
            self.due_rows += due
            rows = [next(self.rows) for _ in range(int(self.due_rows))]
            self.due_rows -= len(rows)
            if is_broken:
                rows = [{**row, self.fault.feature: self.fault.value} for row in rows]
            if rows:
                predict.answer(self.context, rows)
        self.now = start + timedelta(seconds=every)

    def _shuffled_rows(self) -> Iterator[Row]:
        """The rows in random order, again and again in another order, their dates as far from now as they were."""
        random, rows, times = np.random.default_rng(0), self.traffic.rows, self.traffic.times
        features = self.settings.schema_of_features
        while True:
            for index in random.permutation(len(rows)):
                yield moved_dates(features, rows[index], times[index], self.now) if times else rows[index]

    def _run(self) -> State:
        score = self.model.score if self.settings.schema_of_features.scorable_from_log else None
        result = run.run(self.engine, self.settings, now=self.now, score=score)
        return result.decision.memory.state if result.decision is not None else State.NORMAL

    def _progress(self) -> str:
        with database.reading(self.engine) as connection:
            state = current_state(connection, self.settings.model.version)
        return state.progress or state.reason if state is not None else ""


def _detection_runs(policy: Policy) -> int:
    return policy.critical_runs + _window_runs(policy)


def _window_runs(policy: Policy) -> int:
    """Runs after which a window has no row from before a change."""
    return int(policy.window_seconds // policy.every_seconds) + 1


def _first_run(states: Sequence[State], state: State) -> int | None:
    """The first run, from 1, that reached a state, or None."""
    return states.index(state) + 1 if state in states else None
