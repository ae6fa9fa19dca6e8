"""Stillsafe and its peers on streams of the benchmark."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.detection import contender, peers
from benchmarks.detection.damage import Kind
from benchmarks.detection.peers import Peer, Predictions
from benchmarks.detection.streams import Case, Stream, StreamFamily

from stillsafe.core.state import Severity

DRAW = np.random.default_rng(4)


def first(case: Case, family: StreamFamily, kind: str) -> Stream:
    return next(stream for stream in case.streams if (stream.family, stream.kind) == (family, kind))


def test_peers_say_what_they_are_known_for(cases: tuple[Case, Case]) -> None:
    """All keep silent on healthy rows; missing values are seen by thresholds and bins; labels see all harm."""
    case, _ = cases
    healthy = first(case, StreamFamily.HEALTHY, "healthy")
    nulls = first(case, StreamFamily.INJECTED, Kind.NULLS)
    verdicts_by_peer = peers.verdicts(replace(case, streams=(healthy, nulls)), outside=False)
    assert set(verdicts_by_peer) == {Peer.LITERAL, Peer.PSI, Peer.KS, Peer.LABELS}
    for peer, verdicts in verdicts_by_peer.items():
        assert set(verdicts[healthy.key].severities) == {Severity.NORMAL}, peer
    assert all(
        verdicts_by_peer[peer][nulls.key].severities[-1] is Severity.CRITICAL
        for peer in (Peer.LITERAL, Peer.PSI, Peer.LABELS)
    )


def test_what_peers_said_is_kept(cases: tuple[Case, Case]) -> None:
    """A second question is answered from the cache, also for some of the streams."""
    case, _ = cases
    some = replace(case, streams=case.streams[8:10])
    cached_verdicts = peers.verdicts(some, outside=False)
    assert peers.verdicts(replace(case, streams=case.streams[9:10]), outside=False) == {
        peer: {some.streams[1].key: verdicts_by_peer[some.streams[1].key]}
        for peer, verdicts_by_peer in cached_verdicts.items()
    }


@pytest.mark.parametrize("labels", [True, False])
def test_stillsafe_is_asked_through_its_public_face(cases: tuple[Case, Case], tmp_path: Path, labels: bool) -> None:
    """One severity and one price per run, on the sample with its labels and without."""
    case, _ = cases
    config = contender.create(case, tmp_path, labels=labels)
    nulls = first(case, StreamFamily.INJECTED, Kind.NULLS)
    verdict = contender.evaluate(config, nulls, case.kind)
    assert len(verdict.severities) == len(verdict.gains) == len(nulls.runs)
    assert verdict.severities[:2] == (Severity.NORMAL, Severity.NORMAL)


def test_a_column_that_is_always_missing_deviates_when_it_is_not() -> None:
    """The peers take columns without a single value, of numbers and of words."""
    empty_rows = pd.DataFrame({"age": [np.nan] * 500, "town": pd.Series([np.nan] * 500, dtype=object)})
    filled_rows = pd.DataFrame({"age": DRAW.normal(size=500), "town": pd.Series(["Ulm"] * 500, dtype=object)})
    sure = DRAW.random(500)
    empty_predictions, filled_predictions = (
        Predictions(rows, np.zeros(500), sure, None) for rows in (empty_rows, filled_rows)
    )
    test = peers.psi_test(empty_predictions)
    assert not test(empty_predictions)
    assert test(filled_predictions)
