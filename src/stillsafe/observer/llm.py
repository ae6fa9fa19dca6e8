"""The observer that asks a language model, over the protocol that OpenAI began and many servers speak.

It may fail in any way, and says so in one exception. It never takes longer than its budget: whatever the server does,
it is waited for in a thread that no exit waits for.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from stillsafe.errors import Failure, ObserverFailed
from stillsafe.observer import prompt
from stillsafe.observer.payload import Explanation, IncidentPayload

T = TypeVar("T")
SHORTEST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
INSTALL = 'pip install "stillsafe[llm]"'
_WORTH_ANOTHER_TRY = (Failure.UNREACHABLE, Failure.SLOW, Failure.LIMITED)
_STATUSES = {401: Failure.REFUSED, 403: Failure.REFUSED, 404: Failure.REFUSED, 408: Failure.SLOW, 429: Failure.LIMITED}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is asked, and how patiently.

    Attributes:
        base_url: where the protocol begins, such as `https://host/v1`.
        model: the model's name there.
        key: what is sent as the bearer's token, or None.
        timeout_seconds: longest silence in one attempt.
        retries: further attempts where the server is out, slow or busy.
        budget_seconds: longest time in all, whatever happens.
        parameters: further fields of the request, as they are.
    """

    base_url: str
    model: str
    key: str | None = field(repr=False)
    timeout_seconds: float
    retries: int
    budget_seconds: float
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Rung:
    """One way to ask for a form. Servers differ in which of them they know, and none tells."""

    response_format: Mapping[str, Any] | None

    @property
    def as_json(self) -> bool:
        return self.response_format is not None


_LADDER = (
    _Rung({"type": "json_schema", "json_schema": {"name": "explanation", "strict": True, "schema": prompt.schema()}}),
    _Rung({"type": "json_object", "schema": prompt.schema(bounded=True)}),
    _Rung({"type": "json_object"}),
    _Rung(None),
)


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Reply(BaseModel):
    """What of an answer is read; the rest is let go."""

    model: str = ""
    choices: list[_Choice] = Field(min_length=1)


def explain(payload: IncidentPayload, endpoint: Endpoint) -> Explanation:
    """What the model says. Its text is printable and short; that it is true nobody has checked.

    Raises:
        ObserverFailed: there is no usable answer within the budget.
    """
    deadline = time.monotonic() + endpoint.budget_seconds
    return within(endpoint.budget_seconds, lambda: _explain(payload, endpoint, deadline))


def within(seconds: float, work: Callable[[], T]) -> T:
    """What the work gives, if it gives anything in time; otherwise it is left alone, and dies with the process.

    Raises:
        ObserverFailed: it did not end in time, or failed.
    """
    done: SimpleQueue[T | Exception] = SimpleQueue()

    def run() -> None:
        try:
            done.put(work())
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            done.put(error)

    Thread(target=run, name="stillsafe-observer", daemon=True).start()
    try:
        result = done.get(timeout=seconds)
    except Empty:
        raise ObserverFailed(Failure.SLOW, f"no answer within {seconds:g} s") from None
    if isinstance(result, ObserverFailed):
        raise result
    if isinstance(result, Exception):
        # A stranger's answer may break a library in ways that it does not document. Its words may hold the key.
        raise ObserverFailed(Failure.UNUSABLE, f"an answer that broke the client ({type(result).__name__})")
    return result


def _explain(payload: IncidentPayload, endpoint: Endpoint, deadline: float) -> Explanation:
    """Down the ladder until an answer is usable."""
    retries = endpoint.retries
    failed = ObserverFailed(Failure.UNUSABLE, "no usable answer")
    for rung in _LADDER:
        try:
            reply, retries = _patiently(payload, endpoint, rung, deadline, retries)
        except ObserverFailed as error:
            if error.kind not in (Failure.BROKEN, Failure.UNUSABLE):
                raise
            failed = error
            continue
        if told := _read(reply, rung, endpoint.model):
            return told
        failed = ObserverFailed(Failure.UNUSABLE, "an answer that is empty, cut off or of another form")
    raise failed


def _patiently(
    payload: IncidentPayload, endpoint: Endpoint, rung: _Rung, deadline: float, retries: int
) -> tuple[_Reply, int]:
    """The reply to one way of asking, and how many retries are left."""
    pause = SHORTEST_PAUSE_SECONDS
    while True:
        try:
            return _ask(payload, endpoint, rung, deadline), retries
        except ObserverFailed as error:
            too_late = time.monotonic() + pause >= deadline
            if error.kind not in _WORTH_ANOTHER_TRY or not retries or too_late:
                raise
        retries -= 1
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _ask(payload: IncidentPayload, endpoint: Endpoint, rung: _Rung, deadline: float) -> _Reply:
    """One request.

    Raises:
        ObserverFailed: what went wrong, in our words: the server's may hold anything, the key among it.
    """
    try:
        import httpx2
        import openai

        from stillsafe.observer.transport import Wire
    except ImportError:
        raise ObserverFailed(Failure.NOT_INSTALLED, f"the client library is missing: {INSTALL}") from None
    patience = min(endpoint.timeout_seconds, deadline - time.monotonic())
    if patience <= 0:
        raise ObserverFailed(Failure.SLOW, "the budget was spent before it was asked")
    wire = Wire(deadline, authorized=endpoint.key is not None)
    form = {} if rung.response_format is None else {"response_format": rung.response_format}
    with httpx2.Client(transport=wire, timeout=patience, trust_env=False, follow_redirects=False) as http:
        client = openai.OpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.key or "none",
            http_client=http,
            timeout=patience,
            max_retries=0,
        )
        try:
            raw = client.chat.completions.with_raw_response.create(
                model=endpoint.model,
                messages=prompt.messages(payload, as_json=rung.as_json),  # type: ignore[arg-type] # plain dictionaries
                extra_body={**endpoint.parameters, **form},
                timeout=patience,
            )
        except openai.APIStatusError as error:
            kind = _STATUSES.get(error.status_code, Failure.BROKEN)
            raise ObserverFailed(kind, f"the server answered {error.status_code}") from None
        except openai.APIConnectionError as error:
            raise _unconnected(error, slow=isinstance(error, openai.APITimeoutError)) from None
        return _reply(raw.http_response.content)


def _unconnected(error: Exception, *, slow: bool) -> ObserverFailed:
    """What broke the line: ourselves, the clock, or the other side."""
    if isinstance(error.__cause__, ObserverFailed):
        return error.__cause__
    if slow:
        return ObserverFailed(Failure.SLOW, "the server did not answer in time")
    return ObserverFailed(Failure.UNREACHABLE, "the server cannot be reached, or hung up")


def _reply(body: bytes) -> _Reply:
    try:
        return _Reply.model_validate_json(body)
    except ValidationError:
        raise ObserverFailed(Failure.UNUSABLE, "an answer that is not of the protocol") from None


def _read(reply: _Reply, rung: _Rung, model: str) -> Explanation | None:
    choice = reply.choices[0]
    text, cut = choice.message.content or "", choice.finish_reason == "length"
    told = prompt.from_json(text, model) if rung.as_json and not cut else None
    if not rung.as_json:
        told = prompt.from_json(text, model) or prompt.from_text(text, model, cut=cut)
    if told is None or reply.model in ("", model):
        return told
    return replace(told, llm_model=prompt.clean(f"{model} (as {reply.model})", prompt.LONGEST_MODEL))
