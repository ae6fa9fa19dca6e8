"""The HTTP contract: routes translate, every error is a problem, and no malformed input reaches the model."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from stillsafe.core.state import State
from stillsafe.serving.app import build
from stillsafe.serving.body.instances import UNKNOWN_NAME
from stillsafe.serving.problems import ProblemDocument
from stillsafe.serving.schemas import BatchDocument, PredictionDocument
from tests.serving.services import GOOD, OLD, Service

PREDICT, BATCH = "/v1/predict", "/v1/predict/batch"


def _problem(response: Any, status: int) -> ProblemDocument:
    """The problem in a response, checked against its own documentation."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = ProblemDocument.model_validate_json(response.content)
    assert document.status == status
    return document


def _features(**changes: Any) -> dict[str, Any]:
    return {"features": {**GOOD, **changes}}


def test_a_prediction_is_what_is_documented(service: Service, client: TestClient) -> None:
    """Every field of the contract, and no other."""
    service.decide(State.NORMAL)
    service.watch()
    response = client.post(PREDICT, json=_features())
    answer = PredictionDocument.model_validate_json(response.content)
    assert response.status_code == 200
    assert (answer.prediction, answer.decided_by, answer.system_state) == ("no", "model", "NORMAL")
    assert answer.probabilities is not None
    assert answer.confidence == max(answer.probabilities.values())
    assert (answer.watched, answer.monitor_stale, answer.fallback_used) == (True, False, False)
    assert answer.prediction_id == service.log()[0].prediction_id


def test_a_degraded_answer_is_the_fallback(service: Service, client: TestClient) -> None:
    """With a null for the confidence."""
    service.decide(State.DEGRADED)
    answer = client.post(PREDICT, json={"features": OLD}).json()
    assert (answer["prediction"], answer["confidence"], answer["probabilities"]) == ("yes", None, None)
    assert (answer["decided_by"], answer["fallback_used"], answer["system_state"]) == ("fallback", True, "DEGRADED")


def _raw(age: str = "1", visits: str = "1", member: str = "true", more: str = "") -> bytes:
    """A body as text, so that it can hold what JSON cannot."""
    return f'{{"features": {{"age": {age}, "visits": {visits}, "member": {member}{more}}}}}'.encode()


INPUT_DEFECTS: list[tuple[bytes, list[tuple[str, str]]]] = [
    (_raw(age="NaN"), [("age", "not_finite")]),
    (_raw(visits="NaN"), [("visits", "not_finite")]),
    (_raw(age="1e999"), [("age", "not_finite")]),
    (_raw(age="-Infinity"), [("age", "not_finite")]),
    (_raw(age="9" * 400), [("age", "not_finite")]),
    (_raw(age='"44"'), [("age", "wrong_type")]),
    (_raw(age="false"), [("age", "wrong_type")]),
    (_raw(visits="true"), [("visits", "wrong_type")]),
    (_raw(visits="1.5"), [("visits", "wrong_type")]),
    (_raw(member="1"), [("member", "wrong_type")]),
    (_raw(age="[1]", visits="{}"), [("age", "wrong_type"), ("visits", "wrong_type")]),
    (_raw("121", "-1", "null"), [("age", "above_maximum"), ("visits", "below_minimum"), ("member", "missing")]),
    (_raw(more=', "age": 2'), [("age", "repeated")]),
    (_raw(more=', "x": 1'), [("x", "unknown_feature")]),
    (_raw(more=f', "town": "{"x" * 10_000}"'), [("town", "too_long")]),
    (_raw(more=', "town": "\\ud83d"'), [("town", "not_allowed")]),
    (b'{"features": {}}', [("age", "missing"), ("visits", "missing"), ("member", "missing")]),
    (b'{"features": null}', [("features", "wrong_type")]),
    (b'{"age": 1}', [("features", "missing"), ("age", "unknown_key")]),
    (_raw(age="9" * 9000), [("body", "not_json")]),
    (b"not json", [("body", "not_json")]),
    (b"", [("body", "not_json")]),
    (b"\xff", [("body", "not_utf8")]),
    (b"[" * 50_000, [("body", "too_deep")]),
    (b'{"features": ' + b"[" * 20 + b"]" * 20 + b"}", [("body", "too_deep")]),
]
HEADER_DEFECTS = [
    {"content-type": "text/plain"},
    {"content-type": "application/x-www-form-urlencoded"},
    {"content-type": "application/json; charset=latin-1"},
    {"content-encoding": "gzip"},
]
DEFECTS: list[tuple[bytes, dict[str, str], int, list[tuple[str, str]]]] = [
    *((body, {}, 422, wrong) for body, wrong in INPUT_DEFECTS),
    *((_raw(), headers, 415, [("body", "wrong_media_type")]) for headers in HEADER_DEFECTS),
    (b" " * 200_000, {}, 413, [("body", "too_large")]),
]


@pytest.fixture
def narrow(service: Service) -> Iterator[TestClient]:
    """A client of a service with small limits."""
    narrow_service = service.with_settings(serving={"max_body_bytes": 100_000, "max_batch": 3})
    with TestClient(build(narrow_service.context), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(("body", "headers", "status", "wrong"), DEFECTS)
def test_malformed_input_never_reaches_the_model(
    service: Service,
    narrow: TestClient,
    body: bytes,
    headers: dict[str, str],
    status: int,
    wrong: list[tuple[str, str]],
) -> None:
    """4xx that names each feature, what was wrong and what is allowed; recorded as a refusal, without values.

    Nor is a name recorded that the client made up: it may be a value in the wrong place.
    """
    refusal = _problem(narrow.post(PREDICT, content=body, headers=headers), status)
    assert [(each.feature, each.kind) for each in refusal.violations] == wrong
    assert all(each.problem and each.allowed for each in refusal.violations)
    assert service.log() == []
    refusals = [[(each["feature"], each["kind"]) for each in row.violations] for row in service.refusals()]
    assert refusals == [[(UNKNOWN_NAME if name == "x" else name, kind) for name, kind in wrong]]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "application/json"},
        {"content-type": "Application/JSON; charset=UTF-8"},
        {"content-type": 'application/json;charset="utf-8"'},
    ],
)
def test_a_content_type_is_optional(client: TestClient, headers: dict[str, str]) -> None:
    """JSON without a content type is accepted."""
    assert client.post(PREDICT, content=json.dumps(_features()), headers=headers).status_code == 200


def test_a_chunked_body_has_the_same_limit(narrow: TestClient) -> None:
    """It applies without a Content-Length, too."""

    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 1000

    _problem(narrow.post(PREDICT, content=chunks()), 413)
    short_length = narrow.post(PREDICT, content=json.dumps(_features()), headers={"content-length": "1"})
    assert short_length.status_code < 500


def test_a_batch_keeps_order_and_answers_each_instance_by_itself(service: Service, narrow: TestClient) -> None:
    """Per instance an answer or a problem, as in a single request."""
    service.decide(State.NORMAL)
    instances = b'[{"age": 30, "visits": 3, "member": true}, {"age": NaN, "age": 1}, 7]'
    response = narrow.post(BATCH, content=b'{"instances": ' + instances + b"}")
    assert response.status_code == 200
    results = BatchDocument.model_validate_json(response.content).results
    assert isinstance(results[0], PredictionDocument)
    assert [each.error.violations[0].kind for each in results[1:]] == ["repeated", "wrong_type"]  # type: ignore[union-attr] # both were refused
    single = narrow.post(PREDICT, json={"features": {"age": 30, "visits": 3, "member": True}}).json()
    assert results[0].prediction == single["prediction"]
    assert results[0].confidence == pytest.approx(single["confidence"])
    assert (len(service.log()), len(service.refusals())) == (2, 2)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"instances": []}, 422, "missing"),
        ({"instances": [GOOD] * 4}, 413, "too_many"),
        ({"instances": GOOD}, 422, "wrong_type"),
        ({"features": GOOD}, 422, "missing"),
        ([GOOD], 422, "wrong_type"),
    ],
)
def test_an_invalid_batch_is_refused_and_recorded(
    service: Service, narrow: TestClient, body: Any, status: int, kind: str
) -> None:
    """Empty, too long or no batch at all: one refusal."""
    assert _problem(narrow.post(BATCH, json=body), status).violations[0].kind == kind
    assert len(service.refusals()) == 1


@pytest.mark.parametrize("path", [PREDICT, BATCH])
def test_a_store_that_is_down_is_a_clear_503(service: Service, client: TestClient, path: str) -> None:
    """An answer that cannot be recorded is not given; the problem says when to try again, and nothing of the SQL."""
    service.decide(State.NORMAL)
    service.close_store()
    response = client.post(path, json={"features": GOOD} if path == PREDICT else {"instances": [GOOD, {}]})
    assert "prediction_logs" not in _problem(response, 503).detail
    assert int(response.headers["retry-after"]) > 0


def test_a_refusal_needs_no_store(service: Service, client: TestClient) -> None:
    """A bad request is refused, whether or not the refusal can be recorded."""
    service.close_store()
    _problem(client.post(PREDICT, json={"features": {}}), 422)
    results = client.post(BATCH, json={"instances": [{}]}).json()["results"]
    assert results[0]["error"]["status"] == 422


def test_an_internal_error_is_a_problem_too(service: Service) -> None:
    """Its cause is not shown."""

    def broken_ids(_count: int) -> list[str]:
        raise KeyError("secret")

    from tests.serving.services import fresh

    app = build(fresh(service.context, new_ids=broken_ids))
    with TestClient(app, raise_server_exceptions=False) as client:
        failure = _problem(client.post(PREDICT, json=_features()), 500)
    assert "secret" not in failure.detail


def open_databases() -> set[str]:
    """The databases of services that this process has open."""
    files = {os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()}
    return {each for each in files if "stillsafe.db" in each}


def test_an_app_can_be_opened_again(service: Service) -> None:
    """Its lifespan may begin and end more than once. See `test_fast_path.py` for requests outside of one.

    Each end closes what its beginning opened: a program that makes many applications keeps no thread and no file.
    """
    client, threads = TestClient(build(service.context), raise_server_exceptions=False), {*threading.enumerate()}
    others = open_databases()
    for _ in range(2):
        with client:
            assert client.post(PREDICT, json=_features()).status_code == 200
        new_threads = [each for each in {*threading.enumerate()} - threads if each.name.startswith("stillsafe-")]
        for thread in new_threads:
            if thread.name != "stillsafe-time-share_0":  # which ends with the application
                thread.join(10)
                assert not thread.is_alive(), thread.name
        assert open_databases() - others == set()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/predict/", 404),
        ("GET", PREDICT, 405),
        ("DELETE", "/v1/state", 405),
        ("GET", "/v1/incidents/none", 404),
        ("GET", "/v1/incidents/%00", 404),
        ("GET", "/v1/incidents?limit=0", 422),
        ("GET", "/v1/incidents?limit=1001", 422),
        ("GET", "/v1/incidents?limit=1e999", 422),
        ("GET", "/v1/incidents?unresolved=perhaps", 422),
        ("GET", "/v1/windows?limit=nan", 422),
        ("GET", "/v1/windows?limit=99999999999999999999999", 422),
        ("GET", "/v1/baseline", 404),
    ],
)
def test_every_error_is_a_problem(client: TestClient, method: str, path: str, status: int) -> None:
    """RFC 9457 everywhere, naming the parameter where one is at fault."""
    document = _problem(client.request(method, path), status)
    assert [each.feature for each in document.violations] == (
        [path.partition("?")[2].partition("=")[0]] if status == 422 else []
    )


def test_the_documentation_covers_requests_answers_and_errors(client: TestClient) -> None:
    """Every route has its schemas and its errors, and every reference has a target."""
    document = client.get("/openapi.json").json()
    shapes = document["components"]["schemas"]
    text = json.dumps(document)
    assert {name.rpartition("/")[2] for name in TypeAdapter(list[str]).validate_python(_references(document))} <= set(
        shapes
    )
    for path in (PREDICT, BATCH):
        route = document["paths"][path]["post"]
        assert {"200", "400", "408", "413", "415", "422", "500", "503"} <= set(route["responses"])
        for status, response in route["responses"].items():
            assert ("application/problem+json" in response["content"]) == (status != "200")
        assert "age" in json.dumps(route["requestBody"])
    assert "HTTPValidationError" not in text
    assert client.get("/docs").status_code == 200


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [reference for each in value.values() for reference in _references(each)]
    return [reference for each in value for reference in _references(each)] if isinstance(value, list) else []
