"""The gate: requests that their head alone shows to come from a web page of another site are answered 403.

A browser sends such requests from any page to any address that it reaches, also to a service on loopback. They are
no client's traffic, so they end here, before any route: nothing counts or records them. Two ways of a page are closed:

- It belongs to another site: the browser writes so into `Origin` and `Sec-Fetch-Site` (W3C Fetch Metadata), which
  no page can change. Clients that are no browsers send neither.
- Its own host name resolves to this machine (DNS rebinding), so that the browser takes both for one site. Then the
  `Host` header has that name, which is none of this service's names.
"""

import re
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import Scope

from stillsafe.core.schema import Violation
from stillsafe.serving.access.permissions import HEALTH
from stillsafe.serving.body.json_body import BODY
from stillsafe.serving.client import path_below
from stillsafe.serving.problems import Problem, problem
from stillsafe.settings_exposure import ANY_HOST

FOREIGN_HOST = problem(
    403, "The service does not answer under that host name. Its owner can add it to `allowed_hosts` in [exposure]."
)
CROSS_SITE = problem(
    403, "The request comes from a web page of another site. A proxy before the service must keep the Host header."
)
AMBIGUOUS = problem(403, "The request repeats a header that says where it comes from.")
NO_CONTENT_TYPE = problem(
    415,
    "The body must be application/json, and a browser must say so.",
    [Violation(BODY, "wrong_media_type", "no Content-Type", "application/json")],
    Accept="application/json",
)
MOST_HOST_BYTES = 300
"""Longest Host header that is looked at: a DNS name has at most 253 characters (RFC 1035), a port 6."""
CACHE_SIZE = 256
"""Most Host headers whose result is kept."""
_LOCALHOST = "localhost"
_OWN_SITES = (None, b"same-origin", b"none")
"""Values of `Sec-Fetch-Site` that are served; `none` is an address that the user typed or chose."""
_ORIGIN_NAMES = frozenset({b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"})
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:/@\[\]]+?)\.?)(?::\d*)?")
_ORIGIN = re.compile(rb"(https?)://([^\s/@]+)")
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


class Gate:
    """Refuses requests of web pages of other sites.

    Args:
        allowed_hosts: lower-case names that clients may use; `*` is any. On connections to loopback the names of
            this machine are allowed as well, and without this list any name elsewhere. The address that a
            connection was made to is always allowed, because no DNS name stands behind it; for `/health/*` any
            address, because probes come by that of a proxy.
    """

    def __init__(self, allowed_hosts: Sequence[str] = ()) -> None:
        names = frozenset(allowed_hosts)
        loopback_names = names | machine_names()

        @lru_cache(maxsize=CACHE_SIZE)
        def is_allowed(address: str | None, host: bytes) -> bool:
            own, name = _address_of(address), host_name(host)
            if ANY_HOST in names or (own is not None and name == str(own)):
                return True
            if address == _LOCALHOST or (own is not None and own.is_loopback):
                return name in loopback_names
            return not names or name in names

        self._is_allowed = is_allowed

    def problem(self, scope: Scope) -> Problem | None:
        """Why an HTTP request is refused, or None if it is not."""
        pairs = scope["headers"]
        headers = dict(pairs)
        if len(headers) != len(pairs) and _repeats_origin(pairs):
            return AMBIGUOUS
        host, server = headers.get(b"host"), scope.get("server")
        if host is not None and not (
            len(host) <= MOST_HOST_BYTES
            and (self._is_allowed(server[0] if server else None, host) or _is_probe_by_address(scope, host))
        ):
            return FOREIGN_HOST
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if origin is None and site is None:
            return None
        if origin is None and _is_followed_link(scope["method"], headers):
            return None
        if site not in _OWN_SITES or (origin is not None and not is_same_origin(origin, host)):
            return CROSS_SITE
        if scope["method"] == "POST" and not headers.get(b"content-type", b"").partition(b";")[0].strip():
            return NO_CONTENT_TYPE
        return None


def _is_followed_link(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a person follows a link in a window of its own: the page with the link cannot read the answer."""
    navigation = (headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest"))
    return method in ("GET", "HEAD") and navigation == (b"navigate", b"document")


def _is_probe_by_address(scope: Scope, host: bytes) -> bool:
    """Whether a request is one for health under an address."""
    return path_below(scope).startswith(HEALTH) and _address_of(host_name(host)) is not None


def machine_names() -> frozenset[str]:
    """The names by which clients on this machine reach it."""
    name = socket.gethostname().lower()
    return frozenset({_LOCALHOST, "127.0.0.1", "::1", name, name.partition(".")[0]} - {""})


def host_name(host: bytes) -> str:
    """The lower-case name or address in a Host header, without port, brackets and final dot; empty if it has none."""
    match = _HOST.fullmatch(host.decode("latin-1").strip().lower())
    return (match[1] or match[2]) if match else ""


def is_same_origin(origin: bytes, host: bytes | None) -> bool:
    """Whether an Origin header names the host and port of the Host header.

    The schemes may differ, because a proxy may end TLS; a default port may be written or not (RFC 6454).
    """
    match = _ORIGIN.fullmatch(origin.strip().lower())
    if match is None or not host:
        return False
    port = _DEFAULT_PORTS[match[1]]
    return match[2].removesuffix(port) == host.strip().lower().removesuffix(port)


def _repeats_origin(pairs: Iterable[tuple[bytes, bytes]]) -> bool:
    counts = Counter(name for name, _ in pairs)
    return any(counts[name] > 1 for name in _ORIGIN_NAMES)


def _address_of(address: str | None) -> IPv4Address | IPv6Address | None:
    """The address in a text; None for a name, a Unix socket, or a server without an address."""
    try:
        own = ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    return (own.ipv4_mapped or own) if isinstance(own, IPv6Address) else own
