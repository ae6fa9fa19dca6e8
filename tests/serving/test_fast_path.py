"""The fast path gives the answers of FastAPI's routes, without the framework."""

from typing import Any

import pytest
from fastapi import FastAPI
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

    def broken_id() -> str:
        raise KeyError("secret")

    app = build(fresh(service.context, new_id=broken_id))
    with TestClient(app) as client, pytest.raises(KeyError, match="secret"):
        client.post("/v1/predict", json={"features": GOOD})
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.post("/v1/predict", json={"features": GOOD})
    assert (response.status_code, "secret" in response.text) == (500, False)
