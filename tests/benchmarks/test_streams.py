"""The streams, built from the data set that the package ships."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from benchmarks.detection import data, models, streams
from benchmarks.detection.models import ModelFamily
from benchmarks.detection.streams import HARMFUL, HARMLESS, ROWS, UNFELT, Case, Stream, StreamFamily

FLIGHTS = data.by_name("flights")


def injected_streams(case: Case) -> list[Stream]:
    return [stream for stream in case.streams if stream.family is StreamFamily.INJECTED]


def test_there_is_something_of_everything(cases: tuple[Case, Case]) -> None:
    """Every family, both halves, harmful and harmless; the key of each stream is unique."""
    random, time = cases
    assert {stream.family for stream in (*random.streams, *time.streams)} == set(StreamFamily)
    assert {stream.half for stream in injected_streams(random)} == set(data.Half)
    assert {stream.harmful for stream in injected_streams(random)} == {True, False}
    assert len({stream.key for stream in random.streams}) == len(random.streams)


def test_harm_is_what_the_labels_say(cases: tuple[Case, Case]) -> None:
    """The scores are the saved model's on the rows as they are kept, and harm follows from them alone."""
    case, _ = cases
    model = joblib.load(case.model_file)
    for stream in injected_streams(case)[::8]:
        scores = [1 - models.losses(model, run, case.kind).mean() for run in stream.runs]
        assert np.allclose(scores, stream.scores)
    for stream in injected_streams(case):
        mean_harm = float(np.mean(stream.losses[stream.first_bad :]))
        assert stream.harmful == (mean_harm >= HARMFUL)
        assert stream.harmless == (mean_harm < HARMLESS)


def test_benign_shifts_are_not_felt(cases: tuple[Case, Case]) -> None:
    """A benign stream costs less than a point either way, a shift at least five."""
    for stream in cases[0].streams:
        mean_harm = float(np.mean(stream.losses[stream.first_bad :])) if stream.first_bad < len(stream.runs) else 0.0
        if stream.family is StreamFamily.BENIGN:
            assert abs(mean_harm) < UNFELT
        if stream.family is StreamFamily.SHIFT:
            assert mean_harm >= HARMFUL


def test_runs_are_of_rows_that_the_model_never_saw(cases: tuple[Case, Case]) -> None:
    """No row twice in a run; none of the sample is served."""
    for case in cases:
        sample = set(map(tuple, pd.read_parquet(case.sample_file).filter(case.streams[0].runs[0].columns).to_numpy()))
        run = case.streams[0].runs[0]
        served_rows = list(map(tuple, run.to_numpy()))
        assert len(run) == ROWS
        assert len(sample & set(served_rows)) <= 0.01 * ROWS  # flights that resemble each other to the minute


def test_a_burst_is_one_run(cases: tuple[Case, Case]) -> None:
    """One broken run among seven healthy ones."""
    for stream in cases[0].streams:
        if stream.family is StreamFamily.BURST:
            harmful_runs = [loss != 0 for loss in stream.losses]
            assert harmful_runs == [i == stream.first_bad for i in range(len(stream.runs))]


def test_streams_are_the_same_every_time(
    cases: tuple[Case, Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built anew, row for row."""
    monkeypatch.setattr(data, "CACHE", tmp_path)
    again = streams.read(FLIGHTS, ModelFamily.LINEAR, "time", None).streams[0]
    (stream,) = cases[1].streams
    assert again.scores == stream.scores
    assert all(one.equals(other) for one, other in zip(again.runs, stream.runs, strict=True))


def test_at_least_three_data_sets_are_aside() -> None:
    """Both halves have classifiers, regressors and a natural order in time."""
    for half, least in ((data.Half.DESIGN, 7), (data.Half.HOLDOUT, 3)):
        sets = [one for one in data.DATASETS if one.half is half]
        assert len(sets) >= least
        assert {one.task for one in sets} == set(data.Task)
        assert any(one.is_ordered for one in sets)
