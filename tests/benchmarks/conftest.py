"""Flights: the data set that the package ships, so that nothing is downloaded."""

from collections.abc import Iterator

import pandas as pd
import pytest
from benchmarks.detection import data, streams
from benchmarks.detection.models import ModelFamily
from benchmarks.detection.streams import Case
from benchmarks.serving import growth, workload
from benchmarks.serving.contenders import Ours, Place
from benchmarks.serving.workload import Workload

from benchmarks import log_rows
from tests.ports import free_port


@pytest.fixture(scope="package")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Case, Case]]:
    """With a linear model, the case split at random, and the one split by time, with the streams of both halves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "CACHE", tmp_path_factory.mktemp("cache"))
        flights = data.by_name("flights")
        random, time = (streams.read(flights, ModelFamily.LINEAR, split, None) for split in ("random", "time"))
        yield random, time


@pytest.fixture(scope="package")
def flights(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The whole set, shuffled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "CACHE", tmp_path_factory.mktemp("cache"))
        return workload.flights()


@pytest.fixture(scope="package")
def work(flights: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """The model of the benchmarks that serve and monitor, behind a service folder."""
    return workload.make(flights, tmp_path_factory.mktemp("flights"), sample_rows=3_000)


@pytest.fixture(scope="package")
def template(work: Workload, tmp_path_factory: pytest.TempPathFactory) -> list[log_rows.LogRow]:
    """Rows that its server has logged."""
    return growth.template(Ours(), Place(work, tmp_path_factory.mktemp("template"), free_port(), lambda: ""))
