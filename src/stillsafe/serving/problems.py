"""Errors as RFC 9457 problem details, and the one table from errors to HTTP."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from stillsafe.core.schema import Violation, ViolationKind
from stillsafe.core.text import join_names
from stillsafe.errors import NoModel, StoreError
from stillsafe.serving.batcher import BatcherClosed
from stillsafe.serving.client import path_below

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
SCHEMA_KINDS = ("wrong_tensor",)
"""Kinds of violations of features, besides those of the schema itself."""
MOST_PLACES = 5
"""Most features that the detail of a problem names."""
# Older Pythons lack RFC 9110's names for these.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal or a failure, before it becomes an HTTP response."""

    status: int
    title: str
    detail: str
    violations: tuple[Violation, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The response body, with the keys of RFC 9457."""
        members = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        violations = [
            {"feature": each.feature, "kind": each.kind, "problem": each.problem, "allowed": each.allowed}
            for each in self.violations
        ]
        return {**members, "violations": violations} if violations else members

    def response(self) -> Response:
        """The HTTP response."""
        content = json.dumps(self.document(), allow_nan=False)
        return Response(content, self.status, headers=dict(self.headers), media_type=MEDIA_TYPE)


class RefusedRequest(Exception):
    """A request that is answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


class ViolationDocument(BaseModel):
    """One thing wrong with a request."""

    model_config = ConfigDict(extra="forbid")

    feature: str = Field(description="The feature, or the part of the request, at fault.")
    kind: str = Field(description="The kind of error, for a program.")
    problem: str = Field(description="What is wrong, for a person.")
    allowed: str = Field(description="What would be right.")


class ProblemDocument(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="Always `about:blank`: the status gives the kind of problem.")
    title: str
    status: int
    detail: str
    violations: list[ViolationDocument] = Field(default=[], description="Only with 408, 409, 413, 415 and 422.")


def problem(status: int, detail: str, violations: Sequence[Violation] = (), **headers: str) -> Problem:
    """A problem with the title of its status; `Retry_After="5"` becomes the header `Retry-After`."""
    header_values = {name.replace("_", "-"): value for name, value in headers.items()}
    return Problem(status, _title(status), detail, tuple(violations), header_values)


def id_conflict_problem() -> Problem:
    """The problem of a request whose id belongs to an earlier request with another content: 409."""
    return problem(409, "The id belongs to an earlier request with other content. A new request needs a new id.")


def schema_problem(violations: Sequence[Violation]) -> Problem:
    """The problem of a request that breaks the schema: 422.

    Where each violation is of another part of the request, such as its id, it is that of wrong parameters.
    """
    if not any(map(_is_of_schema, violations)):
        return parameter_problem(violations)
    names = join_names(dict.fromkeys(violation.feature for violation in violations), MOST_PLACES)
    return problem(422, f"The request breaks the schema at: {names}. See /v1/schema.", violations)


def problem_of(error: Exception) -> Problem:
    """The one table from errors to HTTP."""
    match error:
        case RefusedRequest():
            return error.problem
        case StoreError():
            cause = _cause(error)
            detail = f"The service cannot read its state or record its answer now{cause}, so it gives none. Try again."
            return problem(503, detail, Retry_After=str(RETRY_AFTER_SECONDS))
        case NoModel():
            return problem(409, str(error))
        case BatcherClosed():
            return problem(503, "The service is shutting down. Try again.", Retry_After=str(RETRY_AFTER_SECONDS))
        case RequestValidationError():
            return parameter_problem([_parameter_violation(detail) for detail in error.errors()])
        case HTTPException():
            headers = dict(error.headers or {})
            return Problem(error.status_code, _title(error.status_code), _detail(error), headers=headers)
        case ClientDisconnect():
            return problem(400, "The request ended before its body did.")
        case _:
            return problem(500, "The service failed; its log has the cause. The request was not answered.")


RespondTo = Callable[[Problem, str], Response]
"""The response that a problem is for a path."""


def add_problem_handlers(app: FastAPI, respond_to: RespondTo) -> None:
    """Answer every error of the app with a problem, in the form that its path has."""
    kinds = (
        RefusedRequest,
        StoreError,
        NoModel,
        BatcherClosed,
        RequestValidationError,
        HTTPException,
        ClientDisconnect,
    )
    for kind in (*kinds, Exception):
        app.add_exception_handler(kind, partial(_respond, respond_to))


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of the problems that a route may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}
    return {status: {"description": _title(status), "content": content} for status in statuses}


def _title(status: int) -> str:
    return _TITLES.get(status, HTTPStatus(status).phrase)


async def _respond(respond_to: RespondTo, request: Request, error: Exception) -> Response:
    response = problem_of(error)
    if isinstance(error, StoreError) and request.method in ("GET", "HEAD"):
        # Nothing is to be recorded here, and predictions may be answered all the same, with rows in the spool.
        response = replace(response, detail=f"The database cannot be used now{_cause(error)}. Try again.")
    return respond_to(response, path_below(request.scope))


def _cause(error: StoreError) -> str:
    return f" ({error.reason})" if error.reason else ""


def _is_of_schema(violation: Violation) -> bool:
    # The count of further violations is of whatever the others are of.
    is_kind = isinstance(violation.kind, ViolationKind) and violation.kind is not ViolationKind.TOO_MANY
    return is_kind or violation.kind in SCHEMA_KINDS


def parameter_problem(violations: Sequence[Violation]) -> Problem:
    """The problem of a request with a wrong part that is no feature: 422."""
    names = join_names(dict.fromkeys(violation.feature for violation in violations), MOST_PLACES)
    return problem(422, f"The request has wrong parameters: {names}. See /docs.", violations)


def _parameter_violation(detail: Mapping[str, Any]) -> Violation:
    place = [str(part) for part in detail["loc"] if part not in ("query", "path")]
    # Pydantic's message names the limit; its `input` is the client's value, so it is left out.
    return Violation(".".join(place), str(detail["type"]), str(detail["msg"]), "see /docs")


def _detail(error: HTTPException) -> str:
    if error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return "This path does not exist. See /docs."
    if error.status_code == 405:
        return "This path does not take that method. See /docs."
    return str(error.detail)
