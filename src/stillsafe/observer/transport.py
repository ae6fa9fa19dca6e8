"""The wire to a language model, with limits: so many bytes, so long, no detour, and no header that is not needed."""

import time
from collections.abc import Iterator

import httpx2

from stillsafe.errors import Failure, ObserverFailed

MOST_BYTES = 256 * 1024
SENT_HEADERS = {"host", "authorization", "content-type", "content-length", "accept", "connection"}


class Wire(httpx2.BaseTransport):
    """HTTP to one server. It asks no proxy, follows no redirect, and tells nothing about this machine.

    Args:
        deadline: on the monotonic clock, in seconds.
        authorized: whether there is a key to send.
    """

    def __init__(self, deadline: float, *, authorized: bool) -> None:
        self._inner = httpx2.HTTPTransport(trust_env=False)
        self._deadline = deadline
        self._sent = SENT_HEADERS if authorized else SENT_HEADERS - {"authorization"}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """One exchange. The library's own headers name system, versions and processor: they stay here.

        Raises:
            ObserverFailed: the answer comes packed, which would hide its length; or later, while it is read.
        """
        kept = [(name, value) for name, value in request.headers.raw if name.decode("ascii").lower() in self._sent]
        # Another request, since the library reads its own headers again when the answer is there.
        bare = httpx2.Request(
            request.method,
            request.url,
            headers=[*kept, (b"Accept-Encoding", b"identity"), (b"User-Agent", b"stillsafe")],
            stream=request.stream,
            extensions=request.extensions,
        )
        response = self._inner.handle_request(bare)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            response.close()
            raise _too_long()
        stream = _Limited(response, self._deadline)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    def close(self) -> None:
        """Hang up."""
        self._inner.close()


class _Limited(httpx2.SyncByteStream):
    """The answer's bytes, as long as there are not too many of them and it is not too late."""

    def __init__(self, response: httpx2.Response, deadline: float) -> None:
        self._response = response
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        came = 0
        for chunk in self._response.iter_raw():
            came += len(chunk)
            if came > MOST_BYTES:
                raise _too_long()
            if time.monotonic() > self._deadline:
                raise ObserverFailed(Failure.SLOW, "the answer did not end in time")
            yield chunk

    def close(self) -> None:
        self._response.close()


def _too_long() -> ObserverFailed:
    return ObserverFailed(Failure.TOO_LONG, "an answer that is longer than any explanation")
