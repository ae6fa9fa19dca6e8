"""A query that a reading route cannot follow is refused with the names, and no default answers in its place."""

import pytest
from starlette.testclient import TestClient

from tests.serving.services import Service

PATHS = (
    *("/v1/state", "/v1/incidents", "/v1/incidents/x", "/v1/windows", "/v1/baseline", "/v1/model", "/v1/schema"),
    *("/v1/performance", "/v1/predictions/x"),
)


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_parameter_is_named(client: TestClient, service: Service, path: str) -> None:
    """On every reading route, beside any that it knows."""
    answer = client.get(path, params={"since": "xx"})
    assert answer.status_code == 422
    assert "wrong parameters: since" in answer.json()["detail"]
    assert client.get("/v1/windows", params={"limit": 2}).status_code == 200


def test_a_parameter_that_comes_twice_is_no_choice(client: TestClient, service: Service) -> None:
    """The last one had been taken without a word."""
    answer = client.get("/v1/predictions?id=a&id=b")
    assert answer.status_code == 422
    assert "wrong parameters: id" in answer.json()["detail"]
    assert client.get("/v1/performance?by=day&by=version").status_code == 422
