"""The direct path: a short prediction request goes from the parser of HTTP to the endpoint, without ASGI in between.

For each request ASGI has a cycle, an event, a task and three messages, which cost about as much as an answer does. A
request that is there as a whole needs none of them: the endpoint's coroutine runs at once until it waits for its
batch, and what it returns is written by one call. All other requests take the way through ASGI, with the same answers.
"""

import math
from collections.abc import Coroutine
from functools import partial
from typing import Any

from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from stillsafe.serving.connections import MOST_PENDING, ConnectionRegistry, LimitedProtocol
from stillsafe.serving.endpoint import RequestMethod
from stillsafe.serving.fast_path import FastPathApp
from stillsafe.settings_exposure import Exposure
from stillsafe.settings_sections import Serving
from stillsafe.tracing import TRACE, trace_fields, trace_headers

MOST_DIGITS = 4
"""Digits of the longest body, in bytes, that takes the direct path: it arrives with its head, or soon after it."""
_INDIRECT_HEADERS = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
"""Headers of requests that take the way through ASGI."""
_JSON_HEAD = STATUS_LINE[200] + b"%bcontent-type: application/json\r\ncontent-length: %d\r\n"


class _NoEvent:
    """In the place of the event that uvicorn sets for a task when something has arrived."""

    def set(self) -> None:
        """No effect: no task waits."""


class _HeadStart:
    """The lines of an answer's head that all answers of a second share."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._lines = b""

    def lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The lines of the server's own headers, which makes a new list when they change."""
        if headers is not self._headers:
            self._headers, self._lines = headers, b"".join(b"%b: %b\r\n" % pair for pair in headers)
        return self._lines


class Exchange:
    """A request and its answer, in the place of uvicorn's cycle.

    Args:
        protocol: of the connection.
        method: of the endpoint.
        scope: of the request, complete.
    """

    __slots__ = (
        *("method", "scope", "transport", "body", "more_body", "keep_alive", "response_complete", "disconnected"),
        *("_protocol", "_coroutine", "_trace"),
    )
    message_event = _NoEvent()
    head_start = _HeadStart()

    def __init__(self, protocol: "DirectProtocol", method: RequestMethod, scope: Scope) -> None:
        self.method = method
        self.scope = scope
        self.transport: Any = protocol.transport
        self.body = bytearray()
        self.more_body = self.keep_alive = True
        self.response_complete = self.disconnected = False
        self._protocol = protocol
        self._coroutine: Coroutine[Any, Any, bytes | Response]
        self._trace: list[tuple[bytes, bytes]]

    def begin(self, app: FastPathApp) -> None:
        """Answer the request, whose body has arrived."""
        self._trace = headers = trace_headers(self.scope["headers"])
        if headers or TRACE.get() is not None:  # it may begin in the context of the request before it
            TRACE.set(trace_fields(headers) if headers else None)
        self._coroutine = app.answer(self.method, self.scope, self._receive)
        self._step()

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self.body, "more_body": False}

    def _step(self, _result: object = None) -> None:
        """Run the coroutine until it waits, as a task does."""
        try:
            future = self._coroutine.send(None)
        except StopIteration as end:
            self._write(end.value)
            return
        except BaseException:  # no error of the request's: `answer` has an answer to each of those
            self.transport.abort()
            raise
        if future is None:
            self._protocol.loop.call_soon(self._step)
        else:
            future._asyncio_future_blocking = False  # how a task takes a future that it waits for
            future.add_done_callback(self._step)

    def _write(self, answer: bytes | Response) -> None:
        """Send the answer, and go on with the connection."""
        protocol = self._protocol
        self.response_complete = True
        if self.disconnected:
            return
        head = self.head_start.lines(protocol.server_state.default_headers)
        if self._trace:
            head += b"".join(b"%b: %b\r\n" % pair for pair in self._trace)
        if isinstance(answer, bytes):
            start, body = _JSON_HEAD % (head, len(answer)), answer
        else:
            lines = b"".join(b"%b: %b\r\n" % pair for pair in answer.raw_headers)
            start, body = b"%b%b%b" % (STATUS_LINE[answer.status_code], head, lines), bytes(answer.body)
            self.keep_alive = self.keep_alive and answer.headers.get("connection") != "close"
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"%b%b%b" % (start, end, body))
        if not self.keep_alive:
            self.transport.close()
        protocol.on_response_complete()


class DirectProtocol(LimitedProtocol):
    """The protocol with its limits, and the direct path for the application's own prediction requests."""

    def __init__(self, registry: ConnectionRegistry, **options: Any) -> None:
        super().__init__(registry, **options)
        app = self.config.loaded_app
        self._direct_app = app if isinstance(app, FastPathApp) else None
        self._cycle_before: Any = None

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; a request whose body comes later takes the way through ASGI."""
        super().data_received(data)
        cycle: Any = self.cycle
        if type(cycle) is Exchange and cycle.more_body:
            self._leave_direct_path()

    def begin_cycle(self) -> None:
        """Begin the exchange of a request that can take the direct path, else uvicorn's cycle."""
        method = self._direct_method()
        if method is None:
            super().begin_cycle()
            return
        scope: Any = self.scope
        scope["method"], scope["path"], scope["raw_path"] = "POST", self.url.decode(), self.url
        scope["query_string"] = b""
        self._cycle_before = self.cycle
        self.cycle = Exchange(self, method, scope)  # type: ignore[assignment] # which has what the server needs

    def on_message_complete(self) -> None:
        """A request has ended."""
        super().on_message_complete()
        cycle: Any = self.cycle
        if type(cycle) is Exchange and self._direct_app is not None and not self.transport.is_closing():
            cycle.begin(self._direct_app)

    def _direct_method(self) -> RequestMethod | None:
        """The endpoint's method for a request that takes the direct path; None for all others."""
        app = self._direct_app
        method = None if app is None else app.direct_methods.get(self.url)
        cycle, parser = self.cycle, self.parser
        if (
            method is None
            or (cycle is not None and not cycle.response_complete)
            or self.flow.write_paused
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
        ):
            return None
        length = b""
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name in _INDIRECT_HEADERS:
                return None
        return method if 0 < len(length) <= MOST_DIGITS else None

    def _leave_direct_path(self) -> None:
        exchange: Any = self.cycle
        self.cycle = self._cycle_before
        super().begin_cycle()
        self.cycle.body += exchange.body


def server_options(serving: Serving, exposure: Exposure | None = None) -> dict[str, Any]:
    """The options of `uvicorn.Config` that keep the limits of the settings."""
    return {
        "http": partial(DirectProtocol, ConnectionRegistry(serving, exposure)),
        "ws": "none",
        "backlog": MOST_PENDING,
        "timeout_keep_alive": math.ceil(serving.idle_seconds),
    }
