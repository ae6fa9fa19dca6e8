"""The fast path gives the answers of FastAPI's routes, without the framework."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from stillsafe.core.state import State
from stillsafe.serving.app import build
from tests.serving.services import GOOD, OLD, Service, fresh

BODIES: list[tuple[str, Any]] = [
    ("/v1/predict", {"features": GOOD}),
    ("/v1/predict", {"features": {**GOOD, "age": "x"}}),
    ("/v1/predict/batch", {"instances": [GOOD, OLD, {}]}),
    ("/v1/predict/batch", {"instances": []}),
]


def _comparable(document: Any) -> Any:
    """A response without what differs between two requests."""
    if isinstance(document, dict):
        return {k: _comparable(v) for k, v in document.items() if k not in ("prediction_id", "timestamp")}
    return [_comparable(each) for each in document] if isinstance(document, list) else document


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_both_ways_give_the_same_response(service: Service, path: str, body: Any) -> None:
    """Below another path, as in a mounted app, FastAPI's route answers: same status, headers and document."""
    service.decide(State.NORMAL)
    app = build(service.context)
    outer = FastAPI()
    outer.mount("/mounted", app)

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        is_mounted = scope["type"] == "http" and scope["path"].startswith("/mounted")
        await (outer if is_mounted else app)(scope, receive, send)

    with TestClient(both) as client:
        fast = client.post(path, json=body)
        slow = client.post(f"/mounted{path}", json=body)
    assert fast.status_code == slow.status_code
    assert _comparable(fast.json()) == _comparable(slow.json())
    assert fast.headers["content-type"] == slow.headers["content-type"]


@pytest.mark.parametrize(("path", "body"), [BODIES[0], BODIES[2]])
def test_added_middleware_sees_every_prediction(service: Service, path: str, body: Any) -> None:
    """A guard that is added to the application guards its predictions, too."""
    paths = []

    def guard(app: ASGIApp) -> ASGIApp:
        async def check(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                paths.append(scope["path"])
            await app(scope, receive, send)

        return check

    app = build(service.context)
    app.add_middleware(guard)
    with TestClient(app) as client:
        assert client.post(path, json=body).status_code == 200
    assert paths == [path]


def test_an_internal_error_is_answered_and_raised(service: Service) -> None:
    """The client gets a problem without the cause; the server gets the traceback for its log."""

    def broken_ids(_count: int) -> list[str]:
        raise KeyError("secret")

    app = build(fresh(service.context, new_ids=broken_ids))
    with TestClient(app) as client, pytest.raises(KeyError, match="secret"):
        client.post("/v1/predict", json={"features": GOOD})
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.post("/v1/predict", json={"features": GOOD})
    assert (response.status_code, "secret" in response.text) == (500, False)


def test_a_mounted_application_serves_without_a_lifespan_of_its_own(service: Service) -> None:
    """A server runs the lifespan of the outer application alone: the first request starts the inner one."""
    service.decide(State.NORMAL)
    outer = FastAPI()
    outer.mount("/guard", build(service.context))
    with TestClient(outer) as client:
        assert client.get("/guard/health/ready").status_code == 200
        statuses = [client.post(f"/guard{path}", json=body).status_code for path, body in BODIES]
    assert statuses == [200, 422, 200, 422]
    assert len(service.log()) == 3


@pytest.mark.parametrize("path", ["/v1/predict", "/guard/v1/predict"])
def test_each_event_loop_is_served(service: Service, path: str) -> None:
    """Without a lifespan a test client makes a loop for each request, and no request waits in one that is gone."""
    service.decide(State.NORMAL)
    inner = build(service.context)
    outer = FastAPI()
    outer.mount("/guard", inner)
    client = TestClient(outer if path.startswith("/guard") else inner)
    assert [client.post(path, json={"features": GOOD}).status_code for _ in range(3)] == [200, 200, 200]
    assert len(service.log()) == 3


def test_an_application_that_has_ended_accepts_nothing(service: Service) -> None:
    """After the end of its lifespan, a request in the same loop is told to try again, and is not recorded."""
    service.decide(State.NORMAL)
    app = build(service.context)

    async def statuses() -> list[int]:
        transport = ASGITransport(app)
        async with AsyncClient(transport=transport, base_url="http://localhost") as client:
            async with app.router.lifespan_context(app):
                first = await client.post("/v1/predict", json={"features": GOOD})
            second = await client.post("/v1/predict", json={"features": GOOD})
        return [first.status_code, second.status_code]

    assert asyncio.run(statuses()) == [200, 503]
    assert len(service.log()) == 1
