"""Checks of single values of `stillsafe.toml`. No message quotes a value that may be secret."""

import re
from urllib.parse import urlsplit
from zoneinfo import available_timezones


def http_address(value: str) -> str:
    """An address of a server.

    Raises:
        ValueError: it is none, or holds a password.
    """
    # The address may contain a password, so no message quotes it.
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("must be the bare address: the key comes from the environment (`key_variable`)")
    return value


def variable_name(value: str) -> str:
    """The name of an environment variable.

    Raises:
        ValueError: it is none.
    """
    # The value may be the key itself, written here by mistake, so no message quotes it.
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("must be the name of an environment variable, and never the key itself")
    return value


def time_zone(value: str) -> str:
    """The IANA name of a time zone.

    Raises:
        ValueError: it is none.
    """
    if value != "UTC" and value not in available_timezones():
        raise ValueError("must be the IANA name of a time zone, such as UTC or Europe/Berlin")
    return value


def digest(value: str) -> str:
    """A SHA-256 as lower-case hexadecimal digits.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("must be 64 lower-case hexadecimal digits, as `sha256sum` prints them")
    return value
