"""The section `[exposure]` of `stillsafe.toml`: who may reach the service."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from stillsafe.settings_errors import quote
from stillsafe.settings_sections import Section

ANY_HOST = "*"
_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f]*:[0-9a-f:.]+")
"""A DNS name, an IPv4 address, or an IPv6 address without brackets."""


def _host_name(value: str) -> str:
    name = value.lower()
    if name != ANY_HOST and not _HOST_NAME.fullmatch(name):
        raise ValueError(
            f"{quote(value)} is no host name; write it without scheme, port and brackets, "
            'for example "models.example.com"'
        )
    return name


class Exposure(Section):
    """Which requests the service takes at all; see `docs/operations.md`."""

    allowed_hosts: Annotated[tuple[Annotated[str, AfterValidator(_host_name)], ...], Field(strict=False)] = ()
    """Host names that clients may use, and no others; `*` is any. On loopback also, and by default, this machine's."""
