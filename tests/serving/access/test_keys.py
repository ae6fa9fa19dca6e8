"""A key has 256 random bits, is shown once, and is stored as its digest."""

import hashlib
import re

import pytest

from stillsafe.errors import ConfigurationError, RefusedError
from stillsafe.serving.access.keys import (
    KeyScope,
    create_key,
    generate_key,
    key_digest,
    list_keys,
    parse_rate,
    revoke_key,
)
from tests.serving.services import NOW, Service


def test_keys_are_long_and_differ() -> None:
    """A prefix that people and secret scanners know, and 43 characters for 32 bytes; safe in a header."""
    keys = {generate_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(re.fullmatch(r"stsf_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_the_store_has_the_digest_alone(service: Service) -> None:
    """By which a presented key is found; nothing leads back from it."""
    key = create_key(service.engine, "web", [KeyScope.READ, KeyScope.PREDICT], rate_per_minute=60, at=NOW)
    (record,) = list_keys(service.engine)
    assert record.digest == key_digest(key.encode()) == hashlib.sha256(key.encode()).hexdigest()
    assert (record.name, record.scopes, record.rate_per_minute) == ("web", ("predict", "read"), 60)
    revoke_key(service.engine, "web", at=NOW)
    assert [each.revoked_at for each in list_keys(service.engine)] == [NOW]
    with pytest.raises(RefusedError):
        revoke_key(service.engine, "web", at=NOW)


@pytest.mark.parametrize("name", ["", " ", "a b", "a:b", "unknown", "ä", "-a", "a" * 65, "a\n", "a/b", '"'])
def test_a_name_is_plain(service: Service, name: str) -> None:
    """It stands in metrics, in the log and on record; `unknown` there is a client without a key."""
    with pytest.raises(ConfigurationError, match="cannot be the name"):
        create_key(service.engine, name, [KeyScope.READ], at=NOW)
    assert list_keys(service.engine) == []


def test_a_key_without_a_scope_is_refused(service: Service) -> None:
    """It would open nothing."""
    with pytest.raises(ConfigurationError, match="--scope predict"):
        create_key(service.engine, "web", [], at=NOW)


@pytest.mark.parametrize(("text", "rate"), [("600", 600), ("600/min", 600), (" 1 / min ", 1)])
def test_a_rate_is_requests_a_minute(text: str, rate: int) -> None:
    """With or without its unit."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["0", "-1", "1/s", "", "x", "1.5", "1e3", "10/h", "٣"])
def test_another_rate_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ConfigurationError, match="600/min"):
        parse_rate(text)
