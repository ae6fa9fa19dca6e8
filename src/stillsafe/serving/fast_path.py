"""The fast path: prediction requests go from the server to the prediction endpoint without the framework.

The framework's routing, request objects and response objects cost several times what answering costs. All other
requests, and predictions under another path (as in a mounted app), take FastAPI's routes, with the same answers.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from stillsafe.serving.endpoint import PredictionEndpoint, RequestMethod
from stillsafe.serving.gate import Gate
from stillsafe.serving.problems import problem_of


class FastPathApp(FastAPI):
    """A FastAPI application with a fast path for `POST /v1/predict` and `POST /v1/predict/batch`.

    Before both ways the gate refuses requests of web pages of other sites.
    With added middleware no request takes the fast path, because the middleware must see all that the gate lets in.

    Args:
        endpoint: answers predictions.
        options: of FastAPI.
    """

    def __init__(self, endpoint: PredictionEndpoint, **options: Any) -> None:
        super().__init__(**options, lifespan=self._lifespan)
        self._endpoint = endpoint
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate = Gate(endpoint.context.settings.exposure.allowed_hosts)
        self._methods: dict[str, RequestMethod] = {
            "/v1/predict": endpoint.predict,
            "/v1/predict/batch": endpoint.predict_batch,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_http = scope["type"] == "http"
        if is_http and self._loop is not asyncio.get_running_loop():
            self._start()
        refusal = self._gate.problem(scope) if is_http else None
        if refusal is not None:
            await refusal.response()(scope, receive, send)
            return
        is_post = is_http and scope["method"] == "POST"
        method = self._methods.get(scope["path"]) if is_post else None
        if method is None or self.user_middleware:
            await super().__call__(scope, receive, send)
            return
        try:
            body = await method(scope, receive)
        except Exception as error:
            problem = problem_of(error)
            await problem.response()(scope, receive, send)
            if problem.status == 500:
                raise  # the server logs the traceback
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint.start()

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        self._start()
        yield
        await self._endpoint.close()
