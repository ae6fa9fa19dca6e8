"""Ids of requests through the whole application: a retry is no second request."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from stillsafe.core.state import State
from stillsafe.serving.app import build
from tests.serving.services import GOOD, OLD, Service

KEY = {"Idempotency-Key": "order-1"}
WAYS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "body": ({"id": "order-1", "features": GOOD}, {}),
    "header": ({"features": GOOD}, KEY),
    "quoted header": ({"features": GOOD}, {"Idempotency-Key": '"order-1"'}),
    "both": ({"id": "order-1", "features": GOOD}, KEY),
    "strict parser": ({"id": "order-1", "features": {**GOOD}, "synthetic": False}, {}),
}


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("second", WAYS)
def test_a_retry_gets_the_stored_answer_and_no_second_row(
    client: TestClient, service: Service, first: str, second: str
) -> None:
    """Wherever the id stands, whoever decides meanwhile, and however the body is written."""
    service.decide(State.NORMAL)
    answers = []
    for way in (first, second):
        body, headers = WAYS[way]
        answers.append(client.post("/v1/predict", json=body, headers=headers))
        service.clock.now += timedelta(minutes=1)
        service.decide(State.DEGRADED)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["id"] == "order-1"
    assert answers[1].json() == answers[0].json()
    assert len(service.log()) == 1
    assert "stillsafe_repeated_requests_total 1.0" in client.get("/metrics").text


def test_the_same_id_with_another_content_is_a_conflict(client: TestClient, service: Service) -> None:
    """409, no row, and no refusal, since refusals are evidence about the features."""
    for body, status in [({"id": "a", "features": GOOD}, 200), ({"id": "a", "features": OLD}, 409)]:
        assert client.post("/v1/predict", json=body).status_code == status
    synthetic_answer = client.post("/v1/predict", json={"id": "a", "features": GOOD, "synthetic": True})
    assert synthetic_answer.status_code == 409
    assert (len(service.log()), service.refusals()) == (1, [])
    assert "stillsafe_id_conflicts_total 2.0" in client.get("/metrics").text


def test_a_request_for_the_fallback_is_another_one(client: TestClient, service: Service) -> None:
    """The model's stored answer is never given to whoever asks for the fallback; a retry gets the fallback's."""
    body = {"id": "a", "features": GOOD}
    assert client.post("/v1/predict", json=body).json()["fallback_used"] is False
    assert client.post("/v1/fallback", json=body).status_code == 409
    answers = [client.post("/v1/fallback", json={**body, "id": "b"}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["fallback_used"] is True
    assert client.post("/v1/predict", json={**body, "id": "b"}).status_code == 409
    assert len(service.log()) == 2


def test_requests_without_an_id_are_never_retries(client: TestClient, service: Service) -> None:
    """Equal features are two requests."""
    for _ in range(2):
        assert client.post("/v1/predict", json={"features": GOOD}).json()["id"] is None
    assert len(service.log()) == 2


@pytest.mark.parametrize("bad_id", ["", "x" * 201, "a\nb", "a\u0000", 7, True, ["a"], {}, "\ud800"])
def test_a_wrong_id_is_refused(client: TestClient, service: Service, bad_id: object) -> None:
    """422 names the key, alone and in a batch; the other instances are answered."""
    content = json.dumps({"id": bad_id, "features": GOOD}).encode()
    answer = client.post("/v1/predict", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, [each["feature"] for each in answer.json()["violations"]]) == (422, ["id"])
    batch = json.dumps({"instances": [{"id": bad_id, "features": GOOD}, {"id": "ok", "features": GOOD}]}).encode()
    results = client.post("/v1/predict/batch", content=batch, headers={"content-type": "application/json"}).json()
    assert results["results"][0]["error"]["status"] == 422
    assert results["results"][1]["id"] == "ok"
    assert len(service.log()) == 1


@pytest.mark.parametrize("headers", [{"Idempotency-Key": ""}, {"Idempotency-Key": "k" * 201}])
def test_a_wrong_header_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    """As a wrong id in the body is."""
    answer = client.post("/v1/predict", json={"features": GOOD}, headers=headers)
    assert (answer.status_code, answer.json()["violations"][0]["feature"]) == (422, "Idempotency-Key")


def test_a_body_and_a_header_with_two_ids_are_refused(client: TestClient) -> None:
    """Neither of them is more right."""
    assert client.post("/v1/predict", json={"id": "b", "features": GOOD}, headers=KEY).status_code == 409


def test_a_batch_has_an_id_per_instance(client: TestClient, service: Service) -> None:
    """Its retry gets the stored answers in order; new, plain and conflicting instances stand beside them."""
    service.decide(State.NORMAL)
    first = {"instances": [{"id": "a", "features": GOOD}, {"features": OLD}, {"id": "b", "features": OLD}]}
    old = client.post("/v1/predict/batch", json=first).json()["results"]
    second = {
        "instances": [
            {"id": "b", "features": OLD},
            GOOD,
            {"id": "a", "features": OLD},
            {"id": "c", "features": GOOD},
            {"id": "c", "features": GOOD},
        ]
    }
    new = client.post("/v1/predict/batch", json=second).json()["results"]
    assert new[0] == old[2]
    assert new[2]["error"]["status"] == 409
    assert new[3] == new[4]
    assert len(service.log()) == 3 + 2


def test_the_key_of_a_batch_names_each_instance(client: TestClient, service: Service) -> None:
    """A retry of the whole batch has the answers of the first; an instance keeps an id of its own."""
    body = {"instances": [GOOD, OLD, {"id": "own", "features": GOOD}]}
    answers = [client.post("/v1/predict/batch", json=body, headers=KEY).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert [each["id"] for each in answers[0]["results"]] == ["order-1#0", "order-1#1", "own"]
    assert len(service.log()) == 3


def test_an_id_is_free_again_after_its_time(client: TestClient, service: Service) -> None:
    """`[ids] keep`, 30 days by default: the id then belongs to the newer request."""
    first = client.post("/v1/predict", json={"id": "a", "features": GOOD}).json()
    service.clock.now += timedelta(days=30, seconds=1)
    second = client.post("/v1/predict", json={"id": "a", "features": OLD}).json()
    assert second["prediction_id"] != first["prediction_id"]
    assert client.post("/v1/predict", json={"id": "a", "features": OLD}).json() == second
    assert client.post("/v1/predict", json={"id": "a", "features": GOOD}).status_code == 409
    assert len(service.log()) == 2


def test_many_processes_agree_on_the_owner_of_an_id(service: Service) -> None:
    """Two applications on one database, each asked for the same ids at the same time: one row for each id."""
    service.decide(State.NORMAL)
    other = Service(service.with_settings().context, service.clock)
    with TestClient(build(service.context)) as one, TestClient(build(other.context)) as two:

        def ask(number: int) -> str:
            body = {"id": f"r{number // 4}", "features": GOOD}
            answer = (one, two)[number % 2].post("/v1/predict", json=body).json()
            return f"{answer['id']} {answer['prediction_id']}"

        with ThreadPoolExecutor(8) as threads:
            answers = set(threads.map(ask, range(200)))
    assert len(answers) == len(service.log()) == 50
