"""The shortcut: a prediction request goes from the server straight to the desk, past the framework.

Routing, request objects and response objects cost several times what answering does. Everything else, and a prediction
under another path (as where the app is mounted), goes the long way and gets the same.
"""

import logging
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from stillsafe.serving.endpoint import Ask, Desk
from stillsafe.serving.problems import for_error

logger = logging.getLogger(__name__)


class Shortcut(FastAPI):
    """A FastAPI application with a way past it for `POST /v1/predict` and `POST /v1/predict/batch`.

    Nobody goes past middleware that was added to it.

    Args:
        desk: where predictions are asked for.
        options: FastAPI's own.
    """

    def __init__(self, desk: Desk, **options: Any) -> None:
        super().__init__(**options)
        self._asks: dict[str, Ask] = {"/v1/predict": desk.one, "/v1/predict/batch": desk.batch}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        ask = self._asks.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if ask is None or self.user_middleware:
            await super().__call__(scope, receive, send)
            return
        try:
            body = await ask(scope, receive)
        except Exception as error:
            problem = for_error(error)
            await problem.response()(scope, receive, send)
            if problem.status == 500:
                raise  # for the server's log
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
