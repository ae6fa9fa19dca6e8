"""Hold and release over HTTP do what the command line does, with the key's name on record."""

import json
from typing import Any

import pytest
from sqlalchemy import select, text

from stillsafe.serving.access.keys import KeyScope
from stillsafe.store import database
from stillsafe.store.tables import operator_actions
from tests.serving.access.keyed import KeyedService, keyed_service_of
from tests.serving.services import GOOD, Service


@pytest.fixture
def keyed_service(service: Service) -> KeyedService:
    """A service whose clients need keys."""
    return keyed_service_of(service)


def actions(service: Service) -> list[tuple[str, str, str]]:
    """What operators did: action, who and why."""
    table = operator_actions.c
    with database.reading(service.engine) as connection:
        rows = connection.execute(select(table.action, table.by, table.reason).order_by(table.id))
        return [tuple(row) for row in rows]


def test_a_hold_and_its_release(keyed_service: KeyedService) -> None:
    """The fallback answers from the next request on, until the release; a second one of either is a conflict."""
    predicting = {"Authorization": f"Bearer {keyed_service.keys[KeyScope.PREDICT]}"}
    with keyed_service.client(keyed_service.keys[KeyScope.OPERATE]) as client:

        def uses_fallback() -> Any:
            return client.post("/v1/predict", json={"features": GOOD}, headers=predicting).json()["fallback_used"]

        assert uses_fallback() is False
        held = client.post("/v1/hold", json={"state": "DEGRADED", "reason": " a bad deploy ", "by": "Ada"})
        assert (held.status_code, held.json()) == (
            200,
            {
                "state": "DEGRADED",
                "held": True,
                "by": "Ada (key operate)",
                "reason": "a bad deploy",
                "evidence_says": "NORMAL",
            },
        )
        assert uses_fallback() is True
        again = client.post("/v1/hold", json={"reason": "again"})
        assert (again.status_code, "Held already by Ada" in again.json()["detail"]) == (409, True)
        end = client.post("/v1/release", json={"reason": "rolled back"})
        assert (end.json()["state"], end.json()["held"], end.json()["by"]) == (
            "NORMAL",
            False,
            "operate",
        )
        assert uses_fallback() is False
        assert client.post("/v1/release", json={"reason": "again"}).status_code == 409
    assert actions(keyed_service.service) == [
        ("hold", "Ada (key operate)", "a bad deploy"),
        ("release", "operate", "rolled back"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "  "},
        {"reason": "two\nlines"},
        {"reason": "x" * 501},
        {"reason": 7},
        {"reason": "x", "by": "a\tb"},
        {"reason": "x", "by": "b" * 101},
        {"reason": "x", "state": "NORMAL"},
        {"reason": "x", "more": 1},
        {"reason": "\x00"},
        {"reason": "\u00a0 "},
        {"reason": "right\u202eleft"},
        {"reason": "half a pair \ud800"},
        [],
        "hold",
        None,
    ],
)
def test_a_wrong_body_holds_nothing(keyed_service: KeyedService, body: Any) -> None:
    """422 with the part at fault; nothing is recorded, neither as an action nor as a refusal of the model's clients."""
    with keyed_service.client(keyed_service.keys[KeyScope.OPERATE]) as client:
        answer = client.post("/v1/hold", content=json.dumps(body))  # ASCII, as half a pair needs it
    assert (answer.status_code, bool(answer.json()["violations"])) == (422, True)
    assert (actions(keyed_service.service), keyed_service.service.refusals()) == ([], [])


def test_other_bodies_are_refused_by_their_head_or_length(keyed_service: KeyedService) -> None:
    """As those of predictions are."""
    with keyed_service.client(keyed_service.keys[KeyScope.OPERATE]) as client:
        assert client.post("/v1/hold", content="{", headers={"Content-Type": "text/plain"}).status_code == 415
        assert client.post("/v1/hold", content=b" " * 20_000).status_code == 413
        assert client.post("/v1/hold", content='{"reason": "a", "reason": "b"}').status_code == 422
        assert client.post("/v1/hold", content="{").status_code == 422
        assert client.post("/v1/release", json={"reason": "x", "state": "DEGRADED"}).status_code == 422


def test_a_store_that_cannot_be_written_is_said(keyed_service: KeyedService) -> None:
    """503: no hold is acknowledged that is not on the disk."""
    with database.writing(keyed_service.service.engine) as connection:
        connection.execute(text("ALTER TABLE operator_actions RENAME TO away"))
    with keyed_service.client(keyed_service.keys[KeyScope.OPERATE]) as client:
        assert client.post("/v1/hold", json={"reason": "x"}).status_code == 503
