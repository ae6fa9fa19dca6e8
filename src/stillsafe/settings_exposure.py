"""The section `[exposure]` of `stillsafe.toml`: who may reach the service."""

import re
from ipaddress import ip_address, ip_network
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


def _network(value: str) -> str:
    try:
        network = ip_network(value)
    except ValueError as error:
        raise ValueError(
            f'{quote(value)} is no address and no network; write for example "10.0.0.7" or "10.0.0.0/24"'
        ) from error
    if not network.prefixlen:
        raise ValueError(f"{quote(value)} is every address: any client could then claim to be any other")
    return str(network)


def is_loopback(host: str) -> bool:
    """Whether only clients on this machine reach an address to listen on."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Exposure(Section):
    """Which requests the service takes at all; see `docs/operations.md`."""

    allowed_hosts: Annotated[tuple[Annotated[str, AfterValidator(_host_name)], ...], Field(strict=False)] = ()
    """Host names that clients may use, and no others; `*` is any. On loopback also, and by default, this machine's."""
    keys: bool | None = None
    """Whether clients need a key (`stillsafe key create`); by default where `serve` does not listen on loopback."""
    trusted_proxies: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(strict=False)] = ()
    """Addresses or networks of your own proxies: the client is whom they name (X-Forwarded-For, Forwarded)."""
