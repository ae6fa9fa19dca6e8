"""Asking a language model: every server's dialect, every kind of failure by its name, never beyond the budget."""

import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from stillsafe.errors import Failure, ObserverFailed
from stillsafe.observer import llm, prompt
from stillsafe.observer.payload import Explanation
from tests.observer.incidents import payload
from tests.observer.server import (
    GOOD,
    MISBEHAVIOURS,
    MODEL,
    Behaviour,
    Handler,
    completion,
    failing,
    hang,
    listening,
    saying,
)

TOLD = Explanation(
    "A feature is missing. The fallback answers.",
    "The feed has failed.",
    "Look at the feed.\nCall its owner.",
    MODEL,
)


def endpoint(url: str, **changed: Any) -> llm.Endpoint:
    told: dict[str, Any] = {"timeout_seconds": 30, "retries": 0, "budget_seconds": 60, "parameters": {}, **changed}
    return llm.Endpoint(url, MODEL, None, **told)


def knows(*forms: str) -> Behaviour:
    """A server that knows some forms of answer and fails at others, as real ones do."""

    def behave(handler: Handler, request: dict[str, Any]) -> None:
        form = request.get("response_format", {"type": "text"})
        name = form["type"] + ("+schema" if form["type"] == "json_object" and "schema" in form else "")
        if name not in forms:
            handler.give(b'{"error": "no such form"}', 500)
        elif name == "text":
            handler.give(
                completion("Summary: It broke.\nLikely causes:\n- The feed.\n1. The join.\nRecommendations:\nLook.")
            )
        else:
            handler.give(completion(json.dumps(GOOD)))

    return behave


@pytest.mark.parametrize(
    ("forms", "asked", "told"),
    [
        (("json_schema",), 1, TOLD),
        (("json_object+schema", "json_object"), 2, TOLD),
        (("json_object",), 3, TOLD),
        (("text",), 4, Explanation("It broke.", "The feed.\nThe join.", "Look.", MODEL)),
    ],
)
def test_the_ladder_goes_down_to_what_a_server_knows(forms: tuple[str, ...], asked: int, told: Explanation) -> None:
    """A JSON schema first, then an object, then text: whatever the server has, there is an explanation."""
    with listening(knows(*forms)) as server:
        assert llm.explain(payload(), endpoint(server.url)) == told
        assert len(server.requests) == asked


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(GOOD),
        f"Here you are:\n```json\n{json.dumps(GOOD, indent=2)}\n```\nGood luck!",
        json.dumps({**GOOD, "likely_causes": "The feed has failed.", "confidence": 0.9}),
    ],
)
def test_json_is_found_where_models_put_it(content: str) -> None:
    """In fences, between words, with a string where a list should be, with fields that nobody asked for."""
    with listening(saying(content)) as server:
        assert llm.explain(payload(), endpoint(server.url)) == TOLD


def test_a_cut_answer_is_not_taken_for_a_whole_one() -> None:
    """JSON that a limit cut off is asked for again in another form; of cut text only whole sentences are kept."""

    def cut(handler: Handler, request: dict[str, Any]) -> None:
        text = json.dumps(GOOD) if "response_format" in request else "It broke. The fallback ans"
        handler.give(completion(text, "length"))

    with listening(cut) as server:
        assert llm.explain(payload(), endpoint(server.url)) == Explanation("It broke.", "", "", MODEL)
        assert len(server.requests) == 4


def test_who_really_answered_is_told() -> None:
    """The model that was asked for is named, and the one that the server says it used, where that is another."""
    with listening(lambda handler, _: handler.give(completion(json.dumps(GOOD), model="other\x1b[31m"))) as server:
        assert llm.explain(payload(), endpoint(server.url)).llm_model == f"{MODEL} (as other)"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("401", Failure.REFUSED),
        ("404", Failure.REFUSED),
        ("429", Failure.LIMITED),
        ("500", Failure.BROKEN),
        ("redirects", Failure.BROKEN),
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
def test_each_failure_has_its_name(name: str, kind: Failure) -> None:
    """What went wrong is told by its kind and in words of ours; the server's own words are not repeated."""
    with listening(MISBEHAVIOURS[name]) as server:
        told = failure(lambda: llm.explain(payload(), endpoint(server.url)))
        assert all(request["path"] == "/v1/chat/completions" for request in server.requests)
    assert told.kind is kind
    assert "sk-secret" not in str(told)
    assert "Ignore" not in str(told)


def failure(call: Callable[[], object]) -> ObserverFailed:
    with pytest.raises(ObserverFailed) as raised:
        call()
    return raised.value


@pytest.mark.parametrize(("status", "asked"), [(429, 2), (401, 1), (500, 4)])
def test_only_what_may_pass_is_tried_again(status: int, asked: int) -> None:
    """A busy server is asked again, one that refuses is not, and a broken one only in other forms."""
    with listening(failing(status)) as server:
        failure(lambda: llm.explain(payload(), endpoint(server.url, retries=1)))
        assert len(server.requests) == asked


def test_a_server_that_comes_back_is_asked_again() -> None:
    """After two refusals for want of time the third attempt has the answer."""

    def recovering(handler: Handler, _request: object) -> None:
        behaviour = failing(429) if len(handler.server.requests) < 3 else saying(GOOD)
        behaviour(handler, {})

    with listening(recovering) as server:
        assert llm.explain(payload(), endpoint(server.url, retries=2)) == TOLD


@pytest.mark.parametrize("name", ["hangs", "drips", "drips headers"])
def test_the_budget_is_the_end(name: str) -> None:
    """However busily a server does nothing, it is left alone when the budget is spent; retries do not prolong it."""
    llm.within(60, lambda: __import__("openai"))
    with listening(MISBEHAVIOURS[name]) as server:
        began = time.monotonic()
        told = failure(lambda: llm.explain(payload(), endpoint(server.url, budget_seconds=1, retries=10)))
        assert time.monotonic() - began < 1 + 20
    assert told.kind is Failure.SLOW


def test_a_silent_server_times_out_before_the_budget() -> None:
    """A timeout is of one attempt: there is another where retries are left."""
    with listening(hang) as server:
        told = failure(lambda: llm.explain(payload(), endpoint(server.url, timeout_seconds=0.3, retries=1)))
        assert len(server.requests) == 2
    assert told.kind is Failure.SLOW


def test_nobody_listening_is_unreachable() -> None:
    """A port that is closed, and a host that does not exist."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        told = failure(lambda: llm.explain(payload(), endpoint(f"http://127.0.0.1:{held.getsockname()[1]}/v1")))
    assert told.kind is Failure.UNREACHABLE


def test_no_proxy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment names as a proxy for other programs hears nothing of incidents."""
    with listening(saying(GOOD)) as server, listening(saying("Hello!")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert llm.explain(payload(), endpoint(server.url)) == TOLD
        assert proxy.requests == []


def test_the_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not installed the extra is told its name."""
    monkeypatch.setitem(sys.modules, "openai", None)
    told = failure(lambda: llm.explain(payload(), endpoint("http://127.0.0.1:9/v1")))
    assert told.kind is Failure.NOT_INSTALLED
    assert 'pip install "stillsafe[llm]"' in str(told)


def test_a_key_is_never_shown() -> None:
    """Whoever prints an endpoint prints no key."""
    assert "sk-" not in repr(llm.Endpoint("http://host/v1", MODEL, "sk-1", 1, 0, 1, {}))


def test_parameters_are_sent_as_they_are() -> None:
    """What one server needs and another refuses is the settings' to say."""
    with listening(saying(GOOD)) as server:
        llm.explain(payload(), endpoint(server.url, parameters={"max_completion_tokens": 7, "seed": 1}))
        (sent,) = server.requests
    assert (sent["max_completion_tokens"], sent["seed"]) == (7, 1)
    assert "max_tokens" not in sent


def test_text_is_cleaned_and_cut() -> None:
    """Escapes, control signs and directions go; lines become one; what is too long is cut."""
    assert prompt.clean("a\x1b[31mb\x1b]0;t\x07c\n\td\u202ee\x00", 100) == "abc d e"
    assert prompt.clean("x" * 50, 10) == "xxxxxxx..."
    assert prompt.from_json('{"summary": "\\u0000 "}', MODEL) is None
    many = json.dumps({"summary": "s", "likely_causes": ["c"] * 99, "recommendations": ["r" * 9999]})
    told = prompt.from_json(many, MODEL)
    assert told is not None
    assert len(told.likely_causes.splitlines()) == prompt.MOST_POINTS
    assert len(told.recommendations) == prompt.LONGEST_POINT
