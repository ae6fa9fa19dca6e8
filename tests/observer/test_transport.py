"""The transport: no header about this machine, no endless or compressed response."""

import time

import httpx2
import pytest

from stillsafe.errors import Failure, ObserverFailed
from stillsafe.observer.transport import MOST_BYTES, LimitedTransport
from tests.observer.server import MISBEHAVIOURS, Behaviour, Handler, drip, listening, stream_for_ever


def post(behaviour: Behaviour, *, seconds: float = 30, has_key: bool = True) -> tuple[bytes, dict[str, str]]:
    """Send one request; return the response's body and the headers that the server got."""
    transport = LimitedTransport(time.monotonic() + seconds, has_key=has_key)
    headers = {"Authorization": "Bearer key", "X-Stainless-OS": "Linux", "User-Agent": "library"}
    with listening(behaviour) as server, httpx2.Client(transport=transport, trust_env=False) as client:
        response = client.post(server.url, json={"a": 1}, headers=headers)
        return response.content, {name.lower(): value for name, value in server.requests[0]["headers"].items()}


def small(handler: Handler, _request: object) -> None:
    """Answers with a small body."""
    handler.give(b"x" * 100)


def test_only_listed_headers_are_sent() -> None:
    """The library's headers about system, versions and processor are dropped."""
    body, headers = post(small)
    assert body == b"x" * 100
    assert set(headers) == {
        *("host", "authorization", "content-type", "content-length"),
        *("accept", "accept-encoding", "connection", "user-agent"),
    }
    assert (headers["user-agent"], headers["accept-encoding"]) == ("stillsafe", "identity")


def test_without_a_key_no_authorization_is_sent() -> None:
    """Not even the placeholder that the library needs."""
    _, headers = post(small, has_key=False)
    assert "authorization" not in headers


def test_a_body_of_the_largest_size_is_read() -> None:
    """One byte more is too long."""
    body, _ = post(lambda handler, _request: handler.give(b"x" * MOST_BYTES))
    assert len(body) == MOST_BYTES
    with pytest.raises(ObserverFailed) as error:
        post(lambda handler, _request: handler.give(b"x" * (MOST_BYTES + 1)))
    assert error.value.kind is Failure.TOO_LONG


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [(stream_for_ever, Failure.TOO_LONG), (MISBEHAVIOURS["packed"], Failure.TOO_LONG), (drip, Failure.SLOW)],
    ids=["endless", "compressed", "slow"],
)
def test_an_endless_response_ends(behaviour: Behaviour, kind: Failure) -> None:
    """By its length or by the deadline, whichever comes first; a compressed one is refused at once."""
    with pytest.raises(ObserverFailed) as error:
        post(behaviour, seconds=1)
    assert error.value.kind is kind
