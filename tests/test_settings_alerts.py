"""The section `[[alerts]]`: receivers have names of their own, and secrets stay in the environment."""

from pathlib import Path
from typing import Any

import pytest

from stillsafe.errors import ConfigurationError
from stillsafe.settings import parse
from stillsafe.settings_alerts import AlertEvent
from tests.monitoring.conftest import DOCUMENT

CHAT: dict[str, Any] = {"name": "chat", "url_variable": "CHAT_URL"}


def _parse(*alerts: dict[str, Any]) -> Any:
    return parse({**DOCUMENT, "alerts": [*alerts]}, folder=Path()).alerts


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment when they are used; an empty one is none."""
    (chat,) = _parse({**CHAT, "secret_variable": "CHAT_SECRET", "events": ["opened"]})
    assert (chat.url, chat.secret, chat.events) == (None, None, (AlertEvent.OPENED,))
    monkeypatch.setenv("CHAT_URL", "https://host/hook")
    monkeypatch.setenv("CHAT_SECRET", "")
    assert (chat.url, chat.secret) == ("https://host/hook", None)
    assert _parse(CHAT)[0].events == tuple(AlertEvent)


@pytest.mark.parametrize(
    "change",
    [
        {"url_variable": "https://host/hush"},
        {"events": ["exploded"]},
        {"kind": "pigeon"},
        {"dashboard_url": "https://user:hush@host/"},
        {"name": ""},
        {"url": "https://host/hush"},
    ],
)
def test_mistakes_are_refused_without_quoting_them(change: dict[str, Any]) -> None:
    """The value may be the secret itself."""
    with pytest.raises(ConfigurationError) as refusal:
        _parse({**CHAT, **change})
    assert "hush" not in str(refusal.value)


def test_two_receivers_have_two_names() -> None:
    """The outbox knows them by it."""
    with pytest.raises(ConfigurationError, match="Two receivers are called"):
        _parse(CHAT, CHAT)
