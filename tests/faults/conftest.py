"""Services on either store, with a database server and a connection that tests can disturb."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.api import Api
from tests.faults.proxy import Proxy
from tests.postgres import Postgres, running_postgres
from tests.stores import with_store

LONG = os.environ.get("STILLSAFE_FAULTS") == "long"
"""Whether each fault is repeated as often as for the figures of the operations page: `make faults`."""


def repetitions(short: int, long: int) -> int:
    """Number of repetitions of a fault."""
    return long if LONG else short


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL server for one test, which may kill it."""
    with running_postgres(fsync=True) as running:
        yield running


@pytest.fixture
def proxy(server: Postgres) -> Iterator[Proxy]:
    """A proxy in front of the server, which may disturb the connection."""
    proxy_server = Proxy(server.port)
    yield proxy_server
    proxy_server.close()


@pytest.fixture
def on_sqlite(made_service: Path) -> Iterator[Api]:
    """A running service on SQLite."""
    yield from running(Api(made_service, f"sqlite:///{made_service / 'stillsafe.db'}"))


@pytest.fixture
def on_postgres(made_service: Path, proxy: Proxy) -> Iterator[Api]:
    """A running service on that PostgreSQL server, through the proxy."""
    yield from running(Api(with_store(made_service, proxy.url), proxy.url))


@pytest.fixture(params=["sqlite", "postgresql"])
def on_either(request: pytest.FixtureRequest) -> Api:
    """A running service, once on each store."""
    name = "on_sqlite" if request.param == "sqlite" else "on_postgres"
    api: Api = request.getfixturevalue(name)
    return api


def running(api: Api) -> Iterator[Api]:
    """Start a service, and kill it after the test."""
    try:
        api.start()
        yield api
    finally:
        api.kill()
