"""A session is a key with `read`, until its end or the key's; nothing but the server can make one."""

from dataclasses import replace
from datetime import timedelta

import pytest

from stillsafe.serving.access.key_cache import KeyTable
from stillsafe.serving.access.session import LENGTH, Sessions
from stillsafe.store.read.keys import KeyRecord
from tests.serving.services import NOW

READER = KeyRecord(1, "me", "digest", ("read",), None, NOW)
OTHER = replace(READER, id=2, name="other", digest="other digest")
TABLE = KeyTable.of([READER, OTHER])
SESSIONS = Sessions("loans", "salt")


def value_of(cookie: str) -> str:
    """What a browser sends back."""
    return cookie.partition(";")[0]


def key_of(cookie: str, *, sessions: Sessions = SESSIONS, table: KeyTable = TABLE, age: timedelta = LENGTH / 2) -> str:
    """The name of the key for which a cookie stands, or empty."""
    record = sessions.key([(b"host", b"x"), (b"cookie", cookie.encode())], table, NOW + age)
    return record.name if record else ""


COOKIE = value_of(SESSIONS.cookie(READER, NOW, secure=False))
NAME, _, VALUE = COOKIE.partition("=")


def test_a_session_stands_for_its_key() -> None:
    """Also among other cookies, for twelve hours."""
    assert key_of(COOKIE) == "me"
    assert key_of(f"a=b; {COOKIE} ;c=d") == "me"
    assert key_of(COOKIE, age=LENGTH - timedelta(seconds=1)) == "me"
    assert key_of(COOKIE, age=LENGTH) == ""


def test_a_session_ends_with_its_key() -> None:
    """Revoked keys are not in the table; one that lost the scope opens nothing; a new key of that name is another."""
    assert key_of(COOKIE, table=KeyTable.of([OTHER])) == ""
    assert key_of(COOKIE, table=KeyTable.of([replace(READER, scopes=("predict",))])) == ""
    assert key_of(COOKIE, table=KeyTable.of([replace(READER, digest="a new one")])) == ""


@pytest.mark.parametrize("position", range(len(VALUE)))
def test_no_character_can_be_changed(position: int) -> None:
    """Neither the key, nor the end, nor the signature."""
    for character in "01a.":
        if character != VALUE[position]:
            assert key_of(f"{NAME}={VALUE[:position]}{character}{VALUE[position + 1 :]}") == ""


@pytest.mark.parametrize("value", ["", ".", "1", "1..", "1.2", "1.2.3", "x" * 5000, "1.99999999999." + "0" * 64, "ä"])
def test_anything_else_is_no_session(value: str) -> None:
    """It raises nothing."""
    assert key_of(f"{NAME}={value}") == ""
    assert key_of(value) == ""


def test_another_service_s_session_is_none() -> None:
    """Each has a cookie and a salt of its own."""
    assert key_of(COOKIE, sessions=Sessions("loans", "another salt")) == ""
    assert Sessions("prices", "salt").cookie_name != SESSIONS.cookie_name


def test_no_script_and_no_other_site_gets_the_cookie() -> None:
    """HttpOnly, SameSite=Strict, a path; Secure where the browser came by HTTPS; the end deletes it."""
    for secure in (False, True):
        attributes = SESSIONS.cookie(READER, NOW, secure=secure).split("; ")[1:]
        assert set(attributes) == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict", *(["Secure"] * secure)}
    assert SESSIONS.end_cookie().startswith(f"{NAME}=; Path=/; Max-Age=0;")
