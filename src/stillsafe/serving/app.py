"""The HTTP application. Routes translate; they never decide."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import JSONResponse, Response

from stillsafe.core.schema import Row
from stillsafe.errors import StillsafeError, StoreError
from stillsafe.serving import instances, json_body, lookups, metrics, openapi, predict, problems
from stillsafe.serving.documents import BatchDocument, PredictionDocument, prediction_document
from stillsafe.serving.lane import Lane
from stillsafe.serving.metrics import Metrics
from stillsafe.serving.predict import Answered, Context
from stillsafe.serving.problems import RefusedRequest, Wrong, documented, invalid

logger = logging.getLogger(__name__)

T = TypeVar("T")
Kinds = tuple[tuple[str, str], ...]
DESCRIPTION = (
    "Answers predictions for as long as the model can be trusted, and conservatively when it cannot. Every answer is "
    "recorded before it is sent, and says who decided it and why. Errors are RFC 9457 problem details."
)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where requests are taken: the lanes that they wait in, and what is counted about them."""

    context: Context
    rows: Lane[Row, Answered]
    refusals: Lane[Kinds, None]
    metrics: Metrics

    async def answer(self, rows: Sequence[Row]) -> list[Answered]:
        """The rows' answers, once recorded.

        Raises:
            StoreError: there is none.
        """
        try:
            answered = await self.rows.submit(rows)
        except StoreError:
            self.metrics.store_errors.inc()
            raise
        self.metrics.answered(answered)
        return answered

    async def refuse(self, refused: Sequence[Sequence[Wrong]]) -> None:
        """Record refused requests. One that cannot be recorded is refused all the same."""
        for wrong in refused:
            self.metrics.refused(wrong)
        try:
            await self.refusals.submit([tuple((each.feature, each.kind) for each in wrong) for wrong in refused])
        except StillsafeError as error:
            self.metrics.store_errors.inc()
            logger.error("refusals could not be recorded", extra={"fields": {"error": str(error)}})


def build(context: Context, *, pages: APIRouter | None = None) -> FastAPI:
    """The application: the API of this context, and the pages, if any.

    Its lanes open and close with its lifespan; the context's engine is left to whoever made it.
    """
    desk = _desk(context)
    app = FastAPI(
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
    app.include_router(lookups.router(context))
    app.include_router(lookups.health(context, desk.metrics))
    if pages is not None:
        app.include_router(pages)
    return app


def _desk(context: Context) -> Desk:
    most = context.settings.serving.max_batch
    return Desk(
        context,
        Lane(partial(predict.answer, context), min(most, predict.DRAIN_ROWS)),
        Lane(partial(predict.refuse, context), most),
        metrics.build(context),
    )


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
        with desk.metrics.latency.labels("predict").time():
            return await _one(desk, request)

    @routes.post(
        "/predict/batch",
        responses={200: {"model": BatchDocument}, **documented(400, 408, 413, 415, 422, 503)},
        openapi_extra=openapi.batch_body(schema, serving.max_batch),
    )
    async def predict_batch(request: Request) -> Response:
        """Answer several instances, in order; one that is refused costs only itself."""
        with desk.metrics.latency.labels("batch").time():
            return await _batch(desk, request)

    return routes


async def _one(desk: Desk, request: Request) -> Response:
    def check(document: object) -> Row:
        checked = instances.one(desk.context.model.features, document)
        if isinstance(checked, tuple):
            raise RefusedRequest(invalid(checked))
        return checked

    answered = await desk.answer([await _read(desk, request, check)])
    return JSONResponse(prediction_document(answered[0]))


async def _batch(desk: Desk, request: Request) -> Response:
    most = desk.context.settings.serving.max_batch
    given = await _read(desk, request, lambda document: instances.many(document, most))
    checked = [instances.row(desk.context.model.features, each) for each in given]
    rows = [each for each in checked if isinstance(each, dict)]
    wrong = [each for each in checked if isinstance(each, tuple)]
    answered, _ = await asyncio.gather(desk.answer(rows), desk.refuse(wrong))
    return JSONResponse({"results": _results(checked, answered)})


async def _read(desk: Desk, request: Request, check: Callable[[object], T]) -> T:
    """What a request's body says, or its refusal: recorded first, then sent."""
    try:
        return check(await json_body.read(request, desk.context.settings.serving.max_body_bytes))
    except RefusedRequest as refused:
        await desk.refuse([refused.problem.violations])
        raise


def _results(checked: Sequence[Row | tuple[Wrong, ...]], answered: Sequence[Answered]) -> list[dict[str, Any]]:
    answers = iter(answered)
    return [
        prediction_document(next(answers)) if isinstance(each, dict) else {"error": invalid(each).document()}
        for each in checked
    ]
