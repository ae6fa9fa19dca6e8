"""Answers by column as JSON: each is the document of its record, in the same order of keys."""

import json
from typing import Any

import msgspec
import pytest

from stillsafe.serving.column_document import answer_texts
from stillsafe.serving.reasons import public_reason, whole_reason
from stillsafe.serving.schemas import prediction_document
from tests.store.test_prediction_columns import columns_of


@pytest.mark.parametrize(
    "predictions", [["no", 'a "100%" one', "a,b"], [1, 0, 1], [True, False, True], [0.1, -0.0, 1e300], ["1", 1, True]]
)
def test_documents(predictions: list[Any]) -> None:
    """To the byte, with or without probabilities."""
    answers = columns_of(predictions)
    for reason_of in (whole_reason, public_reason):
        documents = [msgspec.json.encode(prediction_document(each, reason_of)).decode() for each in answers]
        assert answer_texts(answers, reason_of) == documents
    answers.probabilities = None
    answers.common.probabilities = None
    assert [json.loads(each)["probabilities"] for each in answer_texts(answers, whole_reason)] == [None] * 3
