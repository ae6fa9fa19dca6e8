"""The prediction endpoint: a body in, the bytes of recorded answers out."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.serving import endpoint as prediction_endpoint
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
