"""The HTTP application. Routes translate; they never decide."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from stillsafe.serving import endpoint as desks
from stillsafe.serving import openapi, problems, read_routes
from stillsafe.serving.endpoint import Desk
from stillsafe.serving.fast_path import Shortcut
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import documented
from stillsafe.serving.schemas import BatchDocument, PredictionDocument

JSON = "application/json"
DESCRIPTION = (
    "Answers predictions for as long as the model can be trusted, and conservatively when it cannot. Every answer is "
    "recorded before it is sent, and says who decided it and why. Errors are RFC 9457 problem details."
)


def build(context: Context, *, pages: APIRouter | None = None) -> FastAPI:
    """The application: the API of this context, and the pages, if any.

    Its lanes open and close with its lifespan; the context's engine is left to whoever made it.
    """
    desk = desks.opened(context)
    app = Shortcut(
        desk,
        title=context.settings.service.name,
        description=DESCRIPTION,
        version=version("stillsafe"),
        lifespan=_lifespan(desk),
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        responses=documented(500),
    )
    problems.install(app)
    app.include_router(_predicting(desk))
    app.include_router(read_routes.router(context))
    app.include_router(read_routes.health(context, desk.metrics))
    if pages is not None:
        app.include_router(pages)
    return app


def _lifespan(desk: Desk) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        outage = desk.context.outage
        if outage is not None:
            outage.start()
        desk.rows.start()
        desk.refusals.start()
        yield
        await desk.rows.close()
        await desk.refusals.close()
        if outage is not None:
            await asyncio.to_thread(outage.stop)

    return lifespan


def _predicting(desk: Desk) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["predict"])
    schema, serving = desk.context.model.features, desk.context.settings.serving

    @routes.post(
        "/predict",
        responses={200: {"model": PredictionDocument}, **documented(400, 408, 413, 415, 422, 503)},
        openapi_extra=openapi.predict_body(schema),
    )
    async def predict_one(request: Request) -> Response:
        """Answer one instance: by the model, or by the fallback while the model is not to be trusted."""
        return Response(await desk.one(request.scope, request.receive), media_type=JSON)

    @routes.post(
        "/predict/batch",
        responses={200: {"model": BatchDocument}, **documented(400, 408, 413, 415, 422, 503)},
        openapi_extra=openapi.batch_body(schema, serving.max_batch),
    )
    async def predict_batch(request: Request) -> Response:
        """Answer several instances, in order; one that is refused costs only itself."""
        return Response(await desk.batch(request.scope, request.receive), media_type=JSON)

    return routes
