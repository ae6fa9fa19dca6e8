"""Makes baselines: from a healthy reference sample, the first predictions of a model, or a span of time.

A baseline never changes after it is made. A period whose halves deviate from one another is refused, since it was not
healthy throughout.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.evidence.impact import study_with_views
from stillsafe.core.evidence.sentences import sentence
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.policy import Policy
from stillsafe.core.readings import read_signals
from stillsafe.core.schema import Row, Schema, sanitise
from stillsafe.core.signals import Evidence
from stillsafe.core.window import Window
from stillsafe.errors import BaselineRefused
from stillsafe.model.reference import read_baseline, read_reference
from stillsafe.monitoring.baseline_labels import LabelledPeriod, PeriodStudy, period_labels
from stillsafe.monitoring.columns import Columns, RowOutcomes, columns_from_snapshots, read_columns
from stillsafe.monitoring.disclosure import NO_DISCLOSURE_CONTROL, Disclosure, shared_predictions
from stillsafe.monitoring.local_time import fresh_slots, middle_time
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.logged_baseline import logged_baseline
from stillsafe.monitoring.noise import SMALLEST_CHUNK, baseline_noise, joint_table, with_impact
from stillsafe.monitoring.profile import numeric_predictions, profile_features, profile_outputs
from stillsafe.monitoring.slot_noise import with_slots
from stillsafe.monitoring.slots import period_clock
from stillsafe.monitoring.tally import tally
from stillsafe.monitoring.value_ages import with_value_ages
from stillsafe.monitoring.views import ViewConditions, with_healthy_views
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline, baseline_by_id
from stillsafe.store.read.requests import LogRows, first_healthy_rows, refusal_count, window_rows
from stillsafe.store.read.runs import deviating_run_count
from stillsafe.store.write.baselines import insert_baseline, mark_active

DEFAULT_SAMPLE = 10_000
SMALLEST_SAMPLE = 200
LOW_CONFIDENCE_QUANTILE = 0.10
LARGEST_FALLBACK_RATE = 0.01
HALVES_FALSE_ALARM_FACTOR = 0.1
"""Of the policy's false alarm rate, the part at which the halves of a healthy period may deviate."""


@dataclass(frozen=True, slots=True)
class BaselineOrigin:
    """Where a baseline comes from.

    Attributes:
        baseline_id: its identifier.
        model_version: the version that made the predictions.
        created_at: aware UTC.
        source: where the rows come from.
        refusal_count: requests refused in the period.
    """

    baseline_id: str
    model_version: str
    created_at: datetime
    source: BaselineSource
    refusal_count: int = 0


@dataclass(frozen=True, slots=True)
class HealthyPeriod:
    """Which predictions of the log a baseline is made of.

    Attributes:
        first: the first so many that the model made in the state NORMAL; None for 10,000.
        since, until: a span of time instead, half open; None where it has no start, and for now.
        accept_contradiction: whether it counts although runs deviated in it, or it contradicts itself.
    """

    first: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    accept_contradiction: bool = False

    @property
    def is_span(self) -> bool:
        """Whether it is a span of time."""
        return self.since is not None or self.until is not None


def reference_columns(
    schema: Schema,
    rows: Sequence[Row],
    confidences: Sequence[float | None],
    predictions: Sequence[str | None],
    *,
    salt: str,
    times: Sequence[int] | NDArray[np.int64] = (),
) -> Columns:
    """A healthy sample as the log would hold it, had a service predicted it; rows in time order where it is known."""
    outcomes = RowOutcomes(
        confidences=confidences,
        model_errors=[None] * len(rows),
        fallback_used=[False] * len(rows),
        predictions=predictions,
        times=times,
    )
    return columns_from_snapshots(sanitise(schema, rows, salt), schema, outcomes)


def reference_baseline(
    rows: Columns,
    schema: Schema,
    *,
    model_version: str,
    at: datetime,
    disclosure: Disclosure = NO_DISCLOSURE_CONTROL,
    baseline_id: str | None = None,
    timezone: str | None = None,
) -> Baseline:
    """The baseline of a reference sample.

    Args:
        rows: the sample.
        schema: the features.
        model_version: the version that predicted it.
        at: the time now, aware UTC.
        disclosure: what the baseline may show of single values.
        baseline_id: its identifier, by default from the version.
        timezone: of the rows' hours, or None where their times are not known.

    Raises:
        BaselineRefused: too few rows.
    """
    identifier = baseline_id or f"reference-{model_version}"
    origin = BaselineOrigin(identifier, model_version, at, BaselineSource.REFERENCE)
    return summarize(rows, schema, origin, disclosure=disclosure, timezone=timezone)


def summarize(
    rows: Columns,
    schema: Schema,
    origin: BaselineOrigin,
    *,
    low_confidence_threshold: float | None = None,
    reference: Baseline | None = None,
    disclosure: Disclosure = NO_DISCLOSURE_CONTROL,
    timezone: str | None = None,
) -> Baseline:
    """Rows to a baseline, without its slots (`slot_noise.with_slots`).

    Args:
        rows: healthy rows, in time order where it is known.
        schema: the features.
        origin: where the rows come from.
        low_confidence_threshold: a confidence below this is low; default their tenth percentile.
        reference: an earlier baseline of the same model version. The new one keeps its bins and its impact study.
        disclosure: what the baseline may show of single values.
        timezone: IANA name of the time zone of the rows' hours, or None where their times are not known.

    Raises:
        BaselineRefused: fewer than 50 rows, too few to separate a deviation from noise.
    """
    _require_rows(rows, SMALLEST_CHUNK)
    confidences = rows.confidences[np.isfinite(rows.confidences)]
    if low_confidence_threshold is None and len(confidences):
        low_confidence_threshold = float(np.quantile(confidences, LOW_CONFIDENCE_QUANTILE))
    profiles = Baseline(
        baseline_id=origin.baseline_id,
        model_version=origin.model_version,
        created_at=origin.created_at,
        source=origin.source,
        sample_size=len(rows),
        confidence_count=0,
        avg_confidence=None,
        confidence_sd=None,
        low_confidence_threshold=low_confidence_threshold,
        low_confidence_rate=None,
        refusal_count=origin.refusal_count,
        features=profile_features(rows, schema, reference.features if reference is not None else None, disclosure),
        longest_pause_seconds=_longest_pause(rows.timestamps),
        outputs=profile_outputs(rows, reference.outputs if reference is not None else None, disclosure.min_count),
        min_count=disclosure.min_count,
    )
    # From here on, a rare category is known by its hash.
    rows = LogFormat(schema, disclosure.salt or "").comparable_columns(rows, profiles)
    predictions = numeric_predictions(rows)
    mean, sd = _mean_and_sd([] if predictions is None else predictions.tolist())
    clock = period_clock(rows, profiles, timezone)
    profiles = replace(profiles, prediction_mean=mean, prediction_sd=sd, clock=clock)
    total = tally(rows, profiles, origin.refusal_count)
    baseline = replace(
        profiles,
        confidence_count=total.confidence_count,
        avg_confidence=total.avg_confidence,
        confidence_sd=_mean_and_sd(confidences.tolist())[1],
        low_confidence_rate=total.low_confidence_rate,
        model_error_count=total.model_error_count,
        prediction_counts=shared_predictions(total.prediction_counts, disclosure.min_count),
        joint=joint_table(
            rows,
            {name: each for name, each in profiles.features.items() if name not in profiles.clock},
            reference.harm if reference is not None else None,
        ),
        **_studies_of(reference, profiles.features),
    )
    noise = baseline_noise(rows, schema, baseline)
    return with_value_ages(replace(baseline, variation=noise.variation, offset=noise.offset), rows, timezone)


def _studies_of(reference: Baseline | None, features: Mapping[str, FeatureBaseline]) -> dict[str, Any]:
    """What `init` measured of the model, which a baseline of the log keeps."""
    if reference is None:
        return {}
    views = {name: each.view.of for name, each in features.items() if each.view}
    harm = None if reference.harm is None else study_with_views(reference.harm, views)
    return {"harm": harm, "answer_impact": reference.answer_impact}


def contradictions(
    rows: Columns, schema: Schema, policy: Policy, at: datetime, timezone: str | None = None
) -> list[str]:
    """How the second half of a period deviates from its first: a sentence per reading, empty if it does not.

    A period is judged once, so the noise that one run in a thousand may show must be rarer here.
    """
    middle = len(rows) // 2
    if middle < SMALLEST_CHUNK:
        return []
    first, second, at = rows[:middle], rows[middle:], middle_time(rows.times[middle:], at)
    origin = BaselineOrigin("first half", "", at, BaselineSource.SPAN)
    healthy = replace(summarize(first, schema, origin, timezone=timezone), variation={}, longest_pause_seconds=None)
    if timezone is not None:
        healthy = with_slots(healthy, first, timezone, policy)
    slots = fresh_slots(second, healthy)
    second_tally = tally(second, composed_baseline(healthy, slots), 0)
    strict_policy = replace(policy, false_alarm_rate=policy.false_alarm_rate * HALVES_FALSE_ALARM_FACTOR)
    readings = read_signals(strict_policy, healthy, Window(at, at, "", second_tally, second_tally))
    return [sentence(reading) for reading in readings if reading.evidence is Evidence.BAD]


def create(
    engine: Engine,
    settings: Settings,
    period: HealthyPeriod,
    *,
    at: datetime,
    study: PeriodStudy | None = None,
) -> Baseline:
    """Make and activate a baseline of the served model version from the prediction log.

    Args:
        engine: the store.
        settings: the service.
        period: the healthy predictions.
        at: the time now, aware UTC.
        study: learns harm again from the labels of the period; None: the study of the reference stays.

    Raises:
        BaselineRefused: the period is too small, was not healthy, or contradicts itself.
    """
    schema, timezone = settings.schema_of_features, settings.service.timezone
    with database.reading(engine) as connection:
        log_rows, origin = _period_rows(connection, settings.model.version, period, at)
        labels = [] if study is None else period_labels(connection, log_rows)
    rows, reference = read_columns(log_rows, schema), _reference_in_force(engine, settings)
    if reference is not None:
        rows = LogFormat.of(settings).comparable_columns(rows, reference)
    require_healthy(rows)
    disclosure, salt = Disclosure.of(settings), settings.service.hash_salt
    rows = with_healthy_views(rows, ViewConditions(schema, at, timezone, True, disclosure.min_count, salt))
    sentences = contradictions(rows, schema, settings.policy, at, timezone)
    if sentences and not period.accept_contradiction:
        raise BaselineRefused("The period contradicts itself: its second half deviates from its first.", sentences)
    baseline = summarize(
        rows,
        schema,
        origin,
        low_confidence_threshold=settings.policy.low_confidence_threshold,
        reference=reference,
        disclosure=disclosure,
        timezone=timezone,
    )
    rows = LogFormat.of(settings).comparable_columns(rows, baseline)
    if study is not None:
        baseline = with_impact(rows, baseline, study(LabelledPeriod(log_rows, labels, rows, baseline)))
    baseline = with_slots(baseline, rows, timezone, settings.policy)
    with database.writing(engine) as connection:
        store_baseline(connection, baseline)
    return baseline


def _period_rows(
    connection: Connection, version: str, period: HealthyPeriod, at: datetime
) -> tuple[LogRows, BaselineOrigin]:
    """The rows of a period, and where they come from."""
    if not period.is_span:
        source, refusals = BaselineSource.FIRST, 0
        log_rows = _first_rows(connection, version, period.first or DEFAULT_SAMPLE)
    else:
        start, end = period.since or datetime.min.replace(tzinfo=at.tzinfo), period.until or at
        source, refusals = BaselineSource.SPAN, refusal_count(connection, start, end, version)
        log_rows = window_rows(connection, start, end, version)
        deviations = deviating_run_count(connection, version, start, end)
        if deviations and not period.accept_contradiction:
            raise BaselineRefused(f"{deviations} monitoring runs deviated in that period: it was not healthy.")
    identifier = f"{source.value}-{version}-{at:%Y%m%dT%H%M%SZ}"
    return log_rows, BaselineOrigin(identifier, version, at, source, refusals)


def _first_rows(connection: Connection, version: str, count: int) -> LogRows:
    rows = first_healthy_rows(connection, version, count)
    if len(rows) < count:
        raise BaselineRefused(
            f"The log holds {len(rows)} healthy predictions of model version {version}, but the baseline requires "
            f"{count}: wait for more, or set a smaller number with --first."
        )
    return rows


def _reference_in_force(engine: Engine, settings: Settings) -> Baseline | None:
    """The stored reference baseline that the settings name, else the first one of the model version."""
    path, first = settings.path(settings.model.reference), f"reference-{settings.model.version}"
    reference = read_reference(path).baseline if path.exists() else None
    stored = None if reference is None else _stored_baseline(engine, reference.baseline_id)
    return _stored_baseline(engine, first) if stored is None else stored


def _stored_baseline(engine: Engine, baseline_id: str) -> Baseline | None:
    with database.reading(engine) as connection:
        return baseline_by_id(connection, baseline_id)


def activate(engine: Engine, baseline_id: str) -> Baseline:
    """Make a stored baseline the active one of its model version.

    Raises:
        BaselineRefused: no baseline has that id.
    """
    with database.writing(engine) as connection:
        baseline = baseline_by_id(connection, baseline_id)
        if baseline is None:
            raise BaselineRefused(f"There is no baseline {baseline_id!r}; `stillsafe baseline list` shows all.")
        mark_active(connection, baseline)
    return baseline


def ensure_reference(engine: Engine, settings: Settings) -> None:
    """Store the service's reference baseline unless it is stored, so that a new version is monitored at once.

    Raises:
        ModelError: the reference file is invalid.
    """
    path = settings.path(settings.model.reference)
    if not path.exists():
        return
    reference = read_baseline(path)
    if _stored_baseline(engine, reference.baseline_id) is not None:
        return
    with database.writing(engine) as connection:
        if baseline_by_id(connection, reference.baseline_id) is None:
            store_baseline(connection, logged_baseline(reference, LogFormat.of(settings)))


def adopt_reference(engine: Engine, settings: Settings) -> bool:
    """Store the reference baseline that the settings name, and activate it unless one of the log is active.

    Returns:
        Whether it is active now.

    Raises:
        ModelError: the file is missing or invalid.
    """
    ensure_reference(engine, settings)
    reference = read_baseline(settings.path(settings.model.reference))
    with database.writing(engine) as connection:
        active = active_baseline(connection, settings.model.version)
        is_replaced = active is None or active.source is BaselineSource.REFERENCE
        if is_replaced:
            mark_active(connection, reference)
    return is_replaced


def load_reference(engine: Engine, settings: Settings, file: Path) -> Baseline:
    """Store and activate the baseline of a reference file.

    Raises:
        ModelError: the file is missing or invalid.
    """
    reference = logged_baseline(read_baseline(file), LogFormat.of(settings))
    with database.writing(engine) as connection:
        if baseline_by_id(connection, reference.baseline_id) is None:
            insert_baseline(connection, reference)
        mark_active(connection, reference)
    return reference


def store_baseline(connection: Connection, baseline: Baseline) -> None:
    """Store a baseline, and make it the active one of its version unless it is a reference beside an active one.

    Raises:
        BaselineRefused: a baseline with its identifier exists.
    """
    if baseline_by_id(connection, baseline.baseline_id) is not None:
        raise BaselineRefused(
            f"A baseline {baseline.baseline_id!r} exists already, and a stored baseline never changes."
        )
    active = active_baseline(connection, baseline.model_version)
    insert_baseline(connection, baseline)
    if active is None or baseline.source is not BaselineSource.REFERENCE:
        mark_active(connection, baseline)


def require_healthy(rows: Columns) -> None:
    """Check that a healthy period has enough rows, and that the model answered them.

    Raises:
        BaselineRefused: it has not.
    """
    _require_rows(rows, SMALLEST_SAMPLE)
    fallback_count = int(rows.fallback_used.sum())
    if fallback_count > LARGEST_FALLBACK_RATE * len(rows):
        raise BaselineRefused(
            f"{fallback_count} of the {len(rows)} predictions in the period were answered by the fallback: "
            "it was not healthy."
        )


def _require_rows(rows: Columns, least: int) -> None:
    if len(rows) < least:
        raise BaselineRefused(f"{len(rows)} predictions are too few for a baseline; at least {least} are needed.")


def _mean_and_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and population standard deviation, exactly summed; None without values."""
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _longest_pause(timestamps: Sequence[datetime]) -> float | None:
    return max(((b - a).total_seconds() for a, b in pairwise(sorted(timestamps))), default=None)
