"""Answers by column are those of the rows: the same numbers, rows of the log and reasons, or none at all."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stillsafe.core.state import State
from stillsafe.model.feature_columns import FeatureColumns
from stillsafe.serving import column_records
from stillsafe.serving.predict import answer_requests
from stillsafe.serving.prediction_request import ColumnRequests, PredictionRequest
from stillsafe.store.prediction_columns import PredictionColumns
from stillsafe.store.records import PredictionRecord
from tests.serving.services import GOOD, OLD, Service, fresh

ROWS: list[Any] = [{**GOOD, "age": 30.0}, {**OLD, "age": 70.0}, {**GOOD, "age": 41.5, "town": None}] * 2
SAME = ("prediction", "confidence_score", "probabilities", "reason", "system_state", "fallback_used", "decided_by")


def requests_of(service: Service, rows: Sequence[Any], **facts: Any) -> ColumnRequests:
    """The rows by column."""
    schema = service.context.model.features
    columns = {name: [row[name] for row in rows] for name in schema.names}
    return ColumnRequests(FeatureColumns(schema, columns, len(rows)), **facts)


def facts_of(replies: Sequence[Any]) -> list[Any]:
    """What a client sees of answers, but for ids and times."""
    return [[getattr(each, name) for name in SAME] for each in replies if isinstance(each, PredictionRecord)]


@pytest.mark.parametrize("compiled", [True, False])
def test_answers_are_those_of_the_rows(service: Service, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, in several calls of the model too; the log has the same rows."""
    monkeypatch.setattr(column_records, "MOST_MODEL_ROWS", 4)
    service.decide(State.WARNING)
    model = service.context.model if compiled else replace(service.context.model, compiled=None)
    context = fresh(service.context, model=model)
    replies = answer_requests(context, requests_of(service, ROWS, synthetic=True, source="s", ids=[*"abcdef"]))
    expected = answer_requests(context, [PredictionRequest(row, True, "s") for row in ROWS])
    assert isinstance(replies, PredictionColumns)
    assert facts_of(replies) == facts_of(expected)
    log = [row._mapping for row in service.log()]
    assert [row["prediction_id"] for row in log[:6]] == [*"abcdef"]
    for own, other in zip(log[:6], log[6:], strict=True):
        names = set(own) - {"id", "prediction_id", "timestamp"}
        assert {name: own[name] for name in names} == {name: other[name] for name in names}


def test_a_bypass_and_a_failure_are_of_rows(service: Service) -> None:
    """DEGRADED, a model that fails on one row, and one that answers no class: rows by themselves, with their ids."""
    service.decide(State.DEGRADED)
    replies = answer_requests(service.context, requests_of(service, ROWS, ids=[*"abcdef"]))
    assert [each.prediction_id for each in replies if isinstance(each, PredictionRecord)] == [*"abcdef"]
    assert facts_of(replies) == facts_of(answer_requests(service.context, [PredictionRequest(row) for row in ROWS]))
    service.decide(State.NORMAL)

    class Choosy:
        """Fails on the old."""

        def predict(self, rows: Any) -> Any:
            """A class that is not the model's for some."""
            return np.where(rows["age"] > 60, "unheard of", service.context.model.classes[0])

        def predict_proba(self, rows: Any) -> Any:
            """Of two classes."""
            return np.full((len(rows), 2), 0.5)

    context = fresh(service.context, model=replace(service.context.model, compiled=None, estimator=Choosy()))
    replies = answer_requests(context, requests_of(service, ROWS))
    assert not isinstance(replies, PredictionColumns)
    assert [each.model_error for each in replies if isinstance(each, PredictionRecord)] == [
        None,
        "unknown class",
        None,
    ] * 2
