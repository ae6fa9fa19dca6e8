"""Keys: 256 random bits that a client presents. They are shown once; the store has their SHA-256.

A digest of so many random bits needs no salt and no slow function: there are too many to try.
"""

import hashlib
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Engine

from stillsafe.errors import ConfigurationError
from stillsafe.store import database
from stillsafe.store.read.keys import KeyRecord, stored_keys
from stillsafe.store.write import keys as key_store

PREFIX = "stsf_"
"""Start of every key, by which people and secret scanners recognise one."""
RANDOM_BYTES = 32
UNKNOWN = "unknown"
"""What metrics and the log call a client without a valid key."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", flags=re.ASCII)
_RATE = re.compile(r"(\d{1,9})(?:\s*/\s*min)?", flags=re.ASCII)


class KeyScope(StrEnum):
    """What a key may be used for. No scope contains another one."""

    PREDICT = "predict"  #: Predictions, and the schema that they need.
    LABEL = "label"  #: Labels, which are evidence.
    READ = "read"  #: State, incidents, windows, baseline, metrics, dashboard, API documentation.
    OPERATE = "operate"  #: Hold and release.


def generate_key() -> str:
    """A new key."""
    return PREFIX + urlsafe_b64encode(secrets.token_bytes(RANDOM_BYTES)).rstrip(b"=").decode()


def key_digest(key: bytes) -> str:
    """What the store has of a key: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(key).hexdigest()


def create_key(
    engine: Engine, name: str, scopes: Iterable[KeyScope], *, rate_per_minute: int | None = None, at: datetime
) -> str:
    """Make a key and store its digest. Returns the key, which cannot be read again.

    Args:
        engine: the service's store.
        name: who uses the key.
        scopes: what it may be used for.
        rate_per_minute: most requests a minute in each process, or None for any number.
        at: the time now, aware UTC.

    Raises:
        ConfigurationError: the name cannot be used, or there is no scope.
        RefusedError: a valid key has that name.
        StoreError: the store cannot be written.
    """
    if not _NAME.fullmatch(name) or name == UNKNOWN:
        remedy = "Use at most 64 letters, digits, dots, hyphens, underscores and at signs."
        raise ConfigurationError(f"{name!r} cannot be the name of a key.", remedy)
    names = sorted({scope.value for scope in scopes})
    if not names:
        raise ConfigurationError("A key needs a scope.", f"Give --scope {', --scope '.join(KeyScope)}, or several.")
    key = generate_key()
    with database.writing(engine) as connection:
        key_store.insert_key(
            connection, name, key_digest(key.encode()), scopes=names, rate_per_minute=rate_per_minute, at=at
        )
    return key


def revoke_key(engine: Engine, name: str, *, at: datetime) -> None:
    """Revoke the valid key of a name, for good.

    Raises:
        RefusedError: there is none.
        StoreError: the store cannot be written.
    """
    with database.writing(engine) as connection:
        key_store.revoke_key(connection, name, at=at)


def list_keys(engine: Engine) -> list[KeyRecord]:
    """The service's keys, in the order in which they were made.

    Raises:
        StoreError: the store cannot be read.
    """
    with database.reading(engine) as connection:
        return stored_keys(connection)


def parse_rate(text: str) -> int:
    """Requests a minute, from `600` or `600/min`.

    Raises:
        ConfigurationError: the text is no such rate, or less than 1.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise ConfigurationError(f"{text!r} is no rate.", "Write requests a minute, such as 600/min.")
    return int(match[1])
