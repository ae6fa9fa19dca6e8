"""Response schemas: what OpenAPI documents is what the routes send."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from stillsafe.core.fallback import Answer
from stillsafe.core.state import State
from stillsafe.serving.schemas import Document, LiveDocument, PredictionDocument, ReadyDocument, prediction_document
from tests.store.conftest import prediction


@pytest.mark.parametrize("answer", ["yes", 1, 0.25, True])
@pytest.mark.parametrize("fallback_used", [False, True])
def test_a_prediction_is_its_documented_schema(answer: Answer, fallback_used: bool) -> None:
    """The document that is built without pydantic has the fields and values that pydantic documents."""
    record = replace(
        prediction(1, state=State.WARNING, fallback_used=fallback_used),
        prediction=answer,
        probabilities=None if fallback_used else {"yes": 0.9, "no": 0.1},
    )
    content = msgspec.json.encode(prediction_document(record))
    document = PredictionDocument.model_validate_json(content)
    assert json.loads(content).keys() == PredictionDocument.model_fields.keys()
    assert (document.prediction, type(document.prediction)) == (answer, type(answer))
    assert (document.prediction_id, document.timestamp) == (record.prediction_id, record.timestamp)
    assert (document.system_state, document.decided_by) == ("WARNING", record.decided_by)
    assert (document.confidence, document.probabilities) == (record.confidence_score, record.probabilities)


def _subclasses(kind: type[Document]) -> list[type[Document]]:
    return [each for direct in kind.__subclasses__() for each in [direct, *_subclasses(direct)]]


@pytest.mark.parametrize("kind", _subclasses(Document))
def test_every_schema_says_what_it_is_and_rejects_unknown_fields(kind: type[Document]) -> None:
    """A field that is sent and not documented would be an error in a test, not a surprise for a client."""
    assert kind.__doc__
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.model_validate({"not_a_field": 1})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_schema_takes_a_number_that_json_lacks(number: float) -> None:
    """NaN and infinities never leave the service."""
    fields: dict[str, Any] = dict.fromkeys(PredictionDocument.model_fields) | {"confidence": number}
    with pytest.raises(ValidationError) as failure:
        PredictionDocument.model_validate(fields)
    assert ("confidence",) in [error["loc"] for error in failure.value.errors() if error["type"] == "finite_number"]


def test_health_documents_have_a_status() -> None:
    """What an orchestrator reads."""
    assert LiveDocument(status="live").model_dump() == {"status": "live"}
    assert "status" in ReadyDocument.model_fields
