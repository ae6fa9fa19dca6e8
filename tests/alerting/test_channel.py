"""The ways to a receiver: signed webhooks and apprise. No failure names the address."""

import hashlib
import hmac
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stillsafe.alerting.channel import AlertFailed, send, signature
from stillsafe.settings_alerts import Alert
from tests.alerting.receivers import receiver
from tests.ports import free_port

DOCUMENT: dict[str, Any] = {"alert_id": "a1", "title": "Title", "text": "Text", "is_resolution": False}
KEY_NAME = "TEST_SECRET"
WEBHOOK = Alert(name="chat", url_variable="TEST_URL", secret_variable=KEY_NAME, timeout=5.0)


def test_a_webhook_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver can check body and time with the shared key, and knows the alert by its id."""
    with receiver() as arrivals:
        monkeypatch.setenv("TEST_URL", arrivals.url)
        monkeypatch.setenv("TEST_SECRET", "key")
        send(WEBHOOK, DOCUMENT, 1_700_000_000)
        send(WEBHOOK.model_copy(update={"secret_variable": None}), DOCUMENT, 0)
    (headers, bare_headers), body = arrivals.headers, arrivals.bodies[0]
    digest = hmac.new(b"key", b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers["Stillsafe-Signature"] == f"t=1700000000,v1={digest}" == signature("key", 1_700_000_000, body)
    assert headers["Stillsafe-Alert-Id"] == "a1"
    assert "Stillsafe-Signature" not in bare_headers
    assert arrivals.documents[0] == DOCUMENT


def test_what_fails_is_said_without_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that is no success, a redirect, a dead port, no server, no variable, another scheme."""
    monkeypatch.setenv("TEST_SECRET", "key")
    with receiver() as arrivals:
        monkeypatch.setenv("TEST_URL", arrivals.url)
        for status in (302, 404, 500):
            arrivals.statuses = [status]
            with pytest.raises(AlertFailed, match=f"answered {status}"):
                send(WEBHOOK, DOCUMENT, 0)
        assert len(arrivals.bodies) == 3
    addresses = [f"http://127.0.0.1:{free_port()}/secret", "file:///secret", "http://[secret", ""]
    for address in addresses:
        monkeypatch.setenv("TEST_URL", address)
        with pytest.raises(AlertFailed) as failure:
            send(WEBHOOK, DOCUMENT, 0)
        assert "secret" not in str(failure.value)
    monkeypatch.setenv("TEST_URL", "http://127.0.0.1:1/")
    monkeypatch.delenv("TEST_SECRET")
    with pytest.raises(AlertFailed, match="TEST_SECRET is not set"):
        send(WEBHOOK, DOCUMENT, 0)


def test_apprise_gets_title_text_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot deliver is a failure, and what it raises too; without it the message says what to install."""
    calls: list[dict[str, Any]] = []
    outcome: list[Any] = [True, True, False, ValueError("json://secret")]

    def notify(**arguments: Any) -> bool:
        calls.append(arguments)
        result = outcome.pop(0)
        if isinstance(result, Exception):
            raise result
        return bool(result)

    module = ModuleType("apprise")
    channel = SimpleNamespace(add=lambda url: url.startswith("json"), notify=notify)
    monkeypatch.setattr(module, "Apprise", lambda: channel, raising=False)
    monkeypatch.setitem(sys.modules, "apprise", module)
    monkeypatch.setenv("TEST_URL", "json://secret")
    chat = WEBHOOK.model_copy(update={"kind": "apprise"})
    send(chat, DOCUMENT, 0)
    send(chat, {**DOCUMENT, "is_resolution": True}, 0)
    assert [call["notify_type"] for call in calls] == ["failure", "success"]
    assert (calls[0]["title"], calls[0]["body"]) == ("Title", "Text")
    for word in ("could not deliver", "raised ValueError"):
        with pytest.raises(AlertFailed, match=word) as failure:
            send(chat, DOCUMENT, 0)
        assert "secret" not in str(failure.value)
    monkeypatch.setenv("TEST_URL", "pager://x")
    with pytest.raises(AlertFailed, match="does not know"):
        send(chat, DOCUMENT, 0)
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(AlertFailed, match=r"pip install stillsafe\[alerts\]"):
        send(chat, DOCUMENT, 0)
