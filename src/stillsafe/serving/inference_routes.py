"""Routes of the Open Inference Protocol (version 2), the protocol of clients of KServe, Triton and MLServer."""

from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from stillsafe.errors import StillsafeError
from stillsafe.serving import inference, openapi
from stillsafe.serving.endpoint import PredictionEndpoint, RequestMethod
from stillsafe.serving.problems import RefusedRequest, problem, problem_of
from stillsafe.serving.read_routes import readiness_of, ready_document
from stillsafe.serving.schemas import (
    InferenceDocument,
    InferenceErrorDocument,
    LiveFlagDocument,
    ModelMetadataDocument,
    ReadyDocument,
    ReadyFlagDocument,
    ServerMetadataDocument,
)
from stillsafe.serving.shared_reading import SharedReading

JSON = "application/json"
EXTENSIONS = ["binary_tensor_data"]
"""Of requests: the data of inputs may be binary. The data of outputs is JSON, which every client reads."""


def infer_methods(endpoint: PredictionEndpoint) -> dict[str, RequestMethod]:
    """Path -> method of the requests that the fast path takes."""
    name, model_version = endpoint.context.settings.service.name, endpoint.context.model.version
    model_path = f"{inference.PREFIX}/models/{name}"
    return {f"{path}/infer": endpoint.infer for path in (model_path, f"{model_path}/versions/{model_version}")}


def inference_routes(endpoint: PredictionEndpoint) -> APIRouter:
    """`/v2` and all below it."""
    routes = APIRouter(prefix=inference.PREFIX, tags=["inference"])
    readiness = SharedReading(partial(ready_document, endpoint.context))
    _add_server_routes(routes, readiness)
    for path in ("/models/{model_name}", "/models/{model_name}/versions/{model_version}"):
        _add_model_routes(routes, endpoint, readiness, path)
    return routes


def _add_server_routes(routes: APIRouter, readiness: SharedReading[ReadyDocument]) -> None:
    @routes.get("", response_model=ServerMetadataDocument, responses=_errors())
    async def server() -> Response:
        """The server's metadata."""
        document = {"name": "stillsafe", "version": version("stillsafe"), "extensions": EXTENSIONS}
        return JSONResponse(document)

    @routes.get("/health/live", response_model=LiveFlagDocument, responses=_errors())
    async def live() -> Response:
        """The process answers."""
        return JSONResponse({"live": True})

    @routes.get("/health/ready", response_model=ReadyFlagDocument, responses=_errors(503))
    async def ready() -> Response:
        """Whether predictions can be answered and recorded."""
        return await _ready(readiness, {})


def _add_model_routes(
    routes: APIRouter, endpoint: PredictionEndpoint, readiness: SharedReading[ReadyDocument], path: str
) -> None:
    context = endpoint.context
    names = {"model_name": context.settings.service.name}
    if "{model_version}" in path:
        names["model_version"] = context.model.version
    extra = openapi.model_parameters(names)

    @routes.get(path, response_model=ModelMetadataDocument, responses=_errors(404), openapi_extra=extra)
    async def metadata(request: Request) -> Response:
        """The model's metadata: its inputs by the schema, and its outputs."""
        _require_model(endpoint, request)
        return JSONResponse(inference.model_metadata(context.settings.service.name, context.model))

    @routes.get(f"{path}/ready", response_model=ReadyFlagDocument, responses=_errors(404, 503), openapi_extra=extra)
    async def ready(request: Request) -> Response:
        """Whether the model, or its fallback, can answer."""
        _require_model(endpoint, request)
        return await _ready(readiness, {"name": context.settings.service.name})

    @routes.post(
        f"{path}/infer",
        responses={200: {"model": InferenceDocument}, **_errors(400, 404, 408, 409, 413, 415, 503)},
        openapi_extra=openapi.inference_body(names),
    )
    async def infer(request: Request) -> Response:
        """Answer rows with the model, or with the fallback while the model is bypassed."""
        _require_model(endpoint, request)
        return Response(await endpoint.infer(request.scope, request.receive), media_type=JSON)


async def _ready(readiness: SharedReading[ReadyDocument], fields: dict[str, Any]) -> Response:
    try:
        await readiness_of(readiness)
    except (StillsafeError, RefusedRequest) as error:
        refusal = problem_of(error)
        return JSONResponse({**fields, "ready": False, "error": inference.error_text(refusal)}, 503)
    return JSONResponse({**fields, "ready": True})


def _require_model(endpoint: PredictionEndpoint, request: Request) -> None:
    """Require that a path names the served model.

    Raises:
        RefusedRequest: 404 where it names another one.
    """
    context, names = endpoint.context, request.path_params
    if names["model_name"] != context.settings.service.name:
        raise RefusedRequest(problem(404, "There is no such model. See /v2."))
    if names.get("model_version", context.model.version) != context.model.version:
        raise RefusedRequest(problem(404, "There is no such version of the model."))


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of the errors that a route may answer with."""
    return {status: {"model": InferenceErrorDocument} for status in (*statuses, 403, 500)}
