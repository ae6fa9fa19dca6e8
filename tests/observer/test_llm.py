"""Calling a language model: every response format, every kind of failure, never beyond the budget."""

import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from stillsafe.errors import Failure, ObserverFailed
from stillsafe.observer import llm
from stillsafe.observer.payload import Explanation
from tests.observer.incidents import payload
from tests.observer.server import (
    GOOD,
    MISBEHAVIOURS,
    MODEL,
    Behaviour,
    Handler,
    answering,
    completion,
    failing,
    hang,
    listening,
)

EXPLANATION = Explanation(
    "A feature is missing. The fallback answers.",
    "The feed has failed.",
    "Look at the feed.\nCall its owner.",
    MODEL,
)


def endpoint(url: str, **options: Any) -> llm.Endpoint:
    limits: dict[str, Any] = {"timeout_seconds": 30, "retries": 0, "budget_seconds": 60, "parameters": {}, **options}
    return llm.Endpoint(url, MODEL, None, **limits)


def supporting(*formats: str) -> Behaviour:
    """A server that supports some response formats and fails for the others, as real ones do."""

    def behave(handler: Handler, request: dict[str, Any]) -> None:
        value = request.get("response_format", {"type": "text"})
        name = value["type"] + ("+schema" if value["type"] == "json_object" and "schema" in value else "")
        if name not in formats:
            handler.give(b'{"error": "no such format"}', 500)
        elif name == "text":
            handler.give(
                completion("Summary: It broke.\nLikely causes:\n- The feed.\n1. The join.\nRecommendations:\nLook.")
            )
        else:
            handler.give(completion(json.dumps(GOOD)))

    return behave


@pytest.mark.parametrize(
    ("formats", "request_count", "explanation"),
    [
        (("json_schema",), 1, EXPLANATION),
        (("json_object+schema", "json_object"), 2, EXPLANATION),
        (("json_object",), 3, EXPLANATION),
        (("text",), 4, Explanation("It broke.", "The feed.\nThe join.", "Look.", MODEL)),
    ],
)
def test_formats_are_tried_until_the_server_supports_one(
    formats: tuple[str, ...], request_count: int, explanation: Explanation
) -> None:
    """A JSON schema first, then an object, then text: every server gives an explanation."""
    with listening(supporting(*formats)) as server:
        assert llm.explain(payload(), endpoint(server.url)) == explanation
        assert len(server.requests) == request_count


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(GOOD),
        f"Here you are:\n```json\n{json.dumps(GOOD, indent=2)}\n```\nGood luck!",
        json.dumps({**GOOD, "likely_causes": "The feed has failed.", "confidence": 0.9}),
    ],
)
def test_json_is_found_where_models_put_it(content: str) -> None:
    """In fences, between sentences, with a string in place of a list, with unknown fields."""
    with listening(answering(content)) as server:
        assert llm.explain(payload(), endpoint(server.url)) == EXPLANATION


def test_a_truncated_answer_is_not_complete() -> None:
    """Truncated JSON is requested again in another format; truncated text keeps only its complete sentences."""

    def truncate(handler: Handler, request: dict[str, Any]) -> None:
        text = json.dumps(GOOD) if "response_format" in request else "It broke. The fallback ans"
        handler.give(completion(text, "length"))

    with listening(truncate) as server:
        assert llm.explain(payload(), endpoint(server.url)) == Explanation("It broke.", "", "", MODEL)
        assert len(server.requests) == 4


def test_the_model_that_answered_is_named() -> None:
    """The configured model is named, and the model in the reply if it is another."""
    with listening(lambda handler, _: handler.give(completion(json.dumps(GOOD), model="other\x1b[31m"))) as server:
        assert llm.explain(payload(), endpoint(server.url)).llm_model == f"{MODEL} (as other)"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("401", Failure.ACCESS_REFUSED),
        ("404", Failure.ACCESS_REFUSED),
        ("429", Failure.RATE_LIMITED),
        ("500", Failure.SERVER_ERROR),
        ("redirects", Failure.SERVER_ERROR),
        ("hangs up", Failure.UNREACHABLE),
        ("streams for ever", Failure.TOO_LONG),
        ("10 MB", Failure.TOO_LONG),
        ("packed", Failure.TOO_LONG),
        ("deep", Failure.UNUSABLE),
        ("nothing", Failure.UNUSABLE),
        ("not JSON", Failure.UNUSABLE),
        ("of another protocol", Failure.UNUSABLE),
        ("no choices", Failure.UNUSABLE),
        ("null answer", Failure.UNUSABLE),
    ],
)
def test_each_failure_has_its_kind(name: str, kind: Failure) -> None:
    """The error has the kind of failure and never quotes the server."""
    with listening(MISBEHAVIOURS[name]) as server:
        error = failure(lambda: llm.explain(payload(), endpoint(server.url)))
        assert all(request["path"] == "/v1/chat/completions" for request in server.requests)
    assert error.kind is kind
    assert "sk-secret" not in str(error)
    assert "Ignore" not in str(error)


def failure(call: Callable[[], object]) -> ObserverFailed:
    with pytest.raises(ObserverFailed) as error:
        call()
    return error.value


@pytest.mark.parametrize(("status", "request_count"), [(429, 2), (401, 1), (500, 4)])
def test_only_transient_failures_are_retried(status: int, request_count: int) -> None:
    """A busy server gets a retry, a refusal none, and a server error only the other formats."""
    with listening(failing(status)) as server:
        failure(lambda: llm.explain(payload(), endpoint(server.url, retries=1)))
        assert len(server.requests) == request_count


def test_a_server_that_recovers_is_used() -> None:
    """After two answers of 429 the third attempt has the explanation."""

    def recovering(handler: Handler, _request: object) -> None:
        behaviour = failing(429) if len(handler.server.requests) < 3 else answering(GOOD)
        behaviour(handler, {})

    with listening(recovering) as server:
        assert llm.explain(payload(), endpoint(server.url, retries=2)) == EXPLANATION


@pytest.mark.parametrize("name", ["hangs", "drips", "drips headers"])
def test_no_call_exceeds_the_budget(name: str) -> None:
    """A server that sends bytes without end is abandoned when the budget is spent; retries do not extend it."""
    llm.run_within(60, lambda: __import__("openai"))
    with listening(MISBEHAVIOURS[name]) as server:
        start = time.monotonic()
        error = failure(lambda: llm.explain(payload(), endpoint(server.url, budget_seconds=1, retries=10)))
        assert time.monotonic() - start < 1 + 20
    assert error.kind is Failure.SLOW


def test_a_silent_server_times_out_before_the_budget() -> None:
    """The timeout applies to one attempt; a retry follows if one is left."""
    with listening(hang) as server:
        error = failure(lambda: llm.explain(payload(), endpoint(server.url, timeout_seconds=0.3, retries=1)))
        assert len(server.requests) == 2
    assert error.kind is Failure.SLOW


def test_a_closed_port_is_unreachable() -> None:
    """The failure has its own kind."""
    with socket.socket() as closed_port:
        closed_port.bind(("127.0.0.1", 0))
        error = failure(lambda: llm.explain(payload(), endpoint(f"http://127.0.0.1:{closed_port.getsockname()[1]}/v1")))
    assert error.kind is Failure.UNREACHABLE


def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names for other programs gets no request."""
    with listening(answering(GOOD)) as server, listening(answering("Hello!")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert llm.explain(payload(), endpoint(server.url)) == EXPLANATION
        assert proxy.requests == []


def test_the_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error names the package to install."""
    monkeypatch.setitem(sys.modules, "openai", None)
    error = failure(lambda: llm.explain(payload(), endpoint("http://127.0.0.1:9/v1")))
    assert error.kind is Failure.NOT_INSTALLED
    assert 'pip install "stillsafe[llm]"' in str(error)


def test_the_representation_hides_the_key() -> None:
    """A printed endpoint does not show its key."""
    assert "sk-" not in repr(llm.Endpoint("http://host/v1", MODEL, "sk-1", 1, 0, 1, {}))


def test_parameters_are_sent_unchanged() -> None:
    """The request has the configured fields and no defaults of its own."""
    with listening(answering(GOOD)) as server:
        llm.explain(payload(), endpoint(server.url, parameters={"max_completion_tokens": 7, "seed": 1}))
        (request,) = server.requests
    assert (request["max_completion_tokens"], request["seed"]) == (7, 1)
    assert "max_tokens" not in request
