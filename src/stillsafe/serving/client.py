"""Who sends a request: the key that it presents, or else the address that it comes from.

A proxy's address stands for all clients behind it, so that of a trusted proxy is replaced by the one that it forwards.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

KEY_NAME = "stillsafe.key"
"""Where an ASGI scope has the name of the key that the request presents."""
ADDRESS = "stillsafe.address"
"""Where an ASGI scope has the address that a trusted proxy forwards."""
CACHE_SIZE = 1024
"""Most addresses whose network is kept."""


def client_of(scope: Scope, key_name: str | None) -> str:
    """The identity of a client, for what counts clients: `key:NAME`, `address:IP`, or empty if neither is known.

    Args:
        scope: the ASGI scope of the request.
        key_name: the name of the key that it presents, or None.
    """
    if key_name is not None:
        return f"key:{key_name}"
    address = scope.get(ADDRESS)
    if address is None:
        peer = scope.get("client")
        address = client_network(peer[0]) if peer else ""
    return f"address:{address}" if address else ""


def path_below(scope: Scope) -> str:
    """The path of a request below the one under which a proxy, or another application, has this application."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if not root or not path.startswith(root) or path[len(root) : len(root) + 1] not in ("", "/"):
        return path
    return path[len(root) :] or "/"


@lru_cache(maxsize=CACHE_SIZE)
def client_network(address: str) -> str:
    """The client that an address stands for: an IPv4 address, or the 64 bits of IPv6 that one site has to itself.

    A name that is no address, such as that of a test's client, stands for itself.
    """
    if ":" not in address:
        return address
    try:
        number = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if number.ipv4_mapped is not None:
        return str(number.ipv4_mapped)
    return str(IPv6Network((number, 64), strict=False))


class Proxies:
    """The proxies whose word about their clients counts.

    Args:
        networks: addresses and networks, as `[exposure] trusted_proxies` has them.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = tuple(ip_network(each) for each in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether an address is a proxy's."""
        return bool(self._networks) and _is_within(address, self._networks)

    def note_client(self, scope: Scope) -> None:
        """Put the client's address into the scope of a request that a trusted proxy forwards.

        The address is the last one that no trusted proxy has: every earlier one may be the client's own invention.
        Where two headers differ, or an entry is no address, it is not known who wrote them, and the proxy's counts.
        """
        peer = scope.get("client")
        if not peer or not self.trusts(peer[0]):
            return
        clients = {
            self._last_foreign(entries)
            for entries in (_common_chain(scope["headers"]), _standard_chain(scope["headers"]))
            if entries
        }
        if len(clients) == 1 and (client := clients.pop()) is not None:
            scope[ADDRESS] = client_network(client)

    def _last_foreign(self, entries: Sequence[str]) -> str | None:
        """The last address of a chain that is no trusted proxy's, or the first if all are; None if it is unclear."""
        for entry in reversed(entries):
            address = _address(entry)
            if address is None or not self.trusts(address):
                return address
        return _address(entries[0])


@lru_cache(maxsize=CACHE_SIZE)
def _is_within(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        number = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    ipv4_address = number.ipv4_mapped if isinstance(number, IPv6Address) else None
    return any((ipv4_address or number) in network for network in networks)


def _common_chain(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    return [entry for entry in _header_value(headers, b"x-forwarded-for").split(",") if entry.strip()]


def _standard_chain(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The values of `for` in a `Forwarded` header (RFC 7239); an element without one is an unknown client."""
    elements = [element for element in _header_value(headers, b"forwarded").split(",") if element.strip()]
    pairs = [dict(_pair(part) for part in element.split(";")) for element in elements]
    return [each.get("for", "unknown") for each in pairs]


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _header_value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return ",".join(value.decode("latin-1") for header, value in headers if header == name)


def _address(entry: str) -> str | None:
    """The address in an entry, without brackets and port; None if it has none."""
    text = entry.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
