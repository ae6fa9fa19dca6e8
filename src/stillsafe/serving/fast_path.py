"""The fast path: prediction requests go from the server to the prediction endpoint without the framework.

The framework's routing, request objects and response objects cost several times what answering costs. All other
requests, and predictions under another path (as in a mounted app), take FastAPI's routes, with the same answers.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from stillsafe.errors import StoreError
from stillsafe.serving.access.access_control import AccessControl
from stillsafe.serving.client import Proxies, path_below
from stillsafe.serving.endpoint import PredictionEndpoint, RequestMethod
from stillsafe.serving.gate import Gate
from stillsafe.serving.inference import response_to
from stillsafe.serving.inference_routes import infer_methods
from stillsafe.serving.openapi import add_security
from stillsafe.serving.problems import Problem, problem_of
from stillsafe.tracing import TRACE, RequestSpan, trace_fields, trace_headers

server_logger = logging.getLogger("uvicorn.error")


class Background(Protocol):
    """A thread of the serving process."""

    def start(self) -> None:
        """Start it. No effect if it runs already."""

    def stop(self) -> None:
        """Stop it."""


class FastPathApp(FastAPI):
    """A FastAPI application with a fast path for `POST /v1/predict` and `POST /v1/predict/batch`.

    Before both ways the gate refuses requests of web pages of other sites, and access control those without a key.
    With added middleware no request takes the fast path, because the middleware must see all that they let in.

    Args:
        endpoint: answers predictions.
        watch: a thread that runs as long as requests are accepted, or None.
        options: of FastAPI.
    """

    def __init__(self, endpoint: PredictionEndpoint, watch: Background | None = None, **options: Any) -> None:
        super().__init__(**options, lifespan=self._lifespan)
        self._endpoint = endpoint
        self._watch = watch
        self._tracer = endpoint.context.tracer
        self._loop: asyncio.AbstractEventLoop | None = None
        exposure = endpoint.context.settings.exposure
        self._gate = Gate(exposure.allowed_hosts)
        self._proxies = Proxies(exposure.trusted_proxies)
        self.access = AccessControl(endpoint.context, endpoint.metrics.key_requests) if exposure.keys else None
        self._methods: dict[str, RequestMethod] = {
            "/v1/predict": endpoint.predict,
            "/v1/predict/batch": endpoint.predict_batch,
            "/v1/record": endpoint.record,
            "/v1/fallback": endpoint.fallback,
            **infer_methods(endpoint),
        }
        self._root_path = endpoint.context.settings.serving.root_path
        self._direct_methods = {path.encode(): method for path, method in self._methods.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        if self._loop is not asyncio.get_running_loop():
            self._start()
        headers = trace_headers(scope["headers"])
        # Always: a request that waited on the same connection may begin in the context of the one before it.
        TRACE.set(trace_fields(headers) if headers else None)
        if headers:
            send = _with_headers(send, headers)
        if self._tracer is None:
            await self._handle(scope, receive, send)
            return
        span = RequestSpan(self._tracer, scope["method"], path_below(scope), scope["headers"])
        with span.activation():
            await self._handle(scope, receive, _with_note(send, span))

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._root_path and not scope.get("root_path"):
            scope["root_path"] = self._root_path
        refusal = await self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        method = self._methods.get(path_below(scope)) if scope["method"] == "POST" else None
        if method is not None and not self.user_middleware:
            await _answer(method, scope, receive, send)
        elif scope["method"] == "HEAD":
            await super().__call__({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await super().__call__(scope, receive, send)

    @property
    def direct_methods(self) -> Mapping[bytes, RequestMethod]:
        """The endpoint's method of each path; none where middleware must see each request."""
        is_plain = not self.user_middleware and not self._root_path
        return self._direct_methods if is_plain else {}

    async def answer(self, method: RequestMethod, scope: Scope, receive: Receive) -> bytes | Response:
        """Answer a request by a method of `direct_methods`.

        Args:
            method: of the request's path.
            scope: of the request.
            receive: the source of its body.

        Returns:
            The JSON of an answer with status 200, or another response as a whole.
        """
        if self._loop is not asyncio.get_running_loop():
            self._start()
        if self._tracer is None:
            return await self._direct_answer(method, scope, receive)
        span = RequestSpan(self._tracer, scope["method"], path_below(scope), scope["headers"])
        try:
            answer = await self._direct_answer(method, scope, receive, span)
            span.note_status(200 if isinstance(answer, bytes) else answer.status_code)
        finally:
            span.end()
        return answer

    async def _direct_answer(
        self, method: RequestMethod, scope: Scope, receive: Receive, span: RequestSpan | None = None
    ) -> bytes | Response:
        refusal = await self._refusal(scope)
        if refusal is not None:
            return refusal
        try:
            return await method(scope, receive)
        except Exception as error:
            problem = problem_of(error)
            if problem.status == 500:
                server_logger.error("Exception in a prediction request\n", exc_info=error)
                if span is not None:
                    span.note_error(error)
            return response_to(problem, path_below(scope))

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint.start()
        if self._watch is not None:
            self._watch.start()

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        self._start()
        yield
        if self._watch is not None:
            await asyncio.to_thread(self._watch.stop)
        await self._endpoint.close()

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the keys that clients need, if they do."""
        is_new = self.openapi_schema is None
        document = super().openapi()
        if is_new and self.access is not None:
            add_security(document)
        return document

    async def _refusal(self, scope: Scope) -> Response | None:
        """The response to a request that is not let in, or None if it is."""
        refusal = self._gate.problem(scope)
        if refusal is not None:
            return response_to(refusal, path_below(scope))
        if self._proxies:
            self._proxies.note_client(scope)
        if self.access is None or self.access.admits(scope):
            return None
        try:
            problem = await self.access.refusal(scope)
        except StoreError as error:
            problem = problem_of(error)
        return response_to(problem, path_below(scope)) if isinstance(problem, Problem) else problem


async def _answer(method: RequestMethod, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        body = await method(scope, receive)
    except Exception as error:
        problem = problem_of(error)
        await response_to(problem, path_below(scope))(scope, receive, send)
        if problem.status == 500:
            raise  # the server logs the traceback
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    """Sends responses with further headers, unless they have them."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in message["headers"]}
            message = {**message, "headers": [*message["headers"], *(each for each in headers if each[0] not in names)]}
        await send(message)

    return send_with_headers


def _with_note(send: Send, span: RequestSpan) -> Send:
    """Sends responses whose status the span notes."""

    async def send_with_note(message: Message) -> None:
        if message["type"] == "http.response.start":
            span.note_status(message["status"])
        await send(message)

    return send_with_note


def _without_body(send: Send) -> Send:
    """Sends the head of a response alone: HEAD is answered on every path that GET is."""

    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head
