"""`POST /v1/hold` and `POST /v1/release`: the operator's kill switch over HTTP, for keys with the scope `operate`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, ValidationError, field_validator

from stillsafe.core.schema import Violation
from stillsafe.core.state import Memory
from stillsafe.errors import RefusedError
from stillsafe.serving.body import json_body
from stillsafe.serving.body.text_rule import TEXT_PATTERN, is_plain_text
from stillsafe.serving.client import KEY_NAME
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import RefusedRequest, problem, problem_responses, schema_problem
from stillsafe.serving.schemas import Document, HoldDocument

MOST_BYTES = 10_000
_LINE: dict[str, Any] = {"pattern": TEXT_PATTERN}
NEEDS_KEYS = problem(
    403, "Hold and release over HTTP need a key: set `keys = true` in [exposure]. The command line needs none."
)


class Action(Protocol):
    """Holds or releases: `stillsafe.monitoring.hold`."""

    def __call__(self, *, by: str, reason: str, at: datetime) -> Memory:
        """The new memory of the served version.

        Raises:
            RefusedError: it is held already, or it is not held.
            StoreError: the store cannot be written.
        """


@dataclass(frozen=True, slots=True)
class OperatorActions:
    """What an operator may do to the service."""

    hold: Action
    release: Action


class _ActionBody(Document):
    """What an operator sends."""

    model_config = ConfigDict(extra="forbid", from_attributes=False)

    reason: str = Field(max_length=500, description="Why, in one line; it is recorded.", json_schema_extra=_LINE)
    by: str | None = Field(
        default=None, max_length=100, description="Who, beside the key's name.", json_schema_extra=_LINE
    )

    @field_validator("reason", "by")
    @classmethod
    def _one_line(cls, text: str | None) -> str | None:
        if text is not None and not is_plain_text(text):
            raise ValueError("must be one line of plain text")
        return None if text is None else text.strip()


class HoldBody(_ActionBody):
    """A hold."""

    state: Literal["DEGRADED"] = Field(default="DEGRADED", description="What a hold forces.")


class ReleaseBody(_ActionBody):
    """The end of a hold."""


def operator_routes(context: Context, actions: OperatorActions | None) -> APIRouter:
    """The two routes. Without actions, or where clients need no key, they refuse.

    Args:
        context: the service.
        actions: what they do.
    """
    routes = APIRouter(prefix="/v1", tags=["operate"])
    responses = {200: {"model": HoldDocument}, **problem_responses(403, 408, 409, 413, 415, 422, 503)}

    @routes.post("/hold", responses=responses, openapi_extra=_request_body(HoldBody))
    async def hold(request: Request) -> HoldDocument:
        """Force DEGRADED for every model version until the release. Recorded with who and why."""
        return await _act(context, request, HoldBody, actions.hold if actions else None)

    @routes.post("/release", responses=responses, openapi_extra=_request_body(ReleaseBody))
    async def release(request: Request) -> HoldDocument:
        """End a hold: the monitor's evidence decides again."""
        return await _act(context, request, ReleaseBody, actions.release if actions else None)

    return routes


async def _act(context: Context, request: Request, kind: type[_ActionBody], action: Action | None) -> HoldDocument:
    key_name = request.scope.get(KEY_NAME)
    if action is None or key_name is None:
        raise RefusedRequest(NEEDS_KEYS)
    content = await json_body.read_body(request.scope, request.receive, MOST_BYTES)
    body = _parse(kind, json_body.parse(content))
    reason = body.reason.strip()
    by = key_name if body.by is None else f"{body.by.strip()} (key {key_name})"
    try:
        memory = await asyncio.to_thread(_call(action, by, reason, context.clock()))
    except RefusedError as error:
        raise RefusedRequest(problem(409, str(error))) from None
    return HoldDocument(
        state=memory.effective_state.value,
        held=memory.hold is not None,
        by=by,
        reason=reason,
        evidence_says=memory.state.value,
    )


def _call(action: Action, by: str, reason: str, at: datetime) -> Callable[[], Memory]:
    return lambda: action(by=by, reason=reason, at=at)


def _parse(kind: type[_ActionBody], document: Any) -> _ActionBody:
    """The body as values.

    Raises:
        RefusedRequest: 422 with each defect.
    """
    repeated_keys = json_body.repeated_keys(document)
    if repeated_keys:
        violations = [Violation(name, "repeated", "given more than once", "once") for name in repeated_keys]
        raise RefusedRequest(schema_problem(violations))
    try:
        return kind.model_validate(document, strict=True)
    except ValidationError as error:
        raise RefusedRequest(problem(422, "The body is wrong.", list(map(_violation, error.errors())))) from None


def _violation(defect: Any) -> Violation:
    place = ".".join(map(str, defect["loc"])) or json_body.BODY
    return Violation(place, str(defect["type"]), str(defect["msg"]), "see /docs")


def _request_body(kind: type[_ActionBody]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
