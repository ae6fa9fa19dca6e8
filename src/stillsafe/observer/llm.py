"""The observer that calls a language model, over OpenAI's chat-completions protocol, which many servers implement.

Every failure is one exception, `ObserverFailed`. A call never takes longer than its budget: it runs in a daemon
thread, which no exit waits for.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from stillsafe.deadline import Deadline
from stillsafe.errors import Failure, ObserverFailed
from stillsafe.observer import prompt
from stillsafe.observer.payload import Explanation, IncidentPayload

T = TypeVar("T")
SHORTEST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
INSTALL = 'pip install "stillsafe[llm]"'
_TRANSIENT = (Failure.UNREACHABLE, Failure.SLOW, Failure.RATE_LIMITED)
_STATUSES = {
    401: Failure.ACCESS_REFUSED,
    403: Failure.ACCESS_REFUSED,
    404: Failure.ACCESS_REFUSED,
    408: Failure.SLOW,
    429: Failure.RATE_LIMITED,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The server, its language model, and the limits of a call.

    Attributes:
        base_url: where the protocol begins, such as `https://host/v1`.
        model: the model's name on the server.
        key: the bearer token, or None.
        timeout_seconds: longest silence of the server in one attempt.
        retries: further attempts if the server is unreachable, slow or busy.
        budget_seconds: longest time of all attempts together.
        parameters: further fields of the request, sent unchanged.
    """

    base_url: str
    model: str
    key: str | None = field(repr=False)
    timeout_seconds: float
    retries: int
    budget_seconds: float
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _ResponseFormat:
    """A value of the request's `response_format`; None means plain text."""

    value: Mapping[str, Any] | None

    @property
    def is_json(self) -> bool:
        return self.value is not None


_FORMATS = (
    _ResponseFormat(
        {"type": "json_schema", "json_schema": {"name": "explanation", "strict": True, "schema": prompt.schema()}}
    ),
    _ResponseFormat({"type": "json_object", "schema": prompt.schema(with_limits=True)}),
    _ResponseFormat({"type": "json_object"}),
    _ResponseFormat(None),
)
"""Tried in order, because servers support different formats and do not announce which."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Reply(BaseModel):
    """The fields of a reply that are read; all others are ignored."""

    model: str = ""
    choices: list[_Choice] = Field(min_length=1)


def explain(payload: IncidentPayload, endpoint: Endpoint) -> Explanation:
    """The language model's explanation. Its text is printable and short; its content is not verified.

    Raises:
        ObserverFailed: there is no usable answer within the budget.
    """
    deadline = time.monotonic() + endpoint.budget_seconds
    return run_within(endpoint.budget_seconds, lambda: _explain(payload, endpoint, deadline))


def run_within(seconds: float, work: Callable[[], T]) -> T:
    """The result of a call. A call that is late goes on in a daemon thread, which ends with the process.

    Raises:
        ObserverFailed: the call takes longer than `seconds`, or fails.
    """
    with closing(Deadline("stillsafe-observer")) as deadline:
        try:
            return deadline.call(work, seconds)
        except ObserverFailed:
            raise
        except TimeoutError:
            failure = ObserverFailed(Failure.SLOW, f"no answer within {seconds:g} s")
        except Exception as error:  # noqa: BLE001 - a server's answer may break a library in undocumented ways
            failure = ObserverFailed(Failure.UNUSABLE, f"an answer that broke the client ({type(error).__name__})")
    raise failure  # outside of the handler: the original error may contain the key


def _explain(payload: IncidentPayload, endpoint: Endpoint, deadline: float) -> Explanation:
    """Try the response formats in order until an answer is usable."""
    retries = endpoint.retries
    failure = ObserverFailed(Failure.UNUSABLE, "no usable answer")
    for response_format in _FORMATS:
        try:
            reply, retries = _request_with_retries(payload, endpoint, response_format, deadline, retries)
        except ObserverFailed as error:
            if error.kind not in (Failure.SERVER_ERROR, Failure.UNUSABLE):
                raise
            failure = error
            continue
        if explanation := _explanation(reply, response_format, endpoint.model):
            return explanation
        failure = ObserverFailed(Failure.UNUSABLE, "an answer that is empty, truncated or in another format")
    raise failure


def _request_with_retries(
    payload: IncidentPayload, endpoint: Endpoint, response_format: _ResponseFormat, deadline: float, retries: int
) -> tuple[_Reply, int]:
    """The reply in one response format, and how many retries are left."""
    pause = SHORTEST_PAUSE_SECONDS
    while True:
        try:
            return _request(payload, endpoint, response_format, deadline), retries
        except ObserverFailed as error:
            is_too_late = time.monotonic() + pause >= deadline
            if error.kind not in _TRANSIENT or not retries or is_too_late:
                raise
        retries -= 1
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _request(payload: IncidentPayload, endpoint: Endpoint, response_format: _ResponseFormat, deadline: float) -> _Reply:
    """The reply to one request.

    Raises:
        ObserverFailed: the request failed. The message never quotes the server, whose text may hold the key.
    """
    try:
        import httpx2
        import openai

        from stillsafe.observer.transport import LimitedTransport
    except ImportError:
        raise ObserverFailed(Failure.NOT_INSTALLED, f"the client library is missing: {INSTALL}") from None
    timeout = min(endpoint.timeout_seconds, deadline - time.monotonic())
    if timeout <= 0:
        raise ObserverFailed(Failure.SLOW, "the budget was spent before the request")
    transport = LimitedTransport(deadline, has_key=endpoint.key is not None)
    format_field = {} if response_format.value is None else {"response_format": response_format.value}
    with httpx2.Client(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False) as http:
        client = openai.OpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.key or "none",
            http_client=http,
            timeout=timeout,
            max_retries=0,
        )
        try:
            response = client.chat.completions.with_raw_response.create(
                model=endpoint.model,
                messages=prompt.messages(payload, as_json=response_format.is_json),  # type: ignore[arg-type] # plain dictionaries
                extra_body={**endpoint.parameters, **format_field},
                timeout=timeout,
            )
        except openai.APIStatusError as error:
            kind = _STATUSES.get(error.status_code, Failure.SERVER_ERROR)
            raise ObserverFailed(kind, f"the server answered {error.status_code}") from None
        except openai.APIConnectionError as error:
            raise _connection_failure(error, is_timeout=isinstance(error, openai.APITimeoutError)) from None
        return _reply(response.http_response.content)


def _connection_failure(error: Exception, *, is_timeout: bool) -> ObserverFailed:
    """The failure behind a connection error: a limit of the transport, a timeout, or the server."""
    if isinstance(error.__cause__, ObserverFailed):
        return error.__cause__
    if is_timeout:
        return ObserverFailed(Failure.SLOW, "the server did not answer in time")
    return ObserverFailed(Failure.UNREACHABLE, "the server cannot be reached, or closed the connection")


def _reply(body: bytes) -> _Reply:
    try:
        return _Reply.model_validate_json(body)
    except ValidationError:
        raise ObserverFailed(Failure.UNUSABLE, "an answer that does not follow the protocol") from None


def _explanation(reply: _Reply, response_format: _ResponseFormat, model: str) -> Explanation | None:
    """The explanation in a reply, or None where it is not usable. Truncated JSON is not usable, truncated text is."""
    choice = reply.choices[0]
    text, is_truncated = choice.message.content or "", choice.finish_reason == "length"
    if response_format.is_json:
        explanation = None if is_truncated else prompt.from_json(text, model)
    else:
        explanation = prompt.from_json(text, model) or prompt.from_text(text, model, is_truncated=is_truncated)
    if explanation is None or reply.model in ("", model):
        return explanation
    return replace(explanation, llm_model=prompt.clean(f"{model} (as {reply.model})", prompt.LONGEST_MODEL))
