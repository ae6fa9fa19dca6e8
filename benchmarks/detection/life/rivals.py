"""The peers that are a few lines of mathematics on the streams of the bench like life, and the labels as the bound."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from benchmarks.detection import peers
from benchmarks.detection.data import Task
from benchmarks.detection.life.cases import HARMFUL, LifeCase, LifeStream
from benchmarks.detection.life.judge import LifeVerdict
from benchmarks.detection.peers import Peer, Predictions
from benchmarks.detection.verdicts import streaks
from stillsafe.core.state import Severity
from stillsafe.table_file import TIMESTAMP

RIVALS = (Peer.LITERAL, Peer.PSI, Peer.KS, Peer.LABELS)


def verdicts(case: LifeCase) -> Mapping[str, Mapping[str, LifeVerdict]]:
    """Peer -> stream -> verdict, behind the same streak rule; streams whose runs are by time are left out."""
    healthy = peers.predict(case.estimator, _without_times(case.sample), case.task)
    tests: dict[Peer, Callable[[Predictions], bool]] = {
        Peer.LITERAL: peers.literal_test(healthy, classifier=case.task is not Task.REGRESSION),
        Peer.PSI: peers.psi_test(healthy),
        Peer.KS: peers.kolmogorov_smirnov_test(healthy),
    }
    by_rows = [stream for stream in case.streams if stream.rows_per_run is not None]
    of_streams = {stream.name: _deviations(case, stream, tests) for stream in by_rows}
    return {
        peer.value: {name: _verdict(deviations[peer]) for name, deviations in of_streams.items()} for peer in RIVALS
    }


def _deviations(
    case: LifeCase, stream: LifeStream, tests: Mapping[Peer, Callable[[Predictions], bool]]
) -> dict[Peer, list[bool]]:
    """Peer -> whether each run deviates."""
    size = stream.rows_per_run or len(stream.rows)
    whole = peers.predict(case.estimator, _without_times(stream.rows), case.task)
    runs = [whole.part(i * size, (i + 1) * size) for i in range(stream.run_count)]
    deviations = {peer: [test(run) for run in runs] for peer, test in tests.items()}
    return {**deviations, Peer.LABELS: [harm >= HARMFUL for harm in stream.harms]}


def _verdict(deviations: list[bool]) -> LifeVerdict:
    severities = streaks(deviations)
    unknown = (None,) * len(severities)
    return LifeVerdict(
        severities=severities,
        degraded=tuple(severity is Severity.CRITICAL for severity in severities),
        estimates=unknown,
        losses=unknown,
        gains=unknown,
        refusal_rates=(0.0,) * len(severities),
        alarms=(),
        milliseconds=0.0,
    )


def _without_times(rows: pd.DataFrame) -> Any:
    return rows.drop(columns=TIMESTAMP, errors="ignore")
