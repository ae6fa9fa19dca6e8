"""Response schemas: the shapes that OpenAPI documents and that the routes send."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from stillsafe.core.schema import FeatureSpec, LogMode
from stillsafe.serving.problems import ProblemDocument
from stillsafe.serving.reasons import whole_reason
from stillsafe.store.records import PredictionRecord, isoformat

JUDGED_HELP = "No request of the model version has waited longer than `not_judged_intervals` for a conclusive run."
JUDGED_AT_HELP = "End of the window of the last conclusive run; null before the first."
AnswerValue = bool | int | float | str


class Document(BaseModel):
    """A response. Times are ISO 8601 in UTC; rates are in [0, 1]; no number is NaN or infinite."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, allow_inf_nan=False, protected_namespaces=())


class PredictionDocument(Document):
    """One answer, which was recorded before it was sent."""

    prediction_id: str
    id: str | None = Field(description="The client's id of the request, or null.")
    timestamp: datetime
    prediction: AnswerValue | None = Field(description="Null where the fallback abstains.")
    confidence: float | None = Field(description="In [0, 1]; null in an answer of the fallback.")
    model_version: str
    system_state: str = Field(description="NORMAL, WARNING or DEGRADED: the state that applied.")
    fallback_used: bool
    decided_by: str = Field(description="`model` or `fallback`.")
    fallback_kind: str | None = Field(
        description="Of an answer of the fallback: `rules` (with the default), `model` or `abstain`."
    )
    reason: str
    monitor_stale: bool = Field(description="The monitor has not run for two intervals, or never.")
    watched: bool = Field(description="The model version has an active baseline.")
    judged: bool = Field(description=JUDGED_HELP)
    judged_at: datetime | None = Field(description=JUDGED_AT_HELP)
    probabilities: dict[str, float] | None = Field(description="Per class, where the model has them.")


class InstanceError(Document):
    """An instance that was refused. The others of the batch are answered."""

    error: ProblemDocument


class BatchDocument(Document):
    """Per instance an answer or an error, in the order of the request."""

    results: list[PredictionDocument | InstanceError]


class LoggedPredictionDocument(Document):
    """One row of the prediction log."""

    prediction_id: str
    id: str | None = Field(description="The client's id of the request, or null.")
    is_duplicate: bool = Field(description="An outage kept two answers to one id, and this is the later one.")
    timestamp: datetime
    model_version: str
    system_state: str
    prediction: str | None = Field(description="As text; null where the fallback abstained.")
    label: str | None = Field(description="The label in force, as text; null where none has come.")
    confidence: float | None
    fallback_used: bool
    decided_by: str | None
    reason: str | None
    model_error: str | None
    synthetic: bool = Field(description="The row is no evidence about the model.")
    trace_id: str | None = Field(description="Of the client's `traceparent`, else its `x-request-id`; or null.")
    features: dict[str, Any] = Field(description="As logged: some features may be hashed or left out.")


class LoggedPredictionsDocument(Document):
    """The predictions of one id: the one that it belongs to, and duplicates that an outage left."""

    predictions: list[LoggedPredictionDocument]


class LabelReportDocument(Document):
    """What became of the labels of a request. They are stored when it is answered."""

    new_count: int = Field(description="First labels of their predictions.")
    correction_count: int = Field(description="Labels that replaced other ones, which stay as history.")
    repeat_count: int = Field(description="Labels that were in force already.")
    absent_count: int
    unknown_count: int = Field(description="Identifiers that the log does not have.")
    refusal_count: int = Field(description="Labels that the model cannot have, or entries of another form.")
    unknown_ids: list[str] = Field(description="The first of them.")
    refusals: list[str] = Field(description="The first of them.")


class VersionDocument(Document):
    """One model version of the service."""

    model_version: str
    state: str
    judged: bool = Field(description=JUDGED_HELP)
    judged_at: datetime | None = Field(description=JUDGED_AT_HELP)
    last_request_at: datetime | None
    monitored: bool = Field(description="A run has evaluated the version.")


class StateDocument(Document):
    """The current state of the served model version, its reason, and until when it is valid."""

    state: str
    severity: str | None
    reason: str
    last_updated: datetime | None = Field(description="When the state last changed; null before the first decision.")
    checked_at: datetime | None = Field(description="End of the last run's window; null before the first run.")
    valid_until: datetime | None = Field(description="From then on the monitor counts as stopped.")
    stale: bool
    held: bool
    hold_reason: str | None
    held_by: str | None
    mode: str
    model_version: str
    watched: bool
    baseline_id: str | None
    incident_id: str | None
    damaged_features: list[str]
    judged: bool = Field(description=JUDGED_HELP)
    judged_at: datetime | None = Field(description=JUDGED_AT_HELP)
    unjudged_since: datetime | None = Field(description="Time of the oldest request that waits for a conclusive run.")
    not_judged: str = Field(description="Why and since when the version is not judged; empty where it is judged.")
    progress: str = Field(description="What the last run concluded and what ends the state; empty in NORMAL.")
    headline: str = Field(description="The worst state of the model versions with traffic.")
    versions: list[VersionDocument] = Field(description="The model versions with recent traffic or with a state.")


class ExplanationDocument(Document):
    """A text about an incident. No decision reads it. It is plain text: escape it wherever it is shown."""

    generated_at: datetime
    incident_status: str | None
    source: str | None = Field(description="`offline` or `llm`.")
    summary: str
    likely_causes: str | None = Field(description="One per line.")
    recommendations: str = Field(description="One per line.")
    llm_model: str
    prompt_version: str | None
    seconds: float | None = Field(description="How long the language model took, in seconds.")
    unverified: list[dict[str, Any]] | None = Field(
        description="Numbers in the texts that the incident's figures do not contain: field, number, place."
    )


class IncidentDocument(Document):
    """One degradation, from its detection to its resolution."""

    incident_id: str
    detected_at: datetime
    severity: str
    trigger_signals: list[str]
    decision_reason: str
    fallback_activated: bool
    resolved: bool
    escalated_at: datetime | None
    resolved_at: datetime | None
    resolution: str | None
    model_version: str | None
    baseline_id: str | None
    fallback_ended_at: datetime | None = Field(description="When the model answered again while the incident went on.")
    fallback_ended_reason: str | None


class PriceDocument(Document):
    """What a bypass won or lost, by the labels of requests that the fallback answered and the model scored later."""

    metric: str
    label_count: int
    model: float = Field(description="What the model's performance on them would have been.")
    fallback: float = Field(description="The fallback's performance on them.")
    gain: float = Field(description="Error per request that the bypass saved; below zero where it lost.")
    gain_error: float = Field(description="Standard error of the gain.")
    sentence: str


class ExplainedIncidentDocument(IncidentDocument):
    """An incident and its explanations."""

    explanations: list[ExplanationDocument]
    price: PriceDocument | None = Field(None, description="Null without a bypass, or without labels of it.")


class IncidentsDocument(Document):
    """Incidents, newest first."""

    incidents: list[IncidentDocument]


class RealisedDocument(Document):
    """Realised performance of a window in short, by the labels that have come."""

    prediction_count: int
    label_count: int
    coverage: float | None = Field(description="Share of the answers that have a label.")
    delay_seconds: float | None = Field(description="Mean time from the request to its label.")
    metric: str = Field(description="`accuracy`, or a regressor's `mean_absolute_error`.")
    value: float | None
    low: float | None = Field(description="Lower end of the 95% interval of an accuracy.")
    high: float | None = Field(description="Upper end of it.")


class WindowDocument(Document):
    """One run of the monitor: its figures and its decision."""

    window_start: datetime
    window_end: datetime
    prediction_count: int
    avg_confidence: float | None
    low_confidence_rate: float | None
    feature_anomalies: dict[str, Any]
    unseen_categories: bool
    evidence: str | None
    severity: str | None
    state_before: str | None
    state_after: str | None
    reason: str | None
    readings: list[dict[str, Any]] | None
    baseline_id: str | None
    model_version: str | None
    incident_id: str | None
    shadow: bool
    realised: RealisedDocument | None = Field(None, description="Null where no label has ever come.")


class WindowsDocument(Document):
    """Runs, newest first."""

    windows: list[WindowDocument]
    next: int | None = Field(default=None, description="The value of `before` for the runs that follow, or null.")


class BaselineDocument(Document):
    """The active baseline of the served model version: the statistics of its healthy period."""

    baseline_id: str
    created_at: datetime
    sample_size: int
    avg_confidence: float | None
    low_confidence_rate: float | None
    low_confidence_threshold: float | None
    feature_ranges: dict[str, dict[str, float | None]]
    category_frequencies: dict[str, dict[str, float]]
    missing_value_rates: dict[str, float]
    model_version: str
    source: str
    active: bool


class ModelDocument(Document):
    """The served model."""

    version: str
    kind: str
    classes: list[AnswerValue]
    features: list[str]
    confidence_method: str
    decision_threshold: float | None = Field(
        description="The `decision_score` of `decision_class` from which on it is the answer; null where none is set."
    )
    decision_class: AnswerValue | None = Field(description="The class that the threshold is about.")
    decision_score: str | None = Field(description="`predict_proba` or `decision_function`.")
    estimator: str
    compiled: bool
    format: str
    sha256: str
    watched: bool
    baseline_id: str | None
    library_versions: dict[str, str] = Field(description="Of the model's libraries, in this process.")
    library_versions_before: dict[str, str] = Field(description="At `init`, or when a person last accepted a change.")
    origin_versions: dict[str, str] = Field(description="That the model file named when `init` read it.")
    answer_change: str | None = Field(description="How the model's answers differ from those of `init`; else null.")


class FeatureDocument(Document):
    """The hard limits of one feature."""

    name: str
    type: str
    required: bool
    minimum: float | None
    maximum: float | None
    categories: list[str] | None
    max_length: int
    log: str
    allowed: str
    omittable: bool
    date_format: str | None


def feature_document(spec: FeatureSpec) -> FeatureDocument:
    """The hard limits of a feature; the categories of one that the log hides are not shown."""
    document = FeatureDocument.model_validate(spec)
    return document if spec.log is LogMode.KEEP else document.model_copy(update={"categories": None})


class SchemaDocument(Document):
    """Every feature, in the order of the settings."""

    features: list[FeatureDocument]


class LiveDocument(Document):
    """The process answers."""

    status: str


class ReadyDocument(Document):
    """The service can answer and record predictions; whether its monitor runs."""

    status: str = Field(description="`ready`, or `spooling` while rows wait on this host's disk. Both accept requests.")
    monitor: str = Field(description="`fresh`, `stale`, `never ran`, or `unknown` while the database is out.")
    state: str
    watched: bool
    judged: bool = Field(description=JUDGED_HELP)
    judged_at: datetime | None = Field(description=JUDGED_AT_HELP)
    mode: str
    model_version: str
    model_stuck: bool = Field(description="A call of the model has not returned; the fallback answers meanwhile.")
    store: str = Field(description="`up`, or `out:` and the cause.")
    spooled_rows: int = Field(description="Entries on this host's disk that the database lacks.")


class ReadinessDocument(Document):
    """What a client without a key with the scope `read` learns of readiness, where clients need keys."""

    status: str = Field(description="`ready`, or `spooling` while rows wait on this host's disk. Both accept requests.")
    judged: bool = Field(description=JUDGED_HELP)


class LiveFlagDocument(Document):
    """The process answers, in the Open Inference Protocol."""

    live: bool


class ReadyFlagDocument(Document):
    """Readiness in the Open Inference Protocol."""

    name: str | None = Field(default=None, description="The model's, where it was asked for.")
    ready: bool
    error: str | None = Field(default=None, description="Why not, with 503.")


class ServerMetadataDocument(Document):
    """The server, in the Open Inference Protocol."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadataDocument(Document):
    """An input or an output of the model."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadataDocument(Document):
    """The model, in the Open Inference Protocol."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadataDocument]
    outputs: list[TensorMetadataDocument]


class TensorDocument(TensorMetadataDocument):
    """An output with its data, in row-major order; null where there is no number."""

    data: list[AnswerValue | None]
    parameters: dict[str, str] | None = None


class InferenceDocument(Document):
    """Answers in the Open Inference Protocol, which were recorded before they were sent."""

    model_name: str
    model_version: str
    id: str | None = Field(default=None, description="The request's, if it had one.")
    parameters: dict[str, str | bool] = Field(description="The state that applied, and whether the fallback answered.")
    outputs: list[TensorDocument]


class InferenceErrorDocument(Document):
    """An error in the Open Inference Protocol."""

    error: str


class HoldDocument(Document):
    """What a hold or its release has done."""

    state: str = Field(description="The state that applies from now on.")
    held: bool
    by: str = Field(description="Who is on record: the key's name.")
    reason: str
    evidence_says: str = Field(description="The state that the monitor's evidence supports.")


def prediction_document(
    record: PredictionRecord, reason_of: Callable[[PredictionRecord], str] = whole_reason
) -> dict[str, Any]:
    """A `PredictionDocument` as JSON types. Built without pydantic, because every request builds one.

    Args:
        record: the answer.
        reason_of: the reason that the client may see.
    """
    return {
        "prediction_id": record.prediction_id,
        "id": None if record.request_id is None else record.request_id.text,
        "timestamp": isoformat(record.timestamp),
        "prediction": record.prediction,
        "confidence": record.confidence_score,
        "model_version": record.model_version,
        "system_state": record.system_state.value,
        "fallback_used": record.fallback_used,
        "decided_by": record.decided_by,
        "fallback_kind": record.fallback_kind,
        "reason": reason_of(record),
        "monitor_stale": record.monitor_stale,
        "watched": record.watched,
        "judged": record.judged,
        "judged_at": None if record.judged_at is None else isoformat(record.judged_at),
        "probabilities": record.probabilities,
    }
