"""Traces: what a client sent to follow its request, and OpenTelemetry's spans where the program has set it up.

Without a provider of spans there is no tracer, and nothing is made for a request.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from importlib.metadata import version
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Headers = Iterable[tuple[bytes, bytes]]
TRACEPARENT, REQUEST_ID = b"traceparent", b"x-request-id"
_FORMS = {
    # https://www.w3.org/TR/trace-context/#traceparent-header, version 00: version, trace, span, flags
    TRACEPARENT: re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"),
    REQUEST_ID: re.compile(rb"[!-~]{1,128}"),
}
TRACE: ContextVar[Mapping[str, str] | None] = ContextVar("stillsafe_trace", default=None)
"""`trace_id` and `request_id` of the request that is answered, for log lines; None where the client sent neither."""


def trace_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers `traceparent` and `x-request-id` of a request, as far as they are well-formed."""
    return [(name, value) for name, value in headers if name in _FORMS and _FORMS[name].fullmatch(value)]


def trace_fields(headers: Headers) -> dict[str, str]:
    """The members of a log line that follow from such headers."""
    values = {name: value.decode() for name, value in headers}
    trace = {"trace_id": values[TRACEPARENT].split("-")[1]} if TRACEPARENT in values else {}
    return trace | ({"request_id": values[REQUEST_ID]} if REQUEST_ID in values else {})


def tracer() -> Any | None:
    """OpenTelemetry's tracer, or None where it is not installed or the program has set up no provider."""
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    provider = trace.get_tracer_provider()
    is_idle = isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    return None if is_idle else trace.get_tracer("stillsafe", version("stillsafe"))


@contextmanager
def span(source: Any | None, name: str, **attributes: str | int) -> Iterator[Any | None]:
    """A span while the block runs, inside the current one; None without a tracer.

    Args:
        source: the tracer, or None.
        name: of the span, without the prefix `stillsafe.`.
        attributes: of the span, each without that prefix.
    """
    if source is None:
        yield None
        return
    members = {f"stillsafe.{key}": value for key, value in attributes.items()}
    with source.start_as_current_span(f"stillsafe.{name}", attributes=members) as current:
        yield current


class RequestSpan:
    """The span of an HTTP request: a child of the current span, or else of the client's by its `traceparent`.

    It is the current span only inside `activation`: a request of the direct path has no context of its own.

    Args:
        source: the tracer.
        method: of the request.
        path: of the request.
        headers: of the request.
    """

    def __init__(self, source: Any, method: str, path: str, headers: Headers) -> None:
        from opentelemetry import propagate, trace

        self._trace = trace
        is_inside = trace.get_current_span().get_span_context().is_valid
        names = _carrier_names(propagate.get_global_textmap())
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name in names}
        context = propagate.extract(carrier) if carrier and not is_inside else None
        attributes = {"http.request.method": method, "url.path": path}
        kind = trace.SpanKind.SERVER
        self._span = source.start_span(f"{method} {path}", context=context, kind=kind, attributes=attributes)

    def activation(self) -> AbstractContextManager[Any]:
        """The block in which it is the current span; it ends with the block, and an error that leaves it is noted."""
        return self._trace.use_span(self._span, end_on_exit=True)

    def note_status(self, status: int) -> None:
        """Note the status of the response."""
        self._span.set_attribute("http.response.status_code", status)

    def note_error(self, error: Exception) -> None:
        """Note an error that was answered with status 500."""
        self._span.record_exception(error)
        self._span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, str(error)))

    def end(self) -> None:
        """End it."""
        self._span.end()


@cache
def _carrier_names(propagator: Any) -> frozenset[bytes]:
    """The headers that a propagator reads; most requests have none of them."""
    return frozenset(name.lower().encode() for name in propagator.fields)


def with_span(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose calls are spans, where there is a tracer when it is called."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with span(tracer(), name):
                return function(*args, **kwargs)

        return call

    return wrap
