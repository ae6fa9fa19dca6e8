"""Answers in the Open Inference Protocol: tensors, parameters and errors."""

from dataclasses import replace
from typing import Any

import pytest

from stillsafe.core.schema import Violation
from stillsafe.core.state import State
from stillsafe.model.model import ModelKind
from stillsafe.serving.body.tensors import inference_request
from stillsafe.serving.inference import (
    error_response,
    inference_document,
    is_protocol_path,
    model_metadata,
    outputs_of,
    require_outputs,
    response_to,
)
from stillsafe.serving.problems import RefusedRequest, problem
from stillsafe.store.records import PredictionRecord
from tests.serving.services import NOW, Service

REQUEST = inference_request({"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}], "id": "7"})


def _record(**fields: Any) -> PredictionRecord:
    base = PredictionRecord("p", NOW, "v1", State.NORMAL, {}, "yes", 0.75, False, "because")
    return replace(base, probabilities={"no": 0.25, "yes": 0.75}, **fields)


def _outputs(document: dict[str, Any]) -> dict[str, tuple[str, list[int], list[Any]]]:
    return {each["name"]: (each["datatype"], each["shape"], each["data"]) for each in document["outputs"]}


def test_answers_are_tensors_and_the_state_is_a_parameter(service: Service) -> None:
    """Of several rows the most cautious state, and whether the fallback answered any."""
    fallback = _record(system_state=State.DEGRADED, fallback_used=True, confidence_score=None)
    records = [_record(), replace(fallback, probabilities=None, judged_at=NOW)]
    document = inference_document("stay", service.context.model, REQUEST, records)
    assert (document["model_name"], document["model_version"], document["id"]) == ("stay", "v1", "7")
    assert (document["parameters"]["system_state"], document["parameters"]["fallback_used"]) == ("DEGRADED", True)
    assert document["parameters"]["judged_at"] == NOW.isoformat()
    assert _outputs(document) == {
        "predict": ("BYTES", [2, 1], ["yes", "yes"]),
        "predict_proba": ("FP64", [2, 2], [0.25, 0.75, None, None]),
        "confidence": ("FP64", [2, 1], [0.75, None]),
        "fallback_used": ("BOOL", [2, 1], [False, True]),
        "prediction_id": ("BYTES", [2, 1], ["p", "p"]),
    }


def test_an_abstention_among_integers_makes_them_floats(service: Service) -> None:
    """Null becomes NaN in a client, which integers lack."""
    model = replace(service.context.model, classes=(0, 1))
    assert outputs_of(model)["predict"].datatype == "INT64"
    whole = [replace(_record(), prediction=1, probabilities={"0": 0.1, "1": 0.9})]
    absent = replace(_record(), prediction=None, probabilities=None)
    assert _outputs(inference_document("stay", model, REQUEST, whole))["predict"] == ("INT64", [1, 1], [1])
    partial_answers = _outputs(inference_document("stay", model, REQUEST, [*whole, absent]))["predict"]
    assert partial_answers == ("FP64", [2, 1], [1.0, None])
    flags = replace(model, classes=(False, True))
    assert outputs_of(flags)["predict"].datatype == "BOOL"
    numbers = replace(model, classes=(), kind=ModelKind.REGRESSOR)
    assert [*outputs_of(numbers)] == ["predict", "confidence", "fallback_used", "prediction_id"]
    assert outputs_of(numbers)["predict"].datatype == "FP64"


def test_a_client_may_name_outputs(service: Service) -> None:
    """They come in the order of the model, and one that does not exist is refused."""
    model, choice = service.context.model, {"outputs": [{"name": "confidence"}, {"name": "predict"}]}
    inputs = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64"}]}
    request = inference_request({**inputs, **choice})
    require_outputs(model, request)
    assert [*_outputs(inference_document("stay", model, request, [_record()]))] == ["predict", "confidence"]
    with pytest.raises(RefusedRequest, match="outputs"):
        require_outputs(model, inference_request({**inputs, "outputs": [{"name": "score"}]}))


def test_metadata_names_every_input_and_output(service: Service) -> None:
    """With their datatypes, and any number of rows."""
    metadata = model_metadata("stay", service.context.model)
    assert {each["name"]: each["datatype"] for each in metadata["inputs"]} == {
        "age": "FP64",
        "visits": "INT64",
        "member": "BOOL",
        "town": "BYTES",
    }
    assert [each["name"] for each in metadata["outputs"]] == [*outputs_of(service.context.model)]
    assert all(each["shape"][0] == -1 for each in (*metadata["inputs"], *metadata["outputs"]))


def test_errors_have_the_form_of_their_path() -> None:
    """The protocol's has one text, with the first violations in it; its status for a wrong request is 400."""
    refusal = problem(422, "Wrong.", [Violation("age", "kind", "bad", "good")], Retry_After="5")
    error = error_response(refusal)
    assert (error.status_code, error.headers["retry-after"]) == (400, "5")
    assert error.body == b'{"error":"Wrong. age: bad (allowed: good)."}'
    assert response_to(refusal, "/v1/predict").status_code == 422
    assert response_to(refusal, "/v2/models/x/infer").body == error.body
    assert [is_protocol_path(path) for path in ("/v2", "/v2/health/live", "/v2x", "/", "/v1/v2/")] == [
        True,
        True,
        False,
        False,
        False,
    ]
