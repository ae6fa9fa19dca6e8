"""The ways to a receiver: signed webhooks and apprise. No failure names the address."""

import hashlib
import hmac
import sys
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
    addresses = [
        *(f"http://127.0.0.1:{free_port()}/secret", "file:///secret", "http://[secret", ""),
        *("https://user:secret@127.0.0.1/hook", "http://127.0.0.1/T0/SEC secret", "http://127.0.0.1:secret/"),
    ]
    for address in addresses:
        monkeypatch.setenv("TEST_URL", address)
        with pytest.raises(AlertFailed) as failure:
            send(WEBHOOK, DOCUMENT, 0)
        assert "secret" not in str(failure.value)
    monkeypatch.setenv("TEST_URL", "http://127.0.0.1:1/")
    monkeypatch.delenv("TEST_SECRET")
    with pytest.raises(AlertFailed, match="TEST_SECRET is not set"):
        send(WEBHOOK, DOCUMENT, 0)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # a plugin of apprise imports it
def test_apprise_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Title, text and kind arrive at an address of apprise; what it cannot deliver is a failure without the address."""
    chat = WEBHOOK.model_copy(update={"kind": "apprise"})
    with receiver() as arrivals:
        address = arrivals.url.replace("http://", "json://")
        monkeypatch.setenv("TEST_URL", address)
        send(chat, DOCUMENT, 0)
        send(chat, {**DOCUMENT, "is_resolution": True}, 0)
        arrivals.statuses = [500]
        with pytest.raises(AlertFailed, match="could not deliver") as failure:
            send(chat, DOCUMENT, 0)
        assert address.removeprefix("json://") not in str(failure.value)
    assert [(each["title"], each["message"]) for each in arrivals.documents[:2]] == [("Title", "Text")] * 2
    assert [each["type"] for each in arrivals.documents[:2]] == ["failure", "success"]
    monkeypatch.setenv("TEST_URL", "pager-of-nobody://x")
    with pytest.raises(AlertFailed, match="does not know"):
        send(chat, DOCUMENT, 0)


def test_without_apprise_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where apprise is not installed, the failure says what to install."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    monkeypatch.setenv("TEST_URL", "json://127.0.0.1")
    with pytest.raises(AlertFailed, match=r"pip install stillsafe\[alerts\]"):
        send(WEBHOOK.model_copy(update={"kind": "apprise"}), DOCUMENT, 0)
