"""Stillsafe itself on the streams, through its public face: `init` on the sample, then `backtest`."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from benchmarks.detection.data import LABEL, Task
from benchmarks.detection.streams import ROWS, Case, Stream, StreamFamily
from benchmarks.detection.verdicts import Verdict
from stillsafe import backtest
from stillsafe.core.signals import Evidence
from stillsafe.core.state import State
from stillsafe.init.create import ServiceRequest, create_service

STREAMS_BY_SIZE = {50: 1, 100: 1, 200: 1, 500: 2, 2000: 4}  # rows of a run -> healthy streams tried so


def create(case: Case, folder: Path, *, labels: bool) -> Path:
    """The settings file of a service folder made from the case's model and sample, with its labels or without.

    Raises:
        StillsafeError: `init` refuses.
    """
    out = folder / case.name
    sample = case.sample_file
    if not labels:
        sample = folder / f"{case.name}.parquet"
        pd.read_parquet(case.sample_file).drop(columns=case.label).to_parquet(sample)
    create_service(
        ServiceRequest(
            case.model_file,
            sample,
            label=case.label if labels else None,
            out=out,
            name="benchmark",
            version="1",
            trust_joblib=True,
            now=datetime(2026, 1, 1, tzinfo=UTC),
            salt="benchmark",
        )
    )
    return out / "stillsafe.toml"


def evaluate(config: Path, stream: Stream, task: Task) -> Verdict:
    """Stillsafe's verdict on a stream.

    Raises:
        StillsafeError: the history is refused.
    """
    runs = backtest(config, _history(stream), rows_per_run=ROWS).runs
    scale = -stream.reference_score if task is Task.REGRESSION else 1.0
    gains = [
        None
        if run.fallback_score is None or run.model_score is None
        else (run.fallback_score - run.model_score) / scale
        for run in runs
    ]
    refusal_rates = (run.refusal_count / max(run.refusal_count + run.prediction_count, 1) for run in runs)
    bypasses = tuple(run.state is State.DEGRADED for run in runs)
    return Verdict(tuple(run.severity for run in runs), tuple(gains), tuple(refusal_rates), bypasses)


def _history(stream: Stream) -> pd.DataFrame:
    """The rows in order; a healthy stream without labels, because its fallback is not evaluated."""
    rows = pd.concat(stream.runs, ignore_index=True)
    return rows.drop(columns=LABEL) if stream.family is StreamFamily.HEALTHY else rows


def deviating(config: Path, streams: Sequence[Stream]) -> dict[int, tuple[int, int]]:
    """Rows of a run -> how many healthy runs had any bad reading, and how many there were."""
    healthy = [stream for stream in streams if stream.family is StreamFamily.HEALTHY]
    rates = {}
    for size, count in STREAMS_BY_SIZE.items():
        runs = [run for stream in healthy[:count] for run in backtest(config, _history(stream), rows_per_run=size).runs]
        bad = [any(reading.evidence is Evidence.BAD for reading in run.readings) for run in runs]
        rates[size] = (sum(bad), len(bad))
    return rates


def all_of(case: Case, *, labels: bool) -> tuple[dict[str, Verdict], dict[int, tuple[int, int]]]:
    """Stream -> verdict for a whole case, and how often a healthy run had a bad reading by the size of the run."""
    with tempfile.TemporaryDirectory() as folder:
        config = create(case, Path(folder), labels=labels)
        return (
            {stream.key: evaluate(config, stream, case.kind) for stream in case.streams},
            deviating(config, case.streams),
        )
