"""Routes of single predictions: what was answered to a request, found by its identifier or by the client's id."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from stillsafe.serving.body.request_id import MOST_CHARACTERS
from stillsafe.serving.parameters import require_known_parameters
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import RefusedRequest, problem, problem_responses
from stillsafe.serving.schemas import LoggedPredictionDocument, LoggedPredictionsDocument
from stillsafe.store.read.request_id import prediction_by_id, predictions_of_request

JSON = "application/json"
RequestIdQuery = Annotated[
    str, Query(alias="id", min_length=1, max_length=MOST_CHARACTERS, description="The client's id of the request.")
]


def prediction_routes(context: Context) -> APIRouter:
    """`/v1/predictions` and `/v1/predictions/{prediction_id}`."""
    routes = APIRouter(prefix="/v1", tags=["predict"], dependencies=[Depends(require_known_parameters)])

    @routes.get("/predictions", response_model=LoggedPredictionsDocument, responses=problem_responses(404, 422, 503))
    async def predictions(request_id: RequestIdQuery) -> Response:
        """The logged prediction of a request, by the client's id."""

        def read() -> bytes:
            with context.reading() as connection:
                records = predictions_of_request(connection, request_id)
            if not records:
                raise RefusedRequest(problem(404, "There is no request with this id in the log."))
            documents = [LoggedPredictionDocument.model_validate(each) for each in records]
            return LoggedPredictionsDocument(predictions=documents).model_dump_json().encode()

        return Response(await context.reading_time.run(read), media_type=JSON)

    @routes.get(
        "/predictions/{prediction_id}",
        response_model=LoggedPredictionDocument,
        responses=problem_responses(404, 422, 503),
    )
    async def prediction(prediction_id: str) -> Response:
        """One logged prediction."""

        def read() -> bytes:
            with context.reading() as connection:
                record = prediction_by_id(connection, prediction_id)
            if record is None:
                raise RefusedRequest(problem(404, "There is no such prediction in the log."))
            return LoggedPredictionDocument.model_validate(record).model_dump_json().encode()

        return Response(await context.reading_time.run(read), media_type=JSON)

    return routes
