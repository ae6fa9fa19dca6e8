"""The HTTP transport to a language model, limited in bytes, time and headers. No redirects, no proxy."""

import time
from collections.abc import Iterator

import httpx2

from stillsafe.errors import Failure, ObserverFailed

MOST_BYTES = 256 * 1024
SENT_HEADERS = {"host", "authorization", "content-type", "content-length", "accept", "connection"}


class LimitedTransport(httpx2.BaseTransport):
    """HTTP to one server: no proxy, no redirect, and no header that describes this machine.

    Args:
        deadline: on the monotonic clock, in seconds.
        has_key: whether the `Authorization` header is sent.
    """

    def __init__(self, deadline: float, *, has_key: bool) -> None:
        self._transport = httpx2.HTTPTransport(trust_env=False)
        self._deadline = deadline
        self._header_names = SENT_HEADERS if has_key else SENT_HEADERS - {"authorization"}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """One exchange. It drops the library's own headers, which name the system, versions and processor.

        Raises:
            ObserverFailed: the response is compressed, which would hide its length; or, while the response is read,
                it is too long or too late.
        """
        headers = [
            (name, value) for name, value in request.headers.raw if name.decode("ascii").lower() in self._header_names
        ]
        # The library reads the headers of its own request again after the response, so a second request is sent.
        bare_request = httpx2.Request(
            request.method,
            request.url,
            headers=[*headers, (b"Accept-Encoding", b"identity"), (b"User-Agent", b"stillsafe")],
            stream=request.stream,
            extensions=request.extensions,
        )
        response = self._transport.handle_request(bare_request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            response.close()
            raise _too_long()
        stream = _LimitedStream(response, self._deadline)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class _LimitedStream(httpx2.SyncByteStream):
    """The bytes of a response, until they are too many or too late."""

    def __init__(self, response: httpx2.Response, deadline: float) -> None:
        self._response = response
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        byte_count = 0
        for chunk in self._response.iter_raw():
            byte_count += len(chunk)
            if byte_count > MOST_BYTES:
                raise _too_long()
            if time.monotonic() > self._deadline:
                raise ObserverFailed(Failure.SLOW, "the answer did not end in time")
            yield chunk

    def close(self) -> None:
        self._response.close()


def _too_long() -> ObserverFailed:
    return ObserverFailed(Failure.TOO_LONG, "the answer exceeds the size limit")
