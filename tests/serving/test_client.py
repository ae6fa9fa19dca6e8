"""A client is its key, or else its address; only a trusted proxy may say whose request it passes on."""

import pickle
from typing import Any

import pytest

from stillsafe.serving.client import ADDRESS, Proxies, client_network, client_of

PROXY = "10.0.0.7"


def scope_of(peer: str | None, *headers: tuple[str, str]) -> dict[str, Any]:
    """The ASGI scope of a request from an address."""
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    return {"type": "http", "client": None if peer is None else (peer, 1), "headers": pairs}


def client_behind(peer: str, *headers: tuple[str, str]) -> str:
    """Whom a request counts for, where 10.0.0.0/24 are trusted proxies."""
    scope = scope_of(peer, *headers)
    Proxies(["10.0.0.0/24", "fd00::7"]).note_client(scope)
    return client_of(scope, None)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
        ("a:b", "a:b"),
    ],
)
def test_an_address_stands_for_a_client(address: str, network: str) -> None:
    """Whoever has an IPv6 address has 2^64 of them, so these count together."""
    assert client_network(address) == network


def test_a_key_comes_before_the_address() -> None:
    """A client with a key is the same one wherever it is; without both it is unknown."""
    assert client_of(scope_of("192.0.2.1"), "web") == "key:web"
    assert client_of(scope_of("192.0.2.1"), None) == "address:192.0.2.1"
    assert client_of(scope_of("2001:db8::1"), None) == client_of(scope_of("2001:db8::2"), None)
    assert client_of(scope_of(None), None) == ""


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.3", "192.0.2.1"),
        ("10.0.0.3, 10.0.0.4", "10.0.0.3"),
        ("192.0.2.1:5678", "192.0.2.1"),
        ("[2001:db8::1]:5678", "2001:db8::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("203.0.113.9, nonsense", PROXY),
        ("203.0.113.9, unknown, 10.0.0.3", PROXY),
        (",,", PROXY),
        ("", PROXY),
    ],
)
def test_a_trusted_proxy_names_the_client(header: str, client: str) -> None:
    """The last address that no trusted proxy has, because a client may have written everything before it."""
    assert client_behind(PROXY, ("X-Forwarded-For", header)) == f"address:{client}"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ('for=203.0.113.9, For="[2001:db8::1]:9";proto=https', "2001:db8::/64"),
        ("proto=https;for=192.0.2.1;by=10.0.0.7", "192.0.2.1"),
        ("for=192.0.2.1, for=_hidden", PROXY),
        ("for=192.0.2.1, proto=https", PROXY),
    ],
)
def test_the_standard_header_is_read_as_well(header: str, client: str) -> None:
    """RFC 7239; an obfuscated client is unknown, so the proxy's address counts."""
    assert client_behind(PROXY, ("Forwarded", header)) == f"address:{client}"


def test_headers_in_several_lines_are_one_chain() -> None:
    """A proxy may add a line instead of an entry."""
    lines = ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "192.0.2.1")
    assert client_behind(PROXY, *lines) == "address:192.0.2.1"


def test_two_headers_that_differ_are_not_believed() -> None:
    """A proxy writes one of them and passes on the client's other one, and which is not known."""
    headers = ("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=203.0.113.9")
    assert client_behind(PROXY, *headers) == f"address:{PROXY}"
    assert client_behind(PROXY, headers[0], ("Forwarded", "for=192.0.2.1")) == "address:192.0.2.1"


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.1.7", "testclient", "fd00::8"])
def test_nobody_else_is_believed(peer: str) -> None:
    """A client that is no trusted proxy stays what its address says."""
    scope = scope_of(peer, ("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9"))
    Proxies(["10.0.0.0/24", "fd00::7"]).note_client(scope)
    assert ADDRESS not in scope


@pytest.mark.parametrize("peer", ["10.0.0.200", "::ffff:10.0.0.7", "fd00::7"])
def test_a_proxy_is_known_by_any_form_of_its_address(peer: str) -> None:
    """A server on IPv6 sees addresses of IPv4 as mapped ones."""
    assert client_behind(peer, ("X-Forwarded-For", "192.0.2.1")) == "address:192.0.2.1"


def test_without_proxies_nobody_is_trusted() -> None:
    """The default. A worker process gets them pickled."""
    assert not Proxies(())
    assert not Proxies(()).trusts(PROXY)
    assert pickle.loads(pickle.dumps(Proxies([PROXY]))).trusts(PROXY)  # noqa: S301 - its own bytes
