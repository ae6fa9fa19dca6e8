"""The route of realised performance."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from stillsafe.model.class_probability import with_areas
from stillsafe.model.estimate_report import estimate_account
from stillsafe.model.performance_report import PeriodKind, performance_report
from stillsafe.serving.parameters import require_known_parameters
from stillsafe.serving.performance_schemas import EstimateAccountDocument, PerformanceDocument, PeriodDocument
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import problem_responses

MOST_PERIODS = 100
By = Annotated[PeriodKind, Query(alias="by", description="Days, windows of the monitor's runs, or versions.")]
PeriodLimit = Annotated[int, Query(alias="limit", ge=1, le=MOST_PERIODS, description="Most periods, newest first.")]


def performance_routes(context: Context) -> APIRouter:
    """`GET /v1/performance`."""
    routes = APIRouter(prefix="/v1", tags=["labels"], dependencies=[Depends(require_known_parameters)])

    @routes.get("/performance", response_model=PerformanceDocument, responses=problem_responses(422, 503))
    async def performance(kind: By = "day", limit: PeriodLimit = 7) -> Response:
        """How good the answers were, by the labels that have come."""

        def read() -> bytes:
            model, has_probabilities = context.model, context.model.has_probabilities
            choice: Any = {"kind": kind, "limit": limit, "has_probabilities": has_probabilities}
            with context.reading() as connection:
                periods = performance_report(connection, context.settings, model.classes, context.clock(), **choice)
                periods = with_areas(connection, periods, model)
                account = estimate_account(connection, context.settings.model.version)
            documents = [PeriodDocument.model_validate(period.document()) for period in periods]
            estimate = (
                None if account is None else EstimateAccountDocument.model_validate(account, from_attributes=True)
            )
            version = context.model.version
            report = PerformanceDocument(model_version=version, by=kind, periods=documents, estimate=estimate)
            return report.model_dump_json().encode()

        return Response(await context.reading_time.run(read), media_type="application/json")

    return routes
