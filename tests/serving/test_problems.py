"""Errors as RFC 9457 problem details: one table from errors to HTTP."""

import json

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from stillsafe.core.schema import Violation, ViolationKind
from stillsafe.errors import StoreError, StoreUnavailable
from stillsafe.serving.batcher import BatcherClosed
from stillsafe.serving.problems import (
    ProblemDocument,
    RefusedRequest,
    problem,
    problem_of,
    problem_responses,
    schema_problem,
)

VIOLATION = Violation("age", ViolationKind.WRONG_TYPE, "a string is the wrong type", "a number")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RefusedRequest(problem(413, "Too long.")), 413),
        (StoreError("SELECT secret"), 503),
        (StoreUnavailable("SELECT secret"), 503),
        (BatcherClosed("closed"), 503),
        (RequestValidationError([{"loc": ("query", "limit"), "type": "int", "msg": "no", "input": "secret"}]), 422),
        (HTTPException(404), 404),
        (HTTPException(405), 405),
        (ClientDisconnect(), 400),
        (KeyError("secret"), 500),
    ],
)
def test_every_error_has_its_status_and_reveals_no_cause(error: Exception, status: int) -> None:
    """Neither SQL, a client's value nor an internal error reaches a client."""
    response = problem_of(error).response()
    document = ProblemDocument.model_validate_json(bytes(response.body))
    assert (response.status_code, document.status) == (status, status)
    assert response.media_type == "application/problem+json"
    assert "secret" not in bytes(response.body).decode()


@pytest.mark.parametrize("error", [StoreError("gone"), BatcherClosed("closed")])
def test_a_temporary_failure_says_when_to_try_again(error: Exception) -> None:
    """With the header Retry-After."""
    assert int(problem_of(error).headers["Retry-After"]) > 0


def test_the_reason_of_a_store_error_is_public() -> None:
    """`reason` is the part of the message that a client may read."""
    assert "(the disk is full)" in problem_of(StoreError("at host db1", reason="the disk is full")).detail


def test_a_wrong_part_that_is_no_feature_is_not_the_schema_s() -> None:
    """Whatever it is called, also where a feature has the name; beside a wrong feature the schema is named."""
    for place in ("id", "label", "outputs", "age", "body"):
        part = Violation(place, "wrong_type", "not a string", "a string")
        assert schema_problem([part]).detail == f"The request has wrong parameters: {place}. See /docs."
        assert schema_problem([part, VIOLATION]).detail.endswith("See /v1/schema.")
    further = Violation("...", ViolationKind.TOO_MANY, "7 more violations", "none")
    assert schema_problem([Violation("x", "unknown_key", "no such key", "none"), further]).detail.endswith("See /docs.")
    assert schema_problem([Violation("age", "wrong_tensor", "no row", "one")]).detail.endswith("See /v1/schema.")


def test_a_schema_problem_names_the_first_features_and_lists_all_violations() -> None:
    """The detail stays short; the violations are complete, with the kind as plain text."""
    violations = [Violation(f"x{number}", ViolationKind.MISSING, "required", "a number") for number in range(7)]
    refusal = schema_problem([*violations, violations[0]])
    assert (refusal.status, refusal.detail) == (
        422,
        "The request breaks the schema at: x0, x1, x2, x3, x4, .... See /v1/schema.",
    )
    assert len(refusal.document()["violations"]) == 8
    first = json.loads(bytes(schema_problem([VIOLATION]).response().body))["violations"][0]
    assert first == {
        "feature": "age",
        "kind": "wrong_type",
        "problem": "a string is the wrong type",
        "allowed": "a number",
    }


def test_a_problem_without_violations_has_no_such_key() -> None:
    """A client can rely on the list being there only with 408, 413, 415 and 422."""
    assert "violations" not in problem(404, "Not there.").document()


def test_documented_problems_refer_to_the_problem_schema() -> None:
    """OpenAPI describes each status with its title."""
    responses = problem_responses(422, 503)
    assert [responses[status]["description"] for status in (422, 503)] == [
        "Unprocessable Content",
        "Service Unavailable",
    ]
    assert all(list(each["content"]) == ["application/problem+json"] for each in responses.values())
