"""A service to break, and the table of what breaking it has shown."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.api import Api
from tests.faults.proxy import Proxy
from tests.postgres import Postgres, served

LONG = os.environ.get("STILLSAFE_FAULTS") == "long"
"""Whether faults are repeated until the figures of the operations page can be printed: `make faults`."""


def often(short: int, long: int) -> int:
    """How often a fault is repeated."""
    return long if LONG else short


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own, to be killed."""
    with served(fsync=True) as running:
        yield running


@pytest.fixture
def proxy(server: Postgres) -> Iterator[Proxy]:
    """The line to it, to be disturbed."""
    made = Proxy(server.port)
    yield made
    made.close()


@pytest.fixture
def on_sqlite(made_service: Path) -> Iterator[Api]:
    """A running service on SQLite."""
    yield from running(Api(made_service, f"sqlite:///{made_service / 'stillsafe.db'}"))


@pytest.fixture
def on_postgres(made_service: Path, proxy: Proxy) -> Iterator[Api]:
    """A running service on that PostgreSQL, over that line."""
    yield from running(Api(made_service, proxy.url))


@pytest.fixture(params=["sqlite", "postgresql"])
def on_either(request: pytest.FixtureRequest) -> Api:
    """A running service, once on each store."""
    name = "on_sqlite" if request.param == "sqlite" else "on_postgres"
    api: Api = request.getfixturevalue(name)
    return api


def running(api: Api) -> Iterator[Api]:
    """A service that is started, and ended however the test ends."""
    try:
        api.start()
        yield api
    finally:
        api.kill()
