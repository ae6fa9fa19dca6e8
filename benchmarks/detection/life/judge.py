"""Stillsafe on a case of the bench like life, through its public face: `init` on the sample, then `backtest`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from scipy.stats import spearmanr

from benchmarks.detection.data import LABEL, Task
from benchmarks.detection.life.cases import LifeCase, LifeStream, Sort
from stillsafe import backtest
from stillsafe.backtest.result import FALLBACK, Backtest
from stillsafe.core.signals import FAILURE, SIGNALS, Evidence, Group, Reading
from stillsafe.core.state import Severity, State
from stillsafe.init.create import ServiceRequest, create_service

FEWEST_PAIRS = 10
_LETTERS = {Severity.NORMAL: ".", Severity.WARNING: "w", Severity.CRITICAL: "C"}


@dataclass(frozen=True, slots=True)
class LifeVerdict:
    """What Stillsafe decided on one stream.

    Attributes:
        severities: of each run.
        degraded: whether the model was bypassed after each run.
        estimates: of each run, the estimated loss; None without one.
        losses: of each run, what the model truly lost against its reference, in the same unit; None where unknown.
        gains: what was won by the bypass in each run, in points of accuracy or as a share of the reference error; 0
            where the model answered, None where the labels are unknown.
        refusal_rates: of each run, the share of its requests that the schema refused.
        alarms: signals that deviated in the run of the first alarm.
        milliseconds: of a run, with the counting of its window and the scoring of its rows.
    """

    severities: tuple[Severity, ...]
    degraded: tuple[bool, ...]
    estimates: tuple[float | None, ...]
    losses: tuple[float | None, ...]
    gains: tuple[float | None, ...]
    refusal_rates: tuple[float, ...]
    alarms: tuple[str, ...]
    milliseconds: float

    @property
    def letters(self) -> str:
        """A letter for each run: calm, warning or critical; in capitals D where the model is bypassed."""
        pairs = zip(self.severities, self.degraded, strict=True)
        return "".join("D" if degraded else _LETTERS[severity] for severity, degraded in pairs)


def create(case: LifeCase, folder: Path) -> Path:
    """The settings file of a service made by `init` from the case.

    Raises:
        StillsafeError: `init` refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(case.estimator, folder / "model.joblib")
    sample = case.sample if case.labels else case.sample.drop(columns=LABEL)
    sample.to_parquet(folder / "sample.parquet")
    options: dict[str, Any] = {"metric": case.metric} if case.metric else {}
    option_names = {one.name for one in fields(ServiceRequest)}
    create_service(
        ServiceRequest(
            folder / "model.joblib",
            folder / "sample.parquet",
            label=LABEL if case.labels else None,
            out=folder / "service",
            name="benchmark",
            version="1",
            trust_joblib=True,
            now=datetime(2026, 1, 1, tzinfo=UTC),
            salt="benchmark",
            **{name: value for name, value in options.items() if name in option_names},
        )
    )
    settings = folder / "service" / "stillsafe.toml"
    if case.policy:
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace("[policy]", f"[policy]\n{case.policy}", 1), encoding="utf-8")
    return settings


def judge(config: Path, case: LifeCase, stream: LifeStream) -> LifeVerdict:
    """Stillsafe's verdict on a stream.

    Raises:
        StillsafeError: the history is refused.
    """
    began = time.process_time()
    result = backtest(config, _history(stream), rows_per_run=stream.rows_per_run)
    cpu_seconds = time.process_time() - began
    scale = case.reference if case.task is Task.REGRESSION else 1.0
    sign = -1.0 if case.task is Task.REGRESSION else 1.0
    reference = case.reference if case.task is Task.REGRESSION else 1 - case.reference
    return LifeVerdict(
        severities=tuple(run.severity for run in result.runs),
        degraded=tuple(run.state is State.DEGRADED for run in result.runs),
        estimates=tuple(_estimate(run.readings) for run in result.runs),
        losses=tuple(
            None if run.model_score is None else sign * (reference - run.model_score) / scale for run in result.runs
        ),
        gains=tuple(_gains(result, sign / scale)),
        refusal_rates=tuple(
            run.refusal_count / max(run.refusal_count + run.prediction_count, 1) for run in result.runs
        ),
        alarms=_alarms(result),
        milliseconds=1000 * cpu_seconds / len(result.runs),
    )


def _history(stream: LifeStream) -> Any:
    """The rows; healthy ones without labels, because their fallback is not evaluated."""
    return stream.rows.drop(columns=LABEL) if stream.sort is Sort.HEALTHY else stream.rows


def _estimate(readings: Sequence[Reading]) -> float | None:
    values = [r.value for r in readings if r.signal in FAILURE and str(r.signal).startswith("estimated")]
    return next((value for value in values if value is not None), None)


def _gains(result: Backtest, unit: float) -> Iterator[float | None]:
    for run in result.runs:
        if run.model_score is None or run.served_score is None:
            yield None
        else:
            yield (run.served_score - run.model_score) * unit if run.decided_by == FALLBACK else 0.0


def _alarms(result: Backtest) -> tuple[str, ...]:
    """The keys that deviate in the first run at WARNING or above, failures first."""
    for run in result.runs:
        if run.severity is not Severity.NORMAL:
            bad = [r for r in run.readings if r.evidence is Evidence.BAD]
            order = sorted(bad, key=lambda r: SIGNALS[r.signal].group is not Group.FAILURE)
            return tuple(r.key for r in order)
    return ()


def judge_all(case: LifeCase, folder: Path) -> Mapping[str, LifeVerdict]:
    """Stream -> verdict for a whole case.

    Raises:
        StillsafeError: `init` or `backtest` refuses.
    """
    config = create(case, folder)
    return {stream.name: judge(config, case, stream) for stream in case.streams}


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's correlation of estimates and true losses; None for fewer than ten pairs or where one never varies."""
    if len(pairs) < FEWEST_PAIRS or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return None
    return float(spearmanr(*np.array(pairs).T).statistic)
