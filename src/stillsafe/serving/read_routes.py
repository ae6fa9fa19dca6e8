"""The routes that only look: state, incidents, windows, baseline, model, schema, health and metrics."""

import re
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.responses import Response

from stillsafe.core.state import State
from stillsafe.errors import StoreUnavailable
from stillsafe.serving import metrics
from stillsafe.serving.failover import Outage
from stillsafe.serving.metrics import Metrics
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import RefusedRequest, documented, problem
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
    WindowDocument,
    WindowsDocument,
)
from stillsafe.store.read.baselines import active_baseline, is_watched
from stillsafe.store.read.incidents import incident_by_id, incident_explanations, recent_incidents
from stillsafe.store.read.runs import recent_runs
from stillsafe.store.read.state import StateRecord, current_state

Limit = Annotated[int, Query(ge=1, le=1000, description="Most of them to show, newest first.")]
_INCIDENT_ID = re.compile(r"[\w.:-]{1,100}", flags=re.ASCII)


def router(context: Context) -> APIRouter:
    """`/v1/*` without predicting."""
    routes = APIRouter(prefix="/v1", tags=["look"])

    @routes.get("/state", responses=documented(503))
    def state() -> StateDocument:
        """What everybody obeys, why, and whether the monitor is alive."""
        with context.reading() as connection:
            record = current_state(connection)
            baseline = active_baseline(connection, context.model.version)
        return _state(context, record, baseline.baseline_id if baseline else None)

    @routes.get("/incidents", responses=documented(422, 503))
    def incidents(limit: Limit = 50, *, unresolved: bool = False) -> IncidentsDocument:
        """Incidents, newest first."""
        with context.reading() as connection:
            found = recent_incidents(connection, limit, unresolved_only=unresolved)
        return IncidentsDocument(incidents=[IncidentDocument.model_validate(each) for each in found])

    @routes.get("/incidents/{incident_id}", responses=documented(404, 422, 503))
    def incident(incident_id: str) -> ExplainedIncidentDocument:
        """One incident and what was written about it."""
        with context.reading() as connection:
            return _incident(connection, incident_id)

    @routes.get("/windows", responses=documented(422, 503))
    def windows(limit: Limit = 50) -> WindowsDocument:
        """The monitor's runs, newest first: what each saw and concluded."""
        with context.reading() as connection:
            found = recent_runs(connection, limit)
        return WindowsDocument(windows=[WindowDocument.model_validate(each) for each in found])

    @routes.get("/baseline", responses=documented(404, 503))
    def baseline() -> BaselineDocument:
        """What healthy looks like for the served model version."""
        with context.reading() as connection:
            return _baseline(connection, context.model.version)

    @routes.get("/model", responses=documented(503))
    def model() -> ModelDocument:
        """What is served."""
        with context.reading() as connection:
            found = active_baseline(connection, context.model.version)
        return _model(context, found.baseline_id if found else None)

    @routes.get("/schema")
    def schema() -> SchemaDocument:
        """What a request may contain."""
        return SchemaDocument(
            features=[FeatureDocument.model_validate(spec) for spec in context.model.features.features]
        )

    return routes


def health(context: Context, counted: Metrics) -> APIRouter:
    """`/health/*` and `/metrics`."""
    routes = APIRouter(tags=["health"])

    @routes.get("/health/live")
    def live() -> LiveDocument:
        """The process answers."""
        return LiveDocument(status="live")

    @routes.get("/health/ready", responses=documented(503))
    def ready() -> ReadyDocument:
        """Whether predictions can be answered and recorded, and whether anybody is watching them."""
        return _ready(context) if context.outage is None else _ready_or_spooling(context, context.outage)

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {metrics.MEDIA_TYPE: {"schema": {"type": "string"}}}}},
    )
    def scrape() -> Response:
        """For Prometheus."""
        return Response(counted.text(), media_type=metrics.MEDIA_TYPE)

    return routes


def _ready(context: Context) -> ReadyDocument:
    with context.reading() as connection:
        record = current_state(connection)
        watched = is_watched(connection, context.model.version)
    return ReadyDocument(
        status="ready",
        monitor=_monitor(context, record),
        state=(record.state if record else State.NORMAL).value,
        watched=watched,
        mode=context.settings.service.mode,
        model_version=context.model.version,
        model_stuck=context.deadline.stuck,
        store="up",
        spooled_rows=0,
    )


def _ready_or_spooling(context: Context, outage: Outage) -> ReadyDocument:
    """Ready while rows can be kept somewhere. A spool that cannot be written answers 503 as a store would."""
    try:
        found = _ready(context)
    except StoreUnavailable as error:
        outage.spool.require_writable()
        orders = outage.last_known()
        found = ReadyDocument(
            status="spooling",
            monitor="unknown",
            state=orders.state.value,
            watched=orders.watched,
            mode=context.settings.service.mode,
            model_version=context.model.version,
            model_stuck=context.deadline.stuck,
            store=f"out: {error}",
            spooled_rows=0,
        )
    waiting = outage.spool.count()
    return found.model_copy(update={"spooled_rows": waiting} | ({"status": "spooling"} if waiting else {}))


def _monitor(context: Context, record: StateRecord | None) -> str:
    if record is None or record.checked_at is None:
        return "never ran"
    return "stale" if record.stale(context.clock()) else "fresh"


def _state(context: Context, record: StateRecord | None, baseline_id: str | None) -> StateDocument:
    hold = record.memory.hold if record else None
    return StateDocument(
        state=(record.state if record else State.NORMAL).value,
        severity=record.severity if record else None,
        reason=record.reason if record else "The monitor has never run: nothing was ever decided.",
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
    )


def _incident(connection: Connection, incident_id: str) -> ExplainedIncidentDocument:
    # An identifier that could never be one is not taken to the database.
    found = incident_by_id(connection, incident_id) if _INCIDENT_ID.fullmatch(incident_id) else None
    if found is None:
        raise RefusedRequest(problem(404, "There is no such incident. See /v1/incidents."))
    known = IncidentDocument.model_validate(found).model_dump()
    told = [ExplanationDocument.model_validate(each) for each in incident_explanations(connection, incident_id)]
    return ExplainedIncidentDocument(**known, explanations=told)


def _baseline(connection: Connection, version: str) -> BaselineDocument:
    found = active_baseline(connection, version)
    if found is None:
        told = "The served model version has no active baseline: it is unwatched. Make one with `stillsafe baseline`."
        raise RefusedRequest(problem(404, told))
    return BaselineDocument(
        baseline_id=found.baseline_id,
        created_at=found.created_at,
        sample_size=found.sample_size,
        avg_confidence=found.avg_confidence,
        low_confidence_rate=found.low_confidence_rate,
        low_confidence_threshold=found.low_confidence_threshold,
        feature_ranges={
            name: {"min": each.minimum, "max": each.maximum}
            for name, each in found.features.items()
            if each.minimum is not None
        },
        category_frequencies={
            name: {category: count / each.value_count for category, count in each.category_counts.items()}
            for name, each in found.features.items()
            if each.value_count and each.category_counts
        },
        missing_value_rates={name: each.missing_rate for name, each in found.features.items()},
        model_version=found.model_version,
        source=found.source.value,
        active=True,
    )


def _model(context: Context, baseline_id: str | None) -> ModelDocument:
    model, chosen = context.model, context.settings.model
    return ModelDocument(
        version=model.version,
        kind=model.kind.value,
        classes=list(model.classes),
        features=list(model.features.names),
        confidence_method=model.scale.method.value,
        compiled=model.compiled is not None,
        estimator=type(model.estimator).__name__,
        format=chosen.format,
        sha256=chosen.sha256,
        watched=baseline_id is not None,
        baseline_id=baseline_id,
    )
