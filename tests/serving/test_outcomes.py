"""Answers that the service's model did not compute are checked, and recorded as all others."""

from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.model.confidence import ConfidenceMethod, ConfidenceScale
from stillsafe.model.model import ModelKind
from stillsafe.serving.outcomes import (
    answer_any,
    check_outcome,
    draft_fallback,
    draft_outcomes,
    plain_outcome,
    probability_rows,
)
from stillsafe.serving.predict import answer_requests
from stillsafe.serving.prediction_request import Outcome, PredictionRequest
from stillsafe.store import database
from stillsafe.store.records import PredictionRecord
from tests.serving.services import GOOD, OLD, Service


def test_an_outcome_is_logged_as_an_answer_of_the_model(service: Service) -> None:
    """In any state: what the caller served is what the log has."""
    service.decide(State.DEGRADED)
    request = PredictionRequest(GOOD, outcome=Outcome("yes", 0.75, {"no": 0.25, "yes": 0.75}))
    (record,) = answer_requests(service.context, [request], draft_outcomes)
    (row,) = service.log()
    assert (row.prediction, row.confidence_score, row.fallback_used) == ("yes", 0.75, False)
    assert (row.system_state, row.prediction_id) == ("DEGRADED", record.prediction_id)  # type: ignore[union-attr] # no conflict


def test_the_fallback_answers_on_demand(service: Service) -> None:
    """In NORMAL because the client asked, in DEGRADED because of the state."""
    service.decide(State.NORMAL)
    requests = [PredictionRequest(GOOD), PredictionRequest(OLD)]
    answer_requests(service.context, requests, draft_fallback)
    service.decide(State.DEGRADED)
    answer_requests(service.context, requests, draft_fallback)
    rows = service.log()
    assert [row.prediction for row in rows] == ["no", "yes"] * 2
    assert all(row.fallback_used for row in rows)
    assert [row.reason.split()[0] for row in rows] == ["The", "The", "DEGRADED:", "DEGRADED:"]


def test_a_mixed_batch_is_recorded_whole_or_not_at_all(service: Service) -> None:
    """The answers of model, fallback and outside model share a commit, in the order of the requests."""
    service.decide(State.NORMAL)
    outside_outcome = Outcome("yes", 0.75, {"no": 0.25, "yes": 0.75})
    requests = [
        PredictionRequest(OLD, outcome=outside_outcome),
        PredictionRequest(GOOD),
        PredictionRequest(OLD, on_demand=True),
        PredictionRequest(GOOD, outcome=outside_outcome),
    ]
    records = answer_any(service.context, requests)
    assert [(row.prediction_id, row.fallback_used) for row in service.log()] == [
        (record.prediction_id, place == 2)
        for place, record in enumerate(records)
        if isinstance(record, PredictionRecord)
    ]
    with database.writing(service.engine) as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER no_fallback BEFORE INSERT ON prediction_logs WHEN NEW.fallback_used "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    with pytest.raises(StoreError):
        answer_any(service.context, requests)
    assert len(service.log()) == len(requests)


def test_probabilities_are_in_the_order_of_the_classes(service: Service) -> None:
    """The confidence is the top one."""
    outcome = check_outcome(service.context.model, "no", {"yes": 0.2, "no": 0.8})
    assert isinstance(outcome, Outcome)
    assert outcome.probabilities is not None
    assert (outcome.confidence, [*outcome.probabilities]) == (0.8, ["no", "yes"])


@pytest.mark.parametrize(
    ("answer", "places"),
    [
        (("maybe", {"yes": 0.2, "no": 0.8}), ["prediction"]),
        ((None, {"yes": 0.2, "no": 0.8}), ["prediction"]),
        (("yes", {"yes": 0.2}), ["probabilities"]),
        (("yes", {"yes": 1.2, "no": 0.1}), ["probabilities"]),
        (("yes", {"yes": float("nan"), "no": 0.1}), ["probabilities"]),
        (("yes", {"yes": True, "no": False}), ["probabilities"]),
        (("yes", [0.2, 0.8]), ["probabilities"]),
        (("yes", {"yes": 1, "no": 1}), ["probabilities"]),
        (("yes", {"yes": 0.0, "no": 0.0}), ["probabilities"]),
        (("yes", {"yes": 0.4, "no": 0.585}), ["probabilities"]),
        (("yes", None), ["probabilities"]),
        (("yes", None, 1.5), ["confidence"]),
        (("yes", None, "high"), ["confidence"]),
        ((7, [1], -1), ["prediction", "probabilities", "confidence"]),
    ],
)
def test_wrong_outcomes_name_each_part_at_fault(service: Service, answer: Any, places: list[str]) -> None:
    """Nothing of them is recorded as an answer."""
    violations: Any = check_outcome(service.context.model, *answer)
    assert [each.feature for each in violations] == places


def test_the_sum_of_probabilities_is_named_where_it_is_not_one(service: Service) -> None:
    """Rounded ones may differ by a hundredth."""
    violations: Any = check_outcome(service.context.model, "yes", {"yes": 1, "no": 0.5})
    (violation,) = violations
    assert (violation.problem, violation.kind) == ("their sum is 1.5", "not_allowed")
    for numbers in ({"yes": 0.33, "no": 0.66}, {"yes": 0.5049, "no": 0.505}, {"yes": 1, "no": 0}):
        assert isinstance(check_outcome(service.context.model, "yes", numbers), Outcome)


SHARES = [0.25, 0.75]


@pytest.mark.parametrize(
    "probabilities",
    [
        {"yes": 0.75, "no": 0.25},
        SHARES,
        tuple(SHARES),
        np.array(SHARES),
        np.array([SHARES]),
        [np.float32(0.25), np.float64(0.75)],
        pd.Series(SHARES),
        pd.Series({"yes": 0.75, "no": 0.25}),
        pd.DataFrame([SHARES], columns=["no", "yes"]).iloc[0],
        pd.DataFrame([[Decimal("0.25"), Decimal("0.75")]]).iloc[0],
    ],
)
def test_probabilities_may_have_any_form_that_a_model_gives(service: Service, probabilities: Any) -> None:
    """By class, or in the order of the classes, as `predict_proba` has them."""
    outcome = plain_outcome(service.context.model, np.str_("yes"), probabilities, None)
    assert isinstance(outcome, Outcome)
    assert outcome.probabilities == {"no": 0.25, "yes": 0.75}
    assert outcome.confidence == 0.75


@pytest.mark.parametrize(
    "probabilities",
    [
        *(0.5, "no", b"12", True, object(), pd.NA, float("nan"), {0.2, 0.8}, [], [1.0], [0.2, 0.3, 0.5]),
        *([[0.2], [0.8]], [None, 1.0], ["0.2", "0.8"], [pd.NA, 1], np.array(0.5), np.eye(2), {None: 1, "yes": 0}),
        *({("a",): 1, "no": 0}, {"no": pd.NA, "yes": 1}, pd.DataFrame({"no": [0.2], "yes": [0.8]})["no"], {}),
    ],
)
def test_what_are_no_probabilities_is_a_violation(service: Service, probabilities: Any) -> None:
    """And no error of Python's, so that one row of a batch does not fail the others."""
    violations: Any = plain_outcome(service.context.model, "yes", probabilities, None)
    assert [each.feature for each in violations] == ["probabilities"]


@pytest.mark.parametrize("prediction", [pd.NA, None, np.array(["yes"]), Decimal("NaN"), [], {}, object()])
def test_what_is_no_answer_is_a_violation(service: Service, prediction: Any) -> None:
    """Of any type."""
    violations: Any = plain_outcome(service.context.model, prediction, SHARES, None)
    assert [each.feature for each in violations] == ["prediction"]


def test_a_table_of_probabilities_has_one_item_per_row() -> None:
    """By column; others are rows already."""
    table = pd.DataFrame([[0.25, 0.75]], columns=["no", "yes"])
    assert probability_rows(table) == [{"no": 0.25, "yes": 0.75}]
    assert probability_rows(None) is None


def test_the_confidence_of_a_number_follows_from_the_scale(service: Service) -> None:
    """By how typical it is; where the scale needs the model itself, the caller gives the confidence."""
    quantiles = tuple(float(number) for number in range(101))
    scale = ConfidenceScale(ConfidenceMethod.PREDICTION_TYPICALITY, quantiles)
    model = replace(service.context.model, classes=(), kind=ModelKind.REGRESSOR, scale=scale)
    check = partial(check_outcome, model)
    assert check(50.0) == Outcome(50.0, 1.0)
    assert check(10**9) == Outcome(10**9, 0.0)
    for number in (float("inf"), True, "5"):
        assert [each.feature for each in check(number)] == ["prediction"]  # type: ignore[union-attr] # violations
    spread = replace(model, scale=ConfidenceScale(ConfidenceMethod.ENSEMBLE_SPREAD, quantiles))
    assert [each.feature for each in check_outcome(spread, 5.0)] == ["probabilities"]  # type: ignore[union-attr] # the same
    assert check_outcome(spread, 5.0, None, 0.25) == Outcome(5.0, 0.25)


@pytest.mark.parametrize("field", ["prediction", "probabilities", "confidence"])
def test_a_number_beyond_all_floats_is_refused(service: Service, field: str) -> None:
    """A whole number of 400 digits is a violation and no crash."""
    number = 10**400
    model = replace(service.context.model, kind=ModelKind.REGRESSOR, classes=()) if field == "prediction" else None
    fields: dict[str, Any] = {
        "prediction": number if field == "prediction" else "yes",
        "probabilities": {"yes": number, "no": 0} if field == "probabilities" else None,
        "confidence": number if field == "confidence" else None,
    }
    violations = check_outcome(model or service.context.model, **fields)
    assert not isinstance(violations, Outcome)
    assert field in [each.feature for each in violations]


def test_a_class_that_is_a_number_may_come_as_a_whole_one(service: Service) -> None:
    """JSON of other languages writes 1.0 as 1; a flag is no number."""
    model = replace(service.context.model, classes=(0.0, 1.0))
    outcome = check_outcome(model, 1, {"0.0": 0.25, "1.0": 0.75})
    assert isinstance(outcome, Outcome)
    assert (outcome.prediction, type(outcome.prediction), outcome.confidence) == (1.0, float, 0.75)
    assert not isinstance(check_outcome(model, True, {"0.0": 0.25, "1.0": 0.75}), Outcome)


def test_the_confidence_is_that_of_the_answer(service: Service) -> None:
    """As the model's own, where its scale says so: with a threshold the answer need not be the likeliest class."""
    scale = ConfidenceScale(ConfidenceMethod.CLASS_PROBABILITY, of_answer=True)
    outcome = check_outcome(replace(service.context.model, scale=scale), "no", {"yes": 0.6, "no": 0.4})
    assert isinstance(outcome, Outcome)
    assert outcome.confidence == 0.4
