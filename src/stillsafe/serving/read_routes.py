"""Read routes: state, incidents, windows, baseline, model, schema, health and metrics."""

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.responses import Response, StreamingResponse

from stillsafe.core.state import State
from stillsafe.errors import StoreError, StoreUnavailable
from stillsafe.judging import Conditions, VersionCondition, version_conditions
from stillsafe.label_summary import window_summaries
from stillsafe.model.decision_threshold import decision_threshold
from stillsafe.model.incident_price import incident_price
from stillsafe.serving import predict
from stillsafe.serving.access.access_control import has_scope
from stillsafe.serving.access.keys import KeyScope
from stillsafe.serving.metrics import MEDIA_TYPE, Metrics
from stillsafe.serving.parameters import require_known_parameters
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import RETRY_AFTER_SECONDS, RefusedRequest, problem, problem_responses
from stillsafe.serving.reasons import why_bypassed
from stillsafe.serving.schemas import (
    BaselineDocument,
    ExplainedIncidentDocument,
    ExplanationDocument,
    IncidentDocument,
    IncidentsDocument,
    LiveDocument,
    ModelDocument,
    PriceDocument,
    ReadinessDocument,
    ReadyDocument,
    RealisedDocument,
    SchemaDocument,
    StateDocument,
    VersionDocument,
    WindowDocument,
    WindowsDocument,
    feature_document,
)
from stillsafe.serving.shared_reading import SharedReading
from stillsafe.serving.state_reading import serving_state
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.incidents import incident_by_id, incident_explanations, recent_incidents
from stillsafe.store.read.runs import recent_figures
from stillsafe.store.read.state import StateRecord, current_state
from stillsafe.time_share import TimeShare

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items to return, newest first.")]
OlderThan = Annotated[
    int | None,
    Query(alias="before", ge=1, le=2**63 - 1, description="Only runs before this one: `next` of an earlier answer."),
]
UnresolvedOnly = Annotated[bool, Query(alias="unresolved")]
_INCIDENT_ID = re.compile(r"[\w.:-]{1,100}", flags=re.ASCII)
NOT_READY = problem(503, "The service is not ready.", Retry_After=str(RETRY_AFTER_SECONDS))
SLICE_RUNS = 10
"""Runs that are read at a time: a client that reads slowly keeps so many in memory."""


def status_routes(context: Context) -> APIRouter:
    """`/v1/*` except the prediction routes."""
    routes = APIRouter(prefix="/v1", tags=["status"], dependencies=[Depends(require_known_parameters)])
    _add_list_routes(routes, context)
    short_time = TimeShare()
    _add_monitoring_routes(routes, context, short_time)
    _add_model_routes(routes, context, short_time)
    return routes


def _add_list_routes(routes: APIRouter, context: Context) -> None:
    @routes.get("/incidents", response_model=IncidentsDocument, responses=problem_responses(422, 503))
    async def incidents(limit: Limit = 50, *, unresolved_only: UnresolvedOnly = False) -> Response:
        """Incidents, newest first."""

        def read() -> IncidentsDocument:
            with context.reading() as connection:
                records = recent_incidents(connection, limit, unresolved_only=unresolved_only)
            return IncidentsDocument(incidents=[IncidentDocument.model_validate(record) for record in records])

        return await _answer(context.reading_time, read)

    @routes.get("/windows", response_model=WindowsDocument, responses=problem_responses(422, 503))
    async def windows(limit: Limit = 50, *, before_run: OlderThan = None) -> Response:
        """The monitor's runs, newest first: the figures and the decision of each."""
        slices = _window_slices(context, limit, before_run)
        first = await anext(slices)  # an error of the store is a problem, as long as nothing was sent
        return StreamingResponse(_chain(first, slices), media_type="application/json")


async def _window_slices(context: Context, limit: int, before_run: int | None) -> AsyncIterator[str]:
    """The body of `/v1/windows` in parts, each read when the client has taken the one before."""
    separator, count = '{"windows":[', 0
    while True:
        size = min(SLICE_RUNS, limit - count)
        documents, last_id = await context.reading_time.run(partial(_window_documents, context, size, before_run))
        count, before_run = count + len(documents), last_id
        is_last = len(documents) < size or count == limit
        end = f'],"next":{last_id if len(documents) == size else "null"}}}' if is_last else ""
        yield (separator if documents or not count else "") + ",".join(documents) + end
        separator = ","
        if is_last:
            return


def _window_documents(context: Context, limit: int, before_run: int | None) -> tuple[list[str], int | None]:
    """The runs before one, newest first, as JSON, and the id of the last one."""
    with context.reading() as connection:
        runs = recent_figures(connection, limit, before_run)
        summaries = window_summaries(connection, [(r.window_start, r.window_end, r.model_version) for r in runs])
    documents = [
        WindowDocument.model_validate(run).model_copy(
            update={"realised": None if each is None else RealisedDocument.model_validate(each, from_attributes=True)}
        )
        for run, each in zip(runs, summaries, strict=True)
    ]
    return [document.model_dump_json() for document in documents], runs[-1].id if runs else None


async def _chain(first: str, others: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for each in others:
        yield each


async def _answer(share: TimeShare, read: Callable[[], BaseModel]) -> Response:
    """What is read, as JSON: the event loop gets the bytes."""
    content = await share.run(lambda: read().model_dump_json().encode())
    return Response(content, media_type="application/json")


def _add_monitoring_routes(routes: APIRouter, context: Context, share: TimeShare) -> None:
    @routes.get("/state", response_model=StateDocument, responses=problem_responses(422, 503))
    async def state() -> Response:
        """The current state, its reason, and whether the monitor runs."""

        def read() -> StateDocument:
            with context.reading() as connection:
                version, now = context.model.version, context.clock()
                versions = version_conditions(connection, context.settings.policy, version, now)
                baseline = active_baseline(connection, version)
            return _state(context, versions, baseline.baseline_id if baseline else None)

        return await _answer(share, read)

    @routes.get(
        "/incidents/{incident_id}", response_model=ExplainedIncidentDocument, responses=problem_responses(404, 422, 503)
    )
    async def incident(incident_id: str) -> Response:
        """One incident and its explanations."""

        def read() -> ExplainedIncidentDocument:
            with context.reading() as connection:
                return _incident(connection, incident_id)

        return await _answer(share, read)


def _add_model_routes(routes: APIRouter, context: Context, share: TimeShare) -> None:
    @routes.get("/baseline", response_model=BaselineDocument, responses=problem_responses(404, 422, 503))
    async def baseline() -> Response:
        """The active baseline of the served model version: the statistics of its healthy period."""

        def read() -> BaselineDocument:
            with context.reading() as connection:
                return _baseline(connection, context.model.version)

        return await _answer(share, read)

    @routes.get("/model", response_model=ModelDocument, responses=problem_responses(422, 503))
    async def model() -> Response:
        """The served model."""

        def read() -> ModelDocument:
            with context.reading() as connection:
                baseline = active_baseline(connection, context.model.version)
            return _model(context, baseline.baseline_id if baseline else None)

        return await _answer(share, read)

    @routes.get("/schema", response_model=SchemaDocument, responses=problem_responses(422))
    async def schema() -> Response:
        """The features of a request and their limits."""

        def read() -> SchemaDocument:
            return SchemaDocument(features=[feature_document(spec) for spec in context.model.features.features])

        return await _answer(share, read)


def health_routes(context: Context, metrics: Metrics) -> APIRouter:
    """`/health/*` and `/metrics`."""
    routes = APIRouter(tags=["health"])
    scrape_time, readiness = TimeShare(), SharedReading(partial(ready_document, context))

    @routes.get("/health/live")
    async def live() -> LiveDocument:
        """The process answers."""
        return LiveDocument(status="live")

    model = ReadyDocument | ReadinessDocument if context.settings.exposure.keys else ReadyDocument

    @routes.get("/health/ready", response_model=model, responses=problem_responses(503))
    async def ready(request: Request) -> ReadyDocument | ReadinessDocument:
        """Whether predictions can be answered and recorded, and whether the monitor runs."""
        if not context.settings.exposure.keys or has_scope(request.scope, KeyScope.READ):
            return await readiness.result()
        return await readiness_of(readiness)

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}},
    )
    async def scrape() -> Response:
        """Metrics in Prometheus's text format."""
        return Response(await scrape_time.run(metrics.text), media_type=MEDIA_TYPE)

    return routes


def ready_document(context: Context) -> ReadyDocument:
    """Readiness. During an outage the service is ready while the spool can be written; else this raises StoreError.

    After an answer that could not be recorded it is not ready until a write succeeds.
    """
    failover, model_problem = context.failover, context.consistency.problem
    if model_problem is not None and context.settings.service.mode == "enforce":
        raise RefusedRequest(problem(503, f"{model_problem}. {context.consistency.remedy}"))
    predict.require_recording(context)
    try:
        with context.reading() as connection:
            record = current_state(connection, context.model.version)
            state = serving_state(connection, context.settings, context.clock())
        monitor, store = _monitor(context, record), "up"
    except StoreUnavailable as error:
        if failover is None:
            raise
        failover.spool.require_writable()
        state, monitor, store = failover.last_state(), "unknown", f"out: {error}"
    context.state_log.note(state, why_bypassed(context.settings, state, context.consistency.problem))
    spooled_rows = 0 if failover is None else failover.spool.count()
    return ReadyDocument(
        status="ready" if store == "up" and not spooled_rows else "spooling",
        monitor=monitor,
        state=state.state.value,
        watched=state.watched,
        judged=state.judged,
        judged_at=state.judged_at,
        mode=context.settings.service.mode,
        model_version=context.model.version,
        model_stuck=context.deadline.is_busy,
        store=store,
        spooled_rows=spooled_rows,
    )


async def readiness_of(readiness: SharedReading[ReadyDocument]) -> ReadinessDocument:
    """Readiness for a client that may not read: nothing of the inside, and no cause of a failure.

    Raises:
        RefusedRequest: 503: the service is not ready.
    """
    try:
        document = await readiness.result()
    except (StoreError, RefusedRequest):
        raise RefusedRequest(NOT_READY) from None
    return ReadinessDocument(status=document.status, judged=document.judged)


def _monitor(context: Context, record: StateRecord | None) -> str:
    if record is None or record.checked_at is None:
        return "never ran"
    return "stale" if record.stale(context.clock()) else "fresh"


def _state(context: Context, conditions: Conditions, baseline_id: str | None) -> StateDocument:
    served_version = conditions.served_version
    record = served_version.record.state
    hold = record.memory.hold if record else None
    return StateDocument(
        state=(record.state if record else State.NORMAL).value,
        severity=record.severity if record else None,
        reason=record.reason if record else "The monitor has never run, so nothing was decided yet.",
        last_updated=record.last_updated if record else None,
        checked_at=record.checked_at if record else None,
        valid_until=record.valid_until if record else None,
        stale=record is None or record.stale(context.clock()),
        held=record is not None and record.held,
        hold_reason=hold.reason if hold else None,
        held_by=hold.by if hold else None,
        mode=context.settings.service.mode,
        model_version=context.model.version,
        watched=baseline_id is not None,
        baseline_id=baseline_id,
        incident_id=record.memory.incident_id if record else None,
        damaged_features=list(record.damaged_features) if record else [],
        judged=served_version.judged,
        judged_at=served_version.judged_at,
        unjudged_since=served_version.record.unjudged_since,
        not_judged=served_version.sentence,
        progress=record.progress if record else "",
        headline=conditions.headline.value,
        versions=[_version(each) for each in conditions.versions],
    )


def _version(condition: VersionCondition) -> VersionDocument:
    return VersionDocument(
        model_version=condition.model_version,
        state=condition.state.value,
        judged=condition.judged,
        judged_at=condition.judged_at,
        last_request_at=condition.record.last_request_at,
        monitored=condition.monitored,
    )


def _incident(connection: Connection, incident_id: str) -> ExplainedIncidentDocument:
    # Only a possible identifier reaches the database: drivers reject some characters.
    record = incident_by_id(connection, incident_id) if _INCIDENT_ID.fullmatch(incident_id) else None
    if record is None:
        raise RefusedRequest(problem(404, "There is no such incident. See /v1/incidents."))
    fields = IncidentDocument.model_validate(record).model_dump()
    explanations = [
        ExplanationDocument.model_validate(explanation)
        for explanation in incident_explanations(connection, incident_id)
    ]
    price = incident_price(connection, record)
    price_document = None if price is None else PriceDocument.model_validate(price, from_attributes=True)
    return ExplainedIncidentDocument(**fields, explanations=explanations, price=price_document)


def _baseline(connection: Connection, version: str) -> BaselineDocument:
    baseline = active_baseline(connection, version)
    if baseline is None:
        detail = "The served model version has no active baseline: it is unwatched. Make one with `stillsafe baseline`."
        raise RefusedRequest(problem(404, detail))
    return BaselineDocument(
        baseline_id=baseline.baseline_id,
        created_at=baseline.created_at,
        sample_size=baseline.sample_size,
        avg_confidence=baseline.avg_confidence,
        low_confidence_rate=baseline.low_confidence_rate,
        low_confidence_threshold=baseline.low_confidence_threshold,
        feature_ranges={
            name: {"min": feature.minimum, "max": feature.maximum}
            for name, feature in baseline.features.items()
            if feature.minimum is not None
        },
        category_frequencies={
            name: {category: count / feature.value_count for category, count in feature.category_counts.items()}
            for name, feature in baseline.features.items()
            if feature.value_count and feature.category_counts
        },
        missing_value_rates={name: feature.missing_rate for name, feature in baseline.features.items()},
        model_version=baseline.model_version,
        source=baseline.source.value,
        active=True,
    )


def _model(context: Context, baseline_id: str | None) -> ModelDocument:
    model, model_settings = context.model, context.settings.model
    threshold = decision_threshold(model.estimator, model.classes)
    return ModelDocument(
        version=model.version,
        kind=model.kind.value,
        classes=list(model.classes),
        features=list(model.features.names),
        confidence_method=model.scale.method.value,
        decision_threshold=None if threshold is None else threshold.value,
        decision_class=None if threshold is None else threshold.answer,
        decision_score=None if threshold is None else threshold.score,
        compiled=model.compiled is not None,
        estimator="external" if model.is_external else type(model.estimator).__name__,
        format=model_settings.format,
        sha256=model_settings.sha256,
        watched=baseline_id is not None,
        baseline_id=baseline_id,
        library_versions=dict(context.consistency.versions),
        library_versions_before=dict(context.consistency.versions_before),
        origin_versions=dict(context.consistency.origin_versions),
        answer_change=context.consistency.problem,
    )
