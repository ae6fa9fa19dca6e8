"""`check` says who may reach the service, and names a choice that is missing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillsafe.check.exposure import SUBJECT, exposure_findings
from stillsafe.check.findings import Verdict
from stillsafe.settings import Settings, parse
from stillsafe.store.read.keys import KeyRecord
from tests.serving.services import FEATURES, NOW

WEB = KeyRecord(1, "web", "digest", ("predict",), None, NOW)
OLD_KEY = replace(WEB, id=2, name="gone", revoked_at=NOW)
OK, WARNING = Verdict.OK, Verdict.WARNING


def settings_of(host: str, **exposure: Any) -> Settings:
    """A service that listens somewhere."""
    document = {
        "service": {"name": "x"},
        "model": {"file": "m", "sha256": "0" * 64, "version": "1"},
        "fallback": {"default": "no"},
        "features": FEATURES,
        "serving": {"host": host, "max_connections": 100},
        "exposure": exposure,
    }
    return parse(document, folder=Path())


def report(host: str, records: list[KeyRecord] | None, **exposure: Any) -> tuple[list[Verdict], str]:
    """The verdicts and all messages."""
    findings = list(exposure_findings(settings_of(host, **exposure), records))
    assert {finding.subject for finding in findings} == {SUBJECT}
    return [finding.verdict for finding in findings], " ".join(finding.message for finding in findings)


@pytest.mark.parametrize(
    ("host", "choice", "keys", "verdicts", "words"),
    [
        ("127.0.0.1", None, [], [OK, OK, OK], "not decided"),
        ("localhost", False, [], [OK, OK, OK], "Clients need no key"),
        ("::1", True, [WEB], [OK, OK, OK], "web (predict)"),
        ("127.0.0.1", True, [], [OK, WARNING, OK], "stillsafe key create"),
        ("127.0.0.1", True, [OLD_KEY], [OK, WARNING, OK], "there is none"),
        ("127.0.0.1", True, None, [OK, OK, OK], "cannot be read"),
        ("0.0.0.0", None, [WEB], [OK, WARNING, OK, OK], "not decided in [exposure]"),  # noqa: S104 - not listened on
        ("0.0.0.0", None, [], [OK, WARNING, WARNING, OK], "not decided in [exposure]"),  # noqa: S104 - the same
        ("models.example.com", True, [WEB, OLD_KEY], [OK, OK, OK], "No key has the scope label, read, operate"),
        ("10.0.0.7", False, [], [OK, WARNING, OK], "Other machines reach the service"),
    ],
)
def test_the_missing_choice_is_named(
    host: str, choice: bool | None, keys: list[KeyRecord] | None, verdicts: list[Verdict], words: str
) -> None:
    """On another address than loopback a service without a choice, or without keys, is a warning with what to do."""
    found_verdicts, text = report(host, keys, **({} if choice is None else {"keys": choice}))
    assert found_verdicts == verdicts
    assert words in text
    assert "gone" not in text
    assert "digest" not in text


def test_address_names_and_limits_are_told() -> None:
    """As `serve` prints them."""
    _, text = report("::1", [], allowed_hosts=["models.example.com"], trusted_proxies=["10.0.0.0/24"])
    assert "http://[::1]:8000, reached by this machine only" in text
    assert "models.example.com, the names of this machine" in text
    assert "100 connections, 50 of one address (trusted proxies 10.0.0.0/24 as many as all)" in text
    _, text = report("10.0.0.7", [])
    assert "reached by other machines too" in text
    assert "under any host name" in text
