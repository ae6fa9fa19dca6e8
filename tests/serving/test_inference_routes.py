"""The Open Inference Protocol over HTTP: what its clients send and read, through the path of all predictions."""

import json
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from stillsafe.core.state import State
from stillsafe.serving.app import build
from tests.serving.services import GOOD, OLD, Service

MODEL = "/v2/models/stay"
INFER = f"{MODEL}/infer"
DATATYPES = {"age": "FP64", "visits": "INT64", "member": "BOOL", "town": "BYTES"}


def inference_body(*rows: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A request with a column per feature."""
    inputs = [
        {"name": name, "shape": [len(rows), 1], "datatype": kind, "data": [row.get(name) for row in rows]}
        for name, kind in DATATYPES.items()
    ]
    return {"inputs": inputs, **fields}


def _outputs(document: dict[str, Any]) -> dict[str, list[Any]]:
    return {each["name"]: each["data"] for each in document["outputs"]}


@pytest.mark.parametrize("path", [INFER, f"{MODEL}/versions/v1/infer"])
def test_the_answers_are_those_of_predictions(client: TestClient, service: Service, path: str) -> None:
    """The same values as by `/v1/predict`, recorded, with the request's id."""
    service.decide(State.NORMAL)
    answers = [client.post("/v1/predict", json={"features": row}).json() for row in (GOOD, OLD)]
    document = client.post(path, json=inference_body(GOOD, OLD, id="abc")).json()
    outputs = _outputs(document)
    assert document["id"] == "abc"
    assert outputs["predict"] == [answer["prediction"] for answer in answers]
    assert outputs["confidence"] == [answer["confidence"] for answer in answers]
    assert outputs["predict_proba"] == [value for each in answers for value in each["probabilities"].values()]
    log = {row.prediction_id: row for row in service.log()}
    assert [log[each].input_summary for each in outputs["prediction_id"]] == [GOOD, OLD]


def test_while_the_model_is_bypassed_the_fallback_answers(client: TestClient, service: Service) -> None:
    """The parameters say so."""
    service.decide(State.DEGRADED)
    document = client.post(INFER, json=inference_body(GOOD, OLD)).json()
    assert (document["parameters"]["system_state"], document["parameters"]["fallback_used"]) == ("DEGRADED", True)
    assert _outputs(document)["predict"] == ["no", "yes"]
    assert _outputs(document)["confidence"] == [None, None]


def test_a_wrong_row_refuses_the_request_and_is_recorded(client: TestClient, service: Service) -> None:
    """One text names the feature; no row is answered."""
    response = client.post(INFER, json=inference_body(GOOD, {**GOOD, "age": 200}))
    assert (response.status_code, [*response.json()]) == (400, ["error"])
    assert "age: above the maximum" in response.json()["error"]
    assert client.post(INFER, content=b"{").status_code == 400
    assert client.post(INFER, json=inference_body(GOOD, outputs=[{"name": "x"}])).status_code == 400
    assert service.log() == []
    assert [each["kind"] for each in service.refusals()[0].violations] == ["above_maximum"]
    assert len(service.refusals()) == 3


def test_binary_inputs_are_read(client: TestClient, service: Service) -> None:
    """As Triton's clients send them: the length of the JSON is a header."""
    inputs, binary = [], b""
    kinds = {"age": "<f8", "visits": "<i8", "member": "?"}
    for each in inference_body(GOOD, OLD)["inputs"]:
        values = each.pop("data")
        texts = [value.encode() for value in values if isinstance(value, str)]
        content = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        content = content or np.array(values, kinds.get(each["name"])).tobytes()
        inputs.append({**each, "parameters": {"binary_data_size": len(content)}})
        binary += content
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    assert client.post(INFER, content=head + binary, headers=headers).status_code == 200
    assert [row.input_summary for row in service.log()] == [GOOD, OLD]
    for length in ("x", str(len(head) - 1), "9" * 30):
        wrong = {**headers, "Inference-Header-Content-Length": length}
        assert client.post(INFER, content=head + binary, headers=wrong).status_code == 400
    del headers["Inference-Header-Content-Length"]
    assert client.post(INFER, content=head + binary, headers=headers).status_code == 415


def test_a_retry_by_its_header_gets_the_stored_answer(client: TestClient, service: Service) -> None:
    """And the id of the protocol, which clients repeat, makes none."""
    headers = {"Idempotency-Key": "k"}
    first, second = (client.post(INFER, json=inference_body(GOOD), headers=headers).json() for _ in range(2))
    assert first == second
    conflict = client.post(INFER, json=inference_body(OLD), headers=headers)
    assert (conflict.status_code, [*conflict.json()]) == (409, ["error"])
    for _ in range(2):
        assert client.post(INFER, json=inference_body(GOOD, id="1")).status_code == 200
    assert len(service.log()) == 3


def test_health_and_metadata(client: TestClient, service: Service) -> None:
    """Live, ready and what the model takes; GET and HEAD."""
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get(f"{MODEL}/ready").json() == {"name": "stay", "ready": True}
    assert client.get(f"{MODEL}/versions/v1/ready").status_code == 200
    assert client.get("/v2").json()["name"] == "stillsafe"
    assert client.get(MODEL).json() == client.get(f"{MODEL}/versions/v1").json()
    assert [each["name"] for each in client.get(MODEL).json()["inputs"]] == [*DATATYPES]
    head = client.head("/v2/health/ready")
    assert (head.status_code, head.content) == (200, b"")


def test_a_service_that_cannot_record_is_not_ready(client: TestClient, service: Service) -> None:
    """503, in the protocol's form."""
    service.close_store()
    assert client.post(INFER, json=inference_body(GOOD)).status_code == 503
    response = client.get("/v2/health/ready")
    assert (response.status_code, response.json()["ready"]) == (503, False)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", f"{MODEL}/versions/v2/infer", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", INFER, 405),
    ],
)
def test_every_error_below_v2_has_the_form_of_the_protocol(
    client: TestClient, method: str, path: str, status: int
) -> None:
    """Also those of the framework."""
    response = client.request(method, path, json=inference_body(GOOD) if method == "POST" else None)
    assert (response.status_code, [*response.json()]) == (status, ["error"])
    assert response.headers["content-type"] == "application/json"


def test_both_ways_answer_alike(service: Service) -> None:
    """With middleware no request takes the fast path."""
    service.decide(State.NORMAL)
    app, slow = build(service.context), build(service.context)
    slow.add_middleware(lambda inner: inner)
    bodies: list[Any] = [inference_body(GOOD), inference_body({**GOOD, "age": "x"}), {}]
    with TestClient(app) as fast_client, TestClient(slow) as slow_client:
        for body in bodies:
            one, other = fast_client.post(INFER, json=body), slow_client.post(INFER, json=body)
            assert (one.status_code, one.headers["content-type"]) == (other.status_code, other.headers["content-type"])
            names = one.json().keys()
            assert names == other.json().keys()
