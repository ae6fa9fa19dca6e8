"""The reference baseline of a healthy sample: its profile and its impact study, for `init` and its refresh."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.metric import MetricDefinition
from stillsafe.core.fallback import Answer
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Row, Schema
from stillsafe.core.score import Score
from stillsafe.errors import BaselineRefused, ConfigurationError
from stillsafe.init import impact_study, inspect
from stillsafe.model.model import Model
from stillsafe.monitoring import baseline
from stillsafe.monitoring.columns import Columns
from stillsafe.monitoring.disclosure import Disclosure
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.noise import with_impact
from stillsafe.monitoring.slot_noise import with_slots
from stillsafe.monitoring.views import ViewConditions, with_healthy_views
from stillsafe.progress import Progress
from stillsafe.table_file import TIMESTAMP, Micros


@dataclass(frozen=True, slots=True)
class ReferenceSample:
    """Healthy rows with the model's scores on them.

    Attributes:
        rows: the rows, in time order where it is known.
        scores: the model's scores on them.
        labels: the labels, None for a label that is not a class of the model; or None without labels.
        in_time_order: whether a `timestamp` column gave the order of the rows.
        times: (n,) in microseconds since 1970, UTC, or None where they are not known.
    """

    rows: Sequence[Row]
    scores: Sequence[Score]
    labels: Sequence[Answer | None] | None
    in_time_order: bool
    times: Micros | None = None


@dataclass(frozen=True, slots=True)
class ReferenceRequest:
    """What the reference baseline is made for.

    Attributes:
        now: the time of creation, aware UTC.
        disclosure: what it may show of single values, with the salt of the service.
        definitions: the owner's metrics; empty for the default.
        baseline_id: its identifier, by default from the model version.
        timezone: IANA name of the time zone of the service's hours.
    """

    now: datetime
    disclosure: Disclosure
    definitions: tuple[MetricDefinition, ...] = ()
    baseline_id: str | None = None
    timezone: str = "UTC"


def study_reference(
    model: Model, sample: ReferenceSample, request: ReferenceRequest, progress: Progress
) -> tuple[Baseline, list[str]]:
    """The reference baseline with the impact study, and warnings if the halves of the sample deviate.

    Raises:
        ConfigurationError: the sample has too few rows.
    """
    schema, salt = model.features, request.disclosure.salt or ""
    columns = baseline.reference_columns(
        schema,
        sample.rows,
        [score.confidence for score in sample.scores],
        [score.text for score in sample.scores],
        salt=salt,
        times=() if sample.times is None else sample.times,
    )
    timezone = None if sample.times is None else request.timezone
    min_count = request.disclosure.min_count
    period = ViewConditions(schema, request.now, request.timezone, timezone is not None, min_count, salt)
    columns = with_healthy_views(columns, period)
    try:
        reference = baseline.reference_baseline(
            columns,
            schema,
            model_version=model.version,
            at=request.now,
            disclosure=request.disclosure,
            baseline_id=request.baseline_id,
            timezone=timezone,
        )
    except BaselineRefused as refusal:
        raise ConfigurationError(str(refusal), "Give a larger sample.") from refusal
    warnings = _deviation_warnings(columns, schema, request, sample)
    columns = LogFormat(schema, salt).comparable_columns(columns, reference)
    scored_sample = impact_study.ScoredSample(sample.rows, sample.scores, sample.labels, columns)
    if model.is_external:
        answer_impact = impact_study.study_answers(model, scored_sample, reference, request.definitions)
        reference = replace(reference, answer_impact=answer_impact)
    else:
        with inspect.suppress_warnings():
            harm = impact_study.study_impact(model, scored_sample, reference, request.definitions, progress)
        reference = with_impact(columns, reference, harm)
    return with_slots(reference, columns, request.timezone, Policy()), warnings


def _deviation_warnings(
    columns: Columns, schema: Schema, request: ReferenceRequest, sample: ReferenceSample
) -> list[str]:
    timezone = None if sample.times is None else request.timezone
    sentences = baseline.contradictions(columns, schema, Policy(), request.now, timezone)
    if not sentences:
        return []
    advice = (
        "check that all of it is healthy."
        if sample.in_time_order
        else f"shuffle it if it is sorted, or add a `{TIMESTAMP}` column."
    )
    return [f"The second half of the sample deviates from the first: {advice}", *sentences]
