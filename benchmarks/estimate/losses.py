"""Losses of runs: estimated by Stillsafe, estimated by NannyML, and shown by labels."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import joblib
import pandas as pd

from benchmarks import environments
from benchmarks.detection import contender, data, peers
from benchmarks.detection.data import CACHE, LABEL, Task
from benchmarks.detection.streams import ROWS, Case, Stream
from stillsafe import backtest

ENVIRONMENT = "nannyml"
SIGNALS = {"estimated_accuracy_loss", "estimated_error_growth"}
LEAST_LOSS = 0.02
"""A run has lost something from two points of accuracy on, or from two percent of the mean absolute error."""
_OUTSIDE = Path(__file__).with_name("outside.py")


@dataclass(frozen=True, slots=True)
class RunLosses:
    """One run of 500 rows: points of accuracy as a share of 1, or growth of the mean absolute error.

    Attributes:
        case, family: where it comes from.
        realised: by the labels.
        own, peer: as Stillsafe and as NannyML estimate it.
    """

    case: str
    family: str
    realised: float
    own: float
    peer: float


@dataclass(frozen=True, slots=True)
class Row:
    """The errors of both on some runs.

    Attributes:
        name: of the runs.
        run_count: how many.
        own_median, peer_median: median distance from the realised loss.
        own_bias, peer_bias: mean of estimated minus realised loss.
    """

    name: str
    run_count: int
    own_median: float
    peer_median: float
    own_bias: float
    peer_bias: float

    @property
    def ratio(self) -> float | None:
        """Our median error as a share of NannyML's."""
        return self.own_median / self.peer_median if self.peer_median else None


def rows_of(runs: Sequence[RunLosses]) -> list[Row]:
    """All runs, those that lost something, and those of each family."""
    parts = {"all": list(runs), "runs that lost something": [run for run in runs if run.realised >= LEAST_LOSS]}
    parts |= {family: [run for run in runs if run.family == family] for family in sorted({r.family for r in runs})}
    return [_row(name, part) for name, part in parts.items() if part]


def _row(name: str, runs: Sequence[RunLosses]) -> Row:
    own, peer = ([getattr(run, side) - run.realised for run in runs] for side in ("own", "peer"))
    return Row(name, len(runs), median(map(abs, own)), median(map(abs, peer)), fmean(own), fmean(peer))


def losses(case: Case) -> list[RunLosses]:
    """The losses of every run of a case that both estimate.

    Raises:
        StillsafeError: `init` refuses.
        CalledProcessError: NannyML cannot take the data set.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = contender.create(case, Path(folder), labels=True)
        own = [list(_own(config, stream)) for stream in case.streams]
    peer = iter(_peer(case))
    return [
        RunLosses(case.name, stream.family, loss_of(case.kind, stream.reference_score, score), estimate, other)
        for stream, estimates in zip(case.streams, own, strict=True)
        for score, estimate in zip(stream.scores, estimates, strict=True)
        for other in [loss_of(case.kind, stream.reference_score, next(peer))]
        if estimate is not None
    ]


def loss_of(task: Task, reference_score: float, score: float) -> float:
    """The loss of a score: accuracy lost, or the share by which an error has grown."""
    return score / reference_score - 1 if task is Task.REGRESSION else reference_score - score


def _own(config: Path, stream: Stream) -> Iterator[float | None]:
    """The estimated loss of each run; None where it is not estimated in accuracy or mean absolute error."""
    history = pd.concat(stream.runs, ignore_index=True).drop(columns=LABEL)
    for run in backtest(config, history, rows_per_run=ROWS).runs:
        values = [reading.value for reading in run.readings if reading.signal.value in SIGNALS]
        yield next((value for value in values if value is not None), None)


def _peer(case: Case) -> list[float]:
    """NannyML's estimated performance of each run, in the order of the streams."""
    model = joblib.load(case.model_file)
    sample = data.with_objects(pd.read_parquet(case.sample_file).drop(columns="timestamp", errors="ignore"))
    served_rows = pd.concat([run for stream in case.streams for run in stream.runs], ignore_index=True)
    folder = CACHE / "exchange" / f"estimate-{case.name}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("sample", sample), ("served", served_rows)):
        predictions = peers.predict(model, rows, case.kind)
        peers.exchange_table(predictions, rows[LABEL]).to_parquet(folder / f"{name}.parquet")
    classes = [] if case.kind is Task.REGRESSION else model.classes_.tolist()
    features = [str(name) for name in sample.columns if name != LABEL]
    task: dict[str, Any] = {"task": case.kind, "rows": ROWS, "features": features, "classes": classes}
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    command = [str(environments.python(ENVIRONMENT)), "-W", "ignore", str(_OUTSIDE), str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our script, in its environment
    estimates: list[float] = json.loads((folder / "estimates.json").read_text(encoding="utf-8"))
    return estimates
