"""What went wrong, as RFC 9457 problem details; and the one table from errors to HTTP."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from stillsafe.core.schema import Violation
from stillsafe.errors import InvalidInput, StoreError
from stillsafe.serving.batcher import LaneClosed

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
# RFC 9110's names, which older Pythons do not know yet.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing wrong with a request. Names the place and the rule, never the client's value."""

    feature: str
    kind: str
    problem: str
    allowed: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal or a failure, before it is HTTP."""

    status: int
    title: str
    detail: str
    violations: tuple[Wrong, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The body, in RFC 9457's words."""
        told = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        return {**told, "violations": [asdict(wrong) for wrong in self.violations]} if self.violations else told

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

    type: str = Field(description="Always `about:blank`: the status says what kind of problem it is.")
    title: str
    status: int
    detail: str
    violations: list[ViolationDocument] = Field(default=[], description="Only with 408, 413, 415 and 422.")


def problem(status: int, detail: str, violations: Sequence[Wrong] = (), **headers: str) -> Problem:
    """A problem under its status's own title."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Problem(status, _title(status), detail, tuple(violations), named)


def invalid(violations: Sequence[Wrong]) -> Problem:
    """Input that breaks the schema: 422."""
    places = list(dict.fromkeys(wrong.feature for wrong in violations))
    shown = ", ".join(places[:5]) + (", ..." if len(places) > 5 else "")
    return problem(422, f"The request breaks the schema at: {shown}. See /v1/schema.", violations)


def wrong_of(violation: Violation) -> Wrong:
    """A schema's violation in HTTP's words."""
    return Wrong(violation.feature, violation.kind.value, violation.problem, violation.allowed)


def for_error(error: Exception) -> Problem:
    """The one table: error to HTTP."""
    match error:
        case RefusedRequest():
            return error.problem
        case InvalidInput():
            return invalid([wrong_of(v) for v in error.violations if isinstance(v, Violation)])
        case StoreError():
            why = f" ({error.reason})" if error.reason else ""
            detail = f"The service cannot read its state or record its answer now{why}, so it gives none. Try again."
            return problem(503, detail, Retry_After=str(RETRY_AFTER_SECONDS))
        case LaneClosed():
            return problem(503, "The service is shutting down. Try again.", Retry_After=str(RETRY_AFTER_SECONDS))
        case RequestValidationError():
            return invalid([_parameter(told) for told in error.errors()])
        case HTTPException():
            headers = dict(error.headers or {})
            return Problem(error.status_code, _title(error.status_code), _detail(error), headers=headers)
        case ClientDisconnect():
            return problem(400, "The request ended before its body did.")
        case _:
            return problem(500, "A fault of the service, recorded in its log. The request was not answered.")


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem."""
    for kind in (RefusedRequest, InvalidInput, StoreError, LaneClosed, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _respond)
    app.add_exception_handler(ClientDisconnect, _respond)
    app.add_exception_handler(Exception, _respond)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the problems that a route may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}
    return {status: {"description": _title(status), "content": content} for status in statuses}


def _title(status: int) -> str:
    return _TITLES.get(status, HTTPStatus(status).phrase)


async def _respond(_request: Request, error: Exception) -> Response:
    return for_error(error).response()


def _parameter(told: Mapping[str, Any]) -> Wrong:
    place = [str(part) for part in told["loc"] if part not in ("query", "path")]
    # Pydantic's message names the limit and not the value; `input` would name the value, and is left out.
    return Wrong(".".join(place), str(told["type"]), str(told["msg"]), "see /docs")


def _detail(error: HTTPException) -> str:
    if error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return "There is nothing here. See /docs."
    if error.status_code == 405:
        return "This path does not take that method. See /docs."
    return str(error.detail)
