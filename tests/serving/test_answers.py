"""What `Guard` returns: the fields of an answer over HTTP."""

from dataclasses import replace

from stillsafe.core.schema import Violation, ViolationKind
from stillsafe.core.state import State
from stillsafe.serving.answers import InvalidFeatures, Prediction
from stillsafe.serving.schemas import prediction_document
from stillsafe.store.records import PredictionRecord, RequestId
from tests.serving.services import NOW


def test_a_prediction_is_the_document_of_its_record() -> None:
    """With times as times, and as text in its document."""
    record = PredictionRecord("p", NOW, "v1", State.NORMAL, {}, "yes", 0.75, False, "because")
    judged = replace(record, judged_at=NOW, request_id=RequestId("7", "0"), probabilities={"yes": 0.75})
    for each in (record, judged):
        answer = Prediction.of(each)
        assert (answer.timestamp, answer.judged_at) == (each.timestamp, each.judged_at)
        assert answer.document() == prediction_document(each)


def test_an_error_names_the_features_at_fault() -> None:
    """And has all violations."""
    violation = Violation("age", ViolationKind.WRONG_TYPE, "bad", "good")
    error = InvalidFeatures([violation])
    assert error.violations == (violation,)
    assert "at: age" in str(error)
