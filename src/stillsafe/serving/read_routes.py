"""Read routes: state, incidents, windows, baseline, model, schema, health and metrics."""

import re
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.responses import Response

from stillsafe.core.state import State
from stillsafe.errors import StoreUnavailable
from stillsafe.judging import Conditions, VersionCondition, version_conditions
from stillsafe.serving import predict
from stillsafe.serving.metrics import MEDIA_TYPE, Metrics
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import RefusedRequest, problem, problem_responses
from stillsafe.serving.schemas import (
    BaselineDocument,
    ExplainedIncidentDocument,
    ExplanationDocument,
    FeatureDocument,
    IncidentDocument,
    IncidentsDocument,
    LiveDocument,
    ModelDocument,
    ReadyDocument,
    SchemaDocument,
    StateDocument,
    VersionDocument,
    WindowDocument,
    WindowsDocument,
)
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.incidents import incident_by_id, incident_explanations, recent_incidents
from stillsafe.store.read.runs import recent_runs
from stillsafe.store.read.state import StateRecord, current_state

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items to return, newest first.")]
UnresolvedOnly = Annotated[bool, Query(alias="unresolved")]
_INCIDENT_ID = re.compile(r"[\w.:-]{1,100}", flags=re.ASCII)


def status_routes(context: Context) -> APIRouter:
    """`/v1/*` except the prediction routes."""
    routes = APIRouter(prefix="/v1", tags=["status"])
    _add_monitoring_routes(routes, context)
    _add_model_routes(routes, context)
    return routes


def _add_monitoring_routes(routes: APIRouter, context: Context) -> None:
    @routes.get("/state", responses=problem_responses(503))
    def state() -> StateDocument:
        """The current state, its reason, and whether the monitor runs."""
        with context.reading() as connection:
            versions = version_conditions(connection, context.settings.policy, context.model.version, context.clock())
            baseline = active_baseline(connection, context.model.version)
        return _state(context, versions, baseline.baseline_id if baseline else None)

    @routes.get("/incidents", responses=problem_responses(422, 503))
    def incidents(limit: Limit = 50, *, unresolved_only: UnresolvedOnly = False) -> IncidentsDocument:
        """Incidents, newest first."""
        with context.reading() as connection:
            records = recent_incidents(connection, limit, unresolved_only=unresolved_only)
        return IncidentsDocument(incidents=[IncidentDocument.model_validate(record) for record in records])

    @routes.get("/incidents/{incident_id}", responses=problem_responses(404, 422, 503))
    def incident(incident_id: str) -> ExplainedIncidentDocument:
        """One incident and its explanations."""
        with context.reading() as connection:
            return _incident(connection, incident_id)

    @routes.get("/windows", responses=problem_responses(422, 503))
    def windows(limit: Limit = 50) -> WindowsDocument:
        """The monitor's runs, newest first: the figures and the decision of each."""
        with context.reading() as connection:
            runs = recent_runs(connection, limit)
        return WindowsDocument(windows=[WindowDocument.model_validate(run) for run in runs])


def _add_model_routes(routes: APIRouter, context: Context) -> None:
    @routes.get("/baseline", responses=problem_responses(404, 503))
    def baseline() -> BaselineDocument:
        """The active baseline of the served model version: the statistics of its healthy period."""
        with context.reading() as connection:
            return _baseline(connection, context.model.version)

    @routes.get("/model", responses=problem_responses(503))
    def model() -> ModelDocument:
        """The served model."""
        with context.reading() as connection:
            baseline = active_baseline(connection, context.model.version)
        return _model(context, baseline.baseline_id if baseline else None)

    @routes.get("/schema")
    def schema() -> SchemaDocument:
        """The features of a request and their limits."""
        features = [FeatureDocument.model_validate(spec) for spec in context.model.features.features]
        return SchemaDocument(features=features)


def health_routes(context: Context, metrics: Metrics) -> APIRouter:
    """`/health/*` and `/metrics`."""
    routes = APIRouter(tags=["health"])

    @routes.get("/health/live")
    def live() -> LiveDocument:
        """The process answers."""
        return LiveDocument(status="live")

    @routes.get("/health/ready", responses=problem_responses(503))
    def ready() -> ReadyDocument:
        """Whether predictions can be answered and recorded, and whether the monitor runs."""
        return _ready(context)

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}},
    )
    def scrape() -> Response:
        """Metrics in Prometheus's text format."""
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    return routes


def _ready(context: Context) -> ReadyDocument:
    """Readiness. During an outage the service is ready while the spool can be written; else this raises StoreError.

    After an answer that could not be recorded it is not ready until a write succeeds.
    """
    failover = context.failover
    predict.require_recording(context)
    try:
        with context.reading() as connection:
            record = current_state(connection, context.model.version)
            state = predict.serving_state(connection, context.settings, context.clock())
        monitor, store = _monitor(context, record), "up"
    except StoreUnavailable as error:
        if failover is None:
            raise
        failover.spool.require_writable()
        state, monitor, store = failover.last_state(), "unknown", f"out: {error}"
    context.state_log.note(state, predict.why_bypassed(context.settings, state))
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
    return ExplainedIncidentDocument(**fields, explanations=explanations)


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
    return ModelDocument(
        version=model.version,
        kind=model.kind.value,
        classes=list(model.classes),
        features=list(model.features.names),
        confidence_method=model.scale.method.value,
        compiled=model.compiled is not None,
        estimator=type(model.estimator).__name__,
        format=model_settings.format,
        sha256=model_settings.sha256,
        watched=baseline_id is not None,
        baseline_id=baseline_id,
    )
