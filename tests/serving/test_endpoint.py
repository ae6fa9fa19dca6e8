"""The prediction endpoint: a body in, the bytes of recorded answers out."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.serving import endpoint as prediction_endpoint
from stillsafe.serving.body import json_body
from stillsafe.serving.endpoint import PredictionEndpoint
from stillsafe.serving.problems import RefusedRequest
from tests.serving.services import GOOD, OLD, Service

SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "headers": []}


def _receive(body: Any) -> Callable[[], Awaitable[dict[str, Any]]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content}

    return receive


def _run(service: Service, story: Callable[[PredictionEndpoint], Awaitable[Any]]) -> Any:
    """The result of a story that runs while the batchers are started."""

    async def run() -> Any:
        endpoint = prediction_endpoint.build(service.context)
        endpoint.predictions.start()
        endpoint.refusals.start()
        try:
            return await story(endpoint)
        finally:
            await endpoint.predictions.close()
            await endpoint.refusals.close()

    return asyncio.run(run())


def _predict(service: Service, body: Any) -> Any:
    return json.loads(_run(service, lambda endpoint: endpoint.predict(SCOPE, _receive(body))))


def _predict_batch(service: Service, body: Any) -> Any:
    return json.loads(_run(service, lambda endpoint: endpoint.predict_batch(SCOPE, _receive(body))))["results"]


def test_an_answer_is_recorded_before_it_is_returned(service: Service) -> None:
    """The log has the row of the answer."""
    service.decide(State.NORMAL)
    answer = _predict(service, {"features": GOOD})
    assert [row.prediction_id for row in service.log()] == [answer["prediction_id"]]


def test_the_fast_decoder_and_the_strict_parser_lead_to_the_same_answer(service: Service) -> None:
    """A body with an escape takes the strict parser."""
    service.decide(State.NORMAL)
    content = json.dumps({"features": GOOD}).replace("Ulm", "\\u0055lm").encode()
    answers = [_predict(service, body) for body in ({"features": GOOD}, content)]
    assert answers[0]["probabilities"] == answers[1]["probabilities"]
    assert [row.input_summary["town"] for row in service.log()] == ["Ulm", "Ulm"]


def test_a_refused_request_is_recorded_and_counted(service: Service) -> None:
    """With the features and kinds at fault, and no prediction."""

    async def story(endpoint: PredictionEndpoint) -> bytes:
        with pytest.raises(RefusedRequest):
            await endpoint.predict(SCOPE, _receive({"features": {**GOOD, "age": "x"}}))
        return endpoint.metrics.text()

    assert b'stillsafe_refusals_total{kind="wrong_type"} 1.0' in _run(service, story)
    assert [row.violations for row in service.refusals()] == [[{"feature": "age", "kind": "wrong_type"}]]
    assert service.log() == []


def test_a_batch_keeps_the_order_of_its_instances(service: Service) -> None:
    """Answers and refusals stand where their instances stood."""
    service.decide(State.DEGRADED)
    results = _predict_batch(service, {"instances": [OLD, {}, GOOD]})
    assert [each.get("prediction") for each in results] == ["yes", None, "no"]
    assert results[1]["error"]["status"] == 422
    assert (len(service.log()), len(service.refusals())) == (2, 1)


def test_a_store_error_is_counted_and_raised(service: Service) -> None:
    """An answer that cannot be recorded is not given; a refusal is, though it cannot be recorded either."""
    service.close_store()

    async def story(endpoint: PredictionEndpoint) -> bytes:
        with pytest.raises(StoreError):
            await endpoint.predict(SCOPE, _receive({"features": GOOD}))
        with pytest.raises(RefusedRequest):
            await endpoint.predict(SCOPE, _receive({"features": {}}))
        return endpoint.metrics.text()

    assert b"stillsafe_store_errors_total 2.0" in _run(service, story)


SYNTHETIC_SCOPE = {**SCOPE, "headers": [(b"stillsafe-synthetic", b"true")]}


@pytest.mark.parametrize(
    ("scope", "marks"),
    [(SCOPE, {"synthetic": True}), (SYNTHETIC_SCOPE, {}), (SYNTHETIC_SCOPE, {"synthetic": False})],
    ids=["body", "header", "header beside false"],
)
def test_a_synthetic_request_is_answered_logged_and_counted(
    service: Service, scope: dict[str, Any], marks: dict[str, bool]
) -> None:
    """By its body or its header, alone or as a batch: each row has the flag, and its answer is an ordinary one."""
    service.decide(State.NORMAL)

    async def story(endpoint: PredictionEndpoint) -> tuple[bytes, bytes]:
        await endpoint.predict(scope, _receive({"features": GOOD, **marks}))
        await endpoint.predict_batch(scope, _receive({"instances": [GOOD, OLD], **marks}))
        answer = await endpoint.predict(SCOPE, _receive({"features": GOOD, "synthetic": False}))
        return answer, endpoint.metrics.text()

    answer, metrics = _run(service, story)
    assert json.loads(answer)["decided_by"] == "model"
    assert [row.synthetic for row in service.log()] == [True, True, True, False]
    assert b"stillsafe_synthetic_requests_total 3.0" in metrics


@pytest.mark.parametrize(
    ("scope", "body", "place"),
    [
        (SCOPE, {"features": GOOD, "synthetic": "yes"}, "synthetic"),
        (SCOPE, {"features": GOOD, "synthetic": None}, "synthetic"),
        ({**SCOPE, "headers": [(b"stillsafe-synthetic", b"maybe")]}, {"features": GOOD}, "Stillsafe-Synthetic"),
    ],
)
def test_a_mark_that_is_neither_true_nor_false_is_refused(
    service: Service, scope: dict[str, Any], body: Any, place: str
) -> None:
    """A probe whose mark was ignored would be evidence."""

    async def story(endpoint: PredictionEndpoint) -> RefusedRequest:
        with pytest.raises(RefusedRequest) as refusal:
            await endpoint.predict(scope, _receive(body))
        return refusal.value

    refusal = _run(service, story)
    assert (refusal.problem.status, [each.feature for each in refusal.problem.violations]) == (422, [place])
    assert service.log() == []


def test_a_refused_synthetic_request_is_no_evidence(service: Service) -> None:
    """It is counted in the metrics, and the log of refusals, which the monitor reads, has no row of it."""

    async def story(endpoint: PredictionEndpoint) -> bytes:
        for body in ({"features": {}, "synthetic": True}, {"features": GOOD, "synthetic": True, "more": 1}):
            with pytest.raises(RefusedRequest):
                await endpoint.predict(SCOPE, _receive(body))
        await endpoint.predict_batch(SYNTHETIC_SCOPE, _receive({"instances": [{}, GOOD]}))
        return endpoint.metrics.text()

    service.decide(State.NORMAL)
    metrics = _run(service, story)
    assert b"stillsafe_synthetic_requests_total 4.0" in metrics
    assert b'stillsafe_refusals_total{kind="unknown_key"} 1.0' in metrics
    assert (service.refusals(), len(service.log())) == ([], 1)


UNKNOWN_KEYS = {f"key{number:04d}": 1 for number in range(80)}
LARGE_BODIES: dict[str, dict[str, Any]] = {
    "one object": {"features": {f"key{number:06d}": 1 for number in range(60_000)}},
    "one envelope": {"features": GOOD, **{f"key{number:06d}": 1 for number in range(60_000)}},
    "many instances": {"instances": [UNKNOWN_KEYS] * 800},
    "some instances": {"instances": [UNKNOWN_KEYS, GOOD] * 400},
}


@pytest.mark.parametrize("name", LARGE_BODIES)
def test_what_a_large_wrong_body_costs_is_bounded(service: Service, monkeypatch: Any, name: str) -> None:
    """Its answer and what is stored of it are no longer than the body, and the event loop does not parse it."""
    threads: list[str] = []
    parse = json_body.parse

    def note_thread(content: bytes, *, interruptible: bool = False) -> Any:
        threads.append(f"{threading.current_thread() is threading.main_thread()} {interruptible}")
        return parse(content, interruptible=interruptible)

    async def story(endpoint: PredictionEndpoint) -> bytes:
        method = endpoint.predict_batch if "instances" in LARGE_BODIES[name] else endpoint.predict
        try:
            return await method(SCOPE, _receive(LARGE_BODIES[name]))
        except RefusedRequest as refusal:
            return json.dumps(refusal.problem.document()).encode()

    service.decide(State.NORMAL)
    monkeypatch.setattr(json_body, "parse", note_thread)
    answer = _run(service, story)
    body_bytes = len(json.dumps(LARGE_BODIES[name]))
    stored_bytes = sum(len(json.dumps(row.violations)) for row in service.refusals())
    problems = [result["error"] for result in json.loads(answer).get("results", []) if "error" in result]
    assert len(json.dumps(problems) if problems else answer) < body_bytes
    assert 0 < stored_bytes < body_bytes / 2
    assert threads == ["False True"]
    refusal_count = {"many instances": 800, "some instances": 400}.get(name, 1)
    assert (len(service.refusals()), len(service.log())) == (refusal_count, 400 if name == "some instances" else 0)
    if "instances" in name:
        results = json.loads(answer)["results"]
        assert [("error" in result) for result in results[:2]] == [True, name == "many instances"]
        assert all(1 <= len(problem["violations"]) <= 51 for problem in problems)


def test_the_log_holds_the_hash_of_each_client_and_not_its_address(service: Service) -> None:
    """Answers, refusals and instances of a batch have the source of their connection; without one it is unknown."""
    own = service.with_settings(service={"hash_salt": "salt"})
    own.decide(State.NORMAL)

    async def story(endpoint: PredictionEndpoint) -> None:
        for host in ("192.0.2.7", "192.0.2.8", None):
            scope = {**SCOPE, "client": None if host is None else (host, 4711)}
            await endpoint.predict(scope, _receive({"features": GOOD}))
            await endpoint.predict_batch(scope, _receive({"instances": [OLD, {"age": "old"}]}))
            with pytest.raises(RefusedRequest):
                await endpoint.predict(scope, _receive({"features": {}}))

    _run(own, story)
    for rows in (own.log(), own.refusals()):
        sources = [row.source for row in rows]
        assert sources[4:] == [None, None]
        assert (sources[0], sources[2]) == (sources[1], sources[3])
        assert len({*sources}) == 3
        assert "192.0.2" not in str(rows)


def test_without_a_salt_no_source_is_kept(service: Service) -> None:
    """The address could be found by trial."""
    service.decide(State.NORMAL)
    scope = {**SCOPE, "client": ("192.0.2.7", 4711)}
    _run(service, lambda endpoint: endpoint.predict(scope, _receive({"features": GOOD})))
    assert [row.source for row in service.log()] == [None]


def _record(service: Service, body: Any) -> Any:
    return json.loads(_run(service, lambda endpoint: endpoint.record(SCOPE, _receive(body))))


def test_what_a_model_elsewhere_has_answered_is_recorded(service: Service) -> None:
    """Also beside predictions of the same batch; a retry gets the first record, a wrong one is refused."""
    service.decide(State.NORMAL)
    outcome = {"features": OLD, "prediction": "no", "probabilities": {"no": 0.75, "yes": 0.25}}

    async def story(endpoint: PredictionEndpoint) -> tuple[bytes, ...]:
        return await asyncio.gather(
            endpoint.predict(SCOPE, _receive({"features": GOOD})),
            endpoint.record(SCOPE, _receive({**outcome, "id": "a"})),
            endpoint.predict(SCOPE, _receive({"features": GOOD})),
        )

    first, record, second = map(json.loads, _run(service, story))
    assert (record["prediction"], record["confidence"], record["decided_by"]) == ("no", 0.75, "model")
    assert first["probabilities"] == second["probabilities"]
    assert _record(service, {**outcome, "id": "a"}) == record
    assert len(service.log()) == 3
    wrong: list[Any] = [
        {**outcome, "prediction": "maybe"},
        {**outcome, "features": {**OLD, "age": 999}},
        {**outcome, "probabilities": {"no": 1.0}},
        {**outcome, "other": 1},
        {"features": OLD, "prediction": "no"},
        [],
        b'{"features": {}, "prediction": "no", "prediction": "yes"}',
    ]
    for body in wrong:
        with pytest.raises(RefusedRequest) as refusal:
            _record(service, body)
        assert refusal.value.problem.violations
    assert (len(service.log()), len(service.refusals())) == (3, len(wrong))
