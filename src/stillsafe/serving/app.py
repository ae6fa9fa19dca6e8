"""The HTTP application. Routes translate between HTTP and the service; they decide nothing."""

from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from stillsafe.model.confidence import ConfidenceMethod
from stillsafe.serving import endpoint as prediction_endpoint
from stillsafe.serving import (
    inference_routes,
    label_routes,
    openapi,
    openapi_routes,
    performance_routes,
    prediction_routes,
    problems,
    read_routes,
)
from stillsafe.serving.endpoint import PredictionEndpoint
from stillsafe.serving.fast_path import Background, FastPathApp
from stillsafe.serving.inference import response_to
from stillsafe.serving.login_routes import login_routes
from stillsafe.serving.operator_routes import OperatorActions, operator_routes
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import problem_responses
from stillsafe.serving.schemas import BatchDocument, PredictionDocument

JSON = "application/json"
WITHOUT_CONFIDENCE = (ConfidenceMethod.PREDICTION_TYPICALITY, ConfidenceMethod.NONE)
"""Methods by which a recorded answer needs neither probabilities nor a confidence."""
DESCRIPTION = (
    "Answers predictions with the model while it can be trusted, and with the fallback while it cannot. Every answer "
    "is recorded before it is sent, with its reason and with what gave it. Errors are RFC 9457 problem details."
)


def build(
    context: Context,
    *,
    pages: APIRouter | None = None,
    actions: OperatorActions | None = None,
    watch: Background | None = None,
) -> FastAPI:
    """The application: the API of a context, and the dashboard's pages if given.

    It accepts requests from its lifespan's start to its end. A server of another application, in which this one is
    mounted, runs no lifespan of it: then the first request starts it. The caller disposes of the context's engine.

    Args:
        context: what the API needs.
        pages: the dashboard's, if it has any.
        actions: what an operator may do over HTTP, where clients need keys.
        watch: a thread that runs as long as requests are accepted, or None.
    """
    endpoint = prediction_endpoint.build(context)
    app = FastPathApp(
        endpoint,
        watch=watch,
        title=context.settings.service.name,
        description=DESCRIPTION,
        version=version("stillsafe"),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        responses=problem_responses(403, 500),
    )
    problems.add_problem_handlers(app, response_to)
    app.include_router(_predict_routes(endpoint))
    app.include_router(read_routes.status_routes(context))
    app.include_router(prediction_routes.prediction_routes(context))
    app.include_router(inference_routes.inference_routes(endpoint))
    app.include_router(label_routes.label_routes(context))
    app.include_router(performance_routes.performance_routes(context))
    app.include_router(read_routes.health_routes(context, endpoint.metrics))
    app.include_router(operator_routes(context, actions))
    app.include_router(openapi_routes.openapi_routes(app.openapi))
    if app.access is not None:
        app.include_router(login_routes(app.access))
    if pages is not None:
        app.include_router(pages)
    return app


def _predict_routes(endpoint: PredictionEndpoint) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["predict"])
    model, serving = endpoint.context.model, endpoint.context.settings.serving
    schema = model.features

    @routes.post(
        "/predict",
        responses={200: {"model": PredictionDocument}, **problem_responses(400, 408, 409, 413, 415, 422, 503)},
        openapi_extra=openapi.predict_body(schema),
    )
    async def predict_one(request: Request) -> Response:
        """Answer one instance with the model, or with the fallback while the model is bypassed."""
        return Response(await endpoint.predict(request.scope, request.receive), media_type=JSON)

    _add_record_routes(routes, endpoint)

    @routes.post(
        "/predict/batch",
        responses={200: {"model": BatchDocument}, **problem_responses(400, 408, 409, 413, 415, 422, 503)},
        openapi_extra=openapi.batch_body(schema, serving.max_batch),
    )
    async def predict_batch(request: Request) -> Response:
        """Answer several instances in order. Each is answered or refused by itself."""
        return Response(await endpoint.predict_batch(request.scope, request.receive), media_type=JSON)

    return routes


def _add_record_routes(routes: APIRouter, endpoint: PredictionEndpoint) -> None:
    """The routes for callers of a model elsewhere."""
    model = endpoint.context.model
    schema = model.features

    @routes.post(
        "/record",
        responses={200: {"model": PredictionDocument}, **problem_responses(400, 408, 409, 413, 415, 422, 503)},
        openapi_extra=openapi.record_body(
            schema,
            model.classes,
            has_probabilities=model.scale.method is ConfidenceMethod.CLASS_PROBABILITY,
            needs_confidence=model.scale.method not in WITHOUT_CONFIDENCE,
        ),
    )
    async def record(request: Request) -> Response:
        """Record what a model elsewhere has answered: it is logged, watched and judged. See `/v1/state` before it."""
        return Response(await endpoint.record(request.scope, request.receive), media_type=JSON)

    @routes.post(
        "/fallback",
        responses={200: {"model": PredictionDocument}, **problem_responses(400, 408, 409, 413, 415, 422, 503)},
        openapi_extra=openapi.predict_body(schema),
    )
    async def ask_fallback(request: Request) -> Response:
        """Answer one instance with the fallback, whatever the state is: for callers of a model elsewhere."""
        return Response(await endpoint.fallback(request.scope, request.receive), media_type=JSON)
