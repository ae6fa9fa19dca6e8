"""One fitted model for all tests of the serving side, and for each test a service of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from stillsafe.serving.app import build
from tests.serving.services import Service, fitted_pipeline, opened, save_model


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model, saved with skops."""
    return save_model(fitted_pipeline(), tmp_path_factory.mktemp("model"))


@pytest.fixture
def service(model_file: Path, tmp_path: Path) -> Iterator[Service]:
    """A service on a new database, where nothing was ever decided."""
    shutil.copy(model_file, tmp_path)
    yield from opened(tmp_path)


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    """A client of that service."""
    with TestClient(build(service.context), raise_server_exceptions=False) as client:
        yield client
