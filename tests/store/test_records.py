"""The records of a request."""

from dataclasses import fields, replace

import pytest

from stillsafe.core.fallback import Answer
from stillsafe.store.codec import dumps
from stillsafe.store.records import spooled_record
from tests.store.conftest import START, identified_prediction, prediction


@pytest.mark.parametrize(("fallback_used", "decided_by"), [(False, "model"), (True, "fallback")])
def test_a_record_names_what_answered(fallback_used: bool, decided_by: str) -> None:
    """The model or the fallback."""
    assert prediction(1, fallback_used=fallback_used).decided_by == decided_by


_FOR_THE_CLIENT = {"probabilities", "monitor_stale", "watched", "judged", "judged_at", "fallback_kind"}
_OF_IDS = {"request_id", "is_repeat"}


@pytest.mark.parametrize("answer", ["yes", 1, 0.1, True])
def test_the_spool_returns_the_logged_fields(answer: Answer) -> None:
    """What comes back from the spool writes the same row; what only the client gets is not stored."""
    record = replace(prediction(1), prediction=answer, probabilities={"yes": 0.9}, watched=True)
    document = record.spool_document()
    restored_record = spooled_record(document)
    assert set(document) == {each.name for each in fields(record)} - _FOR_THE_CLIENT - _OF_IDS
    assert restored_record.prediction_text == record.prediction_text
    logged_record = replace(record, prediction=restored_record.prediction, probabilities=None, watched=False)
    assert restored_record == logged_record
    assert START.isoformat() in dumps(document)


@pytest.mark.parametrize("answer", ["yes", 1, 0.1, True, None])
def test_the_spool_returns_the_whole_answer_to_a_request_with_an_id(answer: Answer | None) -> None:
    """A retry after the outage gets it as it was sent."""
    record = replace(identified_prediction(1), prediction=answer, watched=True)
    restored_record = spooled_record(record.spool_document())
    assert restored_record == record
    assert type(restored_record.prediction) is type(answer)
    assert record.unlogged_answer()["probabilities"] == [["yes", 0.9], ["no", 0.1]]
