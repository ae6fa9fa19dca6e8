"""Flights with a linear model: the data set that the package ships, so that nothing is downloaded."""

from collections.abc import Iterator

import pytest
from benchmarks.detection import data, streams
from benchmarks.detection.models import ModelFamily
from benchmarks.detection.streams import Case


@pytest.fixture(scope="package")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Case, Case]]:
    """The case split at random, and the one split by time, with the streams of both halves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "CACHE", tmp_path_factory.mktemp("cache"))
        flights = data.by_name("flights")
        random, time = (streams.read(flights, ModelFamily.LINEAR, split, None) for split in ("random", "time"))
        yield random, time
