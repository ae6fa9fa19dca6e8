"""A service with keys for each test."""

import pytest

from tests.serving.access.keyed import KeyedService, keyed_service_of
from tests.serving.services import Service


@pytest.fixture
def keyed_service(service: Service) -> KeyedService:
    """A service whose clients need keys."""
    return keyed_service_of(service)
