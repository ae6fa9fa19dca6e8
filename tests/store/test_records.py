"""The records of a request."""

from dataclasses import fields, replace

import pytest

from stillsafe.core.fallback import Answer
from stillsafe.store.codec import dumps, from_document
from stillsafe.store.records import PredictionRecord
from tests.store.conftest import START, prediction


@pytest.mark.parametrize(("fallback_used", "decided_by"), [(False, "model"), (True, "fallback")])
def test_a_record_names_what_answered(fallback_used: bool, decided_by: str) -> None:
    """The model or the fallback."""
    assert prediction(1, fallback_used=fallback_used).decided_by == decided_by


_FOR_THE_CLIENT = {"probabilities", "monitor_stale", "watched", "judged", "judged_at", "fallback_kind"}


@pytest.mark.parametrize("answer", ["yes", 1, 0.1, True])
def test_the_spool_returns_the_logged_fields(answer: Answer) -> None:
    """What comes back from the spool writes the same row; what only the client gets is not stored."""
    record = replace(prediction(1), prediction=answer, probabilities={"yes": 0.9}, watched=True)
    document = record.spool_document()
    restored_record = from_document(PredictionRecord, document)
    assert set(document) == {each.name for each in fields(record)} - _FOR_THE_CLIENT
    assert restored_record.prediction_text == record.prediction_text
    logged_record = replace(record, prediction=restored_record.prediction, probabilities=None, watched=False)
    assert restored_record == logged_record
    assert START.isoformat() in dumps(document)
