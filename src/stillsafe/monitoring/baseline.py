"""Making baselines: from a labelled-healthy reference, the first predictions, or a span of time.

A baseline is frozen when made. A period whose halves deviate from one another is refused: it cannot say what
healthy looks like.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline, BaselineSource
from stillsafe.core.incident import sentence
from stillsafe.core.policy import Policy
from stillsafe.core.readings import read
from stillsafe.core.schema import Row, Schema, sanitise
from stillsafe.core.signals import Evidence
from stillsafe.core.window import Tally, Window
from stillsafe.errors import BaselineRefused, ConfigurationError
from stillsafe.monitoring.columns import Columns, Mask, columns, from_snapshots, tally
from stillsafe.monitoring.noise import joint_of, wobble
from stillsafe.monitoring.profile import answers_of, output_profile, profile
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import from_document
from stillsafe.store.read.baselines import active_baseline, baseline_by_id
from stillsafe.store.read.requests import first_healthy_rows, refusal_count, window_rows
from stillsafe.store.read.runs import deviating_run_count
from stillsafe.store.write.baselines import insert_baseline, mark_active

DEFAULT_SAMPLE = 10_000
SMALLEST_SAMPLE = 200
LOW_CONFIDENCE_QUANTILE = 0.10
MOST_CHUNKS = 10
SMALLEST_CHUNK = 50
LARGEST_FALLBACK_RATE = 0.01


def reference_columns(
    schema: Schema,
    rows: Sequence[Row],
    confidences: Sequence[float | None],
    predictions: Sequence[str | None],
    *,
    salt: str,
) -> Columns:
    """A healthy sample that no service has seen, counted as the log would count it; rows in time order where known."""
    return from_snapshots(
        sanitise(schema, rows, salt),
        schema,
        confidences=confidences,
        model_errors=[None] * len(rows),
        fallback_used=[False] * len(rows),
        predictions=predictions,
    )


def reference_baseline(found: Columns, schema: Schema, *, model_version: str, at: datetime) -> Baseline:
    """The baseline of such a sample.

    Raises:
        BaselineRefused: too few rows.
    """
    return summarise(
        found,
        schema,
        baseline_id=f"reference-{model_version}",
        model_version=model_version,
        at=at,
        source=BaselineSource.REFERENCE,
    )


def summarise(
    found: Columns,
    schema: Schema,
    *,
    baseline_id: str,
    model_version: str,
    at: datetime,
    source: BaselineSource,
    threshold: float | None = None,
    refusal_count: int = 0,
    known: Baseline | None = None,
) -> Baseline:
    """Rows to a baseline.

    Args:
        found: healthy rows, in time order where there is one.
        schema: the features.
        baseline_id: its identifier.
        model_version: the version that answered.
        at: the time of making, aware UTC.
        source: where the rows came from.
        threshold: a confidence below this is low; default their tenth percentile.
        refusal_count: requests refused in the period.
        known: an earlier baseline of the same model version: its bins are kept, and what it knows of harm with them.

    Raises:
        BaselineRefused: fewer than 50 rows, below which nothing healthy can be told from noise.
    """
    if len(found) < SMALLEST_CHUNK:
        _refuse_few(len(found), SMALLEST_CHUNK)
    confidences = found.confidences[np.isfinite(found.confidences)]
    if threshold is None and len(confidences):
        threshold = float(np.quantile(confidences, LOW_CONFIDENCE_QUANTILE))
    bare = Baseline(
        baseline_id=baseline_id,
        model_version=model_version,
        created_at=at,
        source=source,
        sample_size=len(found),
        confidence_count=0,
        avg_confidence=None,
        confidence_sd=None,
        low_confidence_threshold=threshold,
        low_confidence_rate=None,
        refusal_count=refusal_count,
        features=profile(found, schema, known.features if known is not None else None),
        longest_pause_seconds=_longest_pause(found.timestamps),
        outputs=output_profile(found, known.outputs if known is not None else None),
    )
    answers = answers_of(found)
    if answers is not None and len(answers):
        bare = replace(bare, prediction_mean=_mean(answers.tolist()), prediction_sd=_sd(answers.tolist()))
    counted = tally(found, bare, refusal_count)
    whole = replace(
        bare,
        confidence_count=counted.confidence_count,
        avg_confidence=counted.avg_confidence,
        confidence_sd=_sd(confidences.tolist()),
        low_confidence_rate=counted.low_confidence_rate,
        model_error_count=counted.model_error_count,
        prediction_counts=counted.prediction_counts,
        joint=joint_of(found, bare.features),
        harm=known.harm if known is not None else None,
    )
    measured = wobble(found, whole)
    return replace(whole, variation={**_variation(found, schema, whole), **measured.variation}, offset=measured.offset)


def contradictions(found: Columns, schema: Schema, policy: Policy, at: datetime) -> list[str]:
    """How the second half of a period deviates from its first, one sentence each; empty where it does not."""
    half = len(found) // 2
    if half < SMALLEST_CHUNK:
        return []
    early = np.arange(len(found)) < half
    first, second = _where(found, early), _where(found, ~early)
    healthy = replace(
        summarise(first, schema, baseline_id="first half", model_version="", at=at, source=BaselineSource.SPAN),
        variation={},
        longest_pause_seconds=None,
    )
    counted = tally(second, healthy, 0)
    readings = read(policy, healthy, Window(at, at, "", counted, counted))
    return [sentence(reading) for reading in readings if reading.evidence is Evidence.BAD]


def create(
    engine: Engine,
    settings: Settings,
    *,
    at: datetime,
    first: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    accept_contradiction: bool = False,
) -> Baseline:
    """Make and activate a baseline of the served model version from the prediction log.

    Args:
        engine: the store.
        settings: the service.
        at: the time of making, aware UTC.
        first: take the first so many predictions answered by the model in the state NORMAL (default 10,000).
        since: take the span of time from here on instead.
        until: take the span of time up to here instead.
        accept_contradiction: make it although its halves deviate from one another.

    Raises:
        BaselineRefused: the period is too small, was not healthy, or contradicts itself.
    """
    schema, version = settings.schema_of_features, settings.model.version
    with database.reading(engine) as connection:
        if since is None and until is None:
            wanted = first or DEFAULT_SAMPLE
            rows = first_healthy_rows(connection, version, wanted)
            source, refused = BaselineSource.FIRST, 0
            if len(rows) < wanted:
                raise BaselineRefused(
                    f"{len(rows)} healthy predictions of model version {version} are recorded, {wanted} were asked "
                    "for: wait for more, or ask for fewer with --first."
                )
        else:
            start, end = since or datetime.min.replace(tzinfo=at.tzinfo), until or at
            rows = window_rows(connection, start, end, version)
            source, refused = BaselineSource.SPAN, refusal_count(connection, start, end, version)
            deviating = deviating_run_count(connection, version, start, end)
            if deviating and not accept_contradiction:
                raise BaselineRefused(f"{deviating} monitoring runs deviated in that period: it was not healthy.")
    found = columns(rows, schema)
    _require_healthy(found)
    told = contradictions(found, schema, settings.policy, at)
    if told and not accept_contradiction:
        raise BaselineRefused("The period contradicts itself: its second half deviates from its first.", told)
    made = summarise(
        found,
        schema,
        baseline_id=f"{source.value}-{version}-{at:%Y%m%dT%H%M%SZ}",
        model_version=version,
        at=at,
        source=source,
        threshold=settings.policy.low_confidence_threshold,
        refusal_count=refused,
        known=_known(engine, version),
    )
    with database.writing(engine) as connection:
        _store(connection, made)
    return made


def _known(engine: Engine, version: str) -> Baseline | None:
    """The reference baseline of a model version, or None where it has none."""
    with database.reading(engine) as connection:
        return baseline_by_id(connection, f"reference-{version}")


def activate(engine: Engine, baseline_id: str) -> Baseline:
    """Make a stored baseline the active one of its model version.

    Raises:
        BaselineRefused: there is none of that id.
    """
    with database.writing(engine) as connection:
        chosen = baseline_by_id(connection, baseline_id)
        if chosen is None:
            raise BaselineRefused(f"There is no baseline {baseline_id!r}; `stillsafe baseline list` shows them.")
        mark_active(connection, chosen)
    return chosen


def ensure_reference(engine: Engine, settings: Settings) -> None:
    """Store the service's reference baseline where it is not stored yet, so that a new version is watched at once.

    Raises:
        ConfigurationError: the reference file is not one.
    """
    document = read_reference(settings)
    if document is None:
        return
    reference = from_document(Baseline, document["baseline"])
    with database.reading(engine) as connection:
        known = baseline_by_id(connection, reference.baseline_id) is not None
    if known:
        return
    with database.writing(engine) as connection:
        if baseline_by_id(connection, reference.baseline_id) is None:
            _store(connection, reference)


def load_reference(engine: Engine, file: Any) -> Baseline:
    """Store and activate the baseline of a reference file.

    Raises:
        ConfigurationError: the file is not one.
    """
    reference = from_document(Baseline, _reference_document(file)["baseline"])
    with database.writing(engine) as connection:
        if baseline_by_id(connection, reference.baseline_id) is None:
            insert_baseline(connection, reference)
        mark_active(connection, reference)
    return reference


def read_reference(settings: Settings) -> Mapping[str, Any] | None:
    """The service's reference file, or None where there is none."""
    path = settings.path(settings.model.reference)
    return _reference_document(path) if path.exists() else None


def _reference_document(path: Any) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        from_document(Baseline, document["baseline"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "Make it again with `stillsafe init`."
        raise ConfigurationError("It is not a reference baseline.", remedy, file=str(path)) from error
    return dict(document)


def _store(connection: Connection, made: Baseline) -> None:
    if baseline_by_id(connection, made.baseline_id) is not None:
        raise BaselineRefused(f"A baseline {made.baseline_id!r} exists, and baselines are frozen.")
    active = active_baseline(connection, made.model_version)
    insert_baseline(connection, made)
    if active is None or made.source is not BaselineSource.REFERENCE:
        mark_active(connection, made)


def _require_healthy(found: Columns) -> None:
    if len(found) < SMALLEST_SAMPLE:
        raise BaselineRefused(
            f"{len(found)} predictions are too few for a baseline; at least {SMALLEST_SAMPLE} are needed."
        )
    bypassed = int(found.fallback_used.sum())
    if bypassed > LARGEST_FALLBACK_RATE * len(found):
        raise BaselineRefused(
            f"{bypassed} of the {len(found)} predictions in the period were answered by the fallback: "
            "it was not healthy."
        )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _sd(values: Sequence[float]) -> float | None:
    """Population standard deviation, exactly summed; None without values."""
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _refuse_few(count: int, least: int) -> None:
    raise BaselineRefused(f"{count} predictions are too few for a baseline; at least {least} are needed.")


def _longest_pause(timestamps: Sequence[datetime]) -> float | None:
    ordered = sorted(timestamps)
    pauses = [(b - a).total_seconds() for a, b in pairwise(ordered)]
    return max(pauses) if pauses else None


def _variation(found: Columns, schema: Schema, whole: Baseline) -> dict[str, float]:
    """Per reading key, how much it varies from one stretch of the period to the next, beyond sampling noise.

    Each stretch is compared with the profile of all the others, as a live window is with its baseline.
    """
    chunks = min(MOST_CHUNKS, len(found) // SMALLEST_CHUNK)
    if chunks < 3:
        return {}
    bounds = np.linspace(0, len(found), chunks + 1).astype(int)
    values: dict[str, list[tuple[float, int]]] = {}
    for start, end in pairwise(bounds.tolist()):
        inside = np.zeros(len(found), dtype=np.bool_)
        inside[start:end] = True
        others = replace(
            whole, features=profile(_where(found, ~inside), schema, whole.features), outputs={}, joint=None
        )
        for key, rate in _rates(tally(found, others, 0, inside)).items():
            values.setdefault(key, []).append(rate)
    sd = {"avg_confidence": whole.confidence_sd or 0.0}
    excess = {key: _excess(series, sd.get(key)) for key, series in values.items()}
    return {key: round(value, 9) for key, value in sorted(excess.items()) if value > 0}


def _where(found: Columns, rows: Mask) -> Columns:
    chosen = np.flatnonzero(rows).tolist()
    return Columns(
        [found.timestamps[i] for i in chosen] if found.timestamps else (),
        found.confidences[rows],
        found.model_errors[rows],
        found.fallback_used[rows],
        found.answers[rows],
        {name: column[rows] for name, column in found.numbers.items()},
        {name: column[rows] for name, column in found.categories.items()},
        found.fresh[rows],
    )


def _rates(counted: Tally) -> dict[str, tuple[float, int]]:
    """Per reading key the value in one stretch, and the number of values behind it."""
    rates: dict[str, tuple[float, int]] = {}
    if counted.confidence_count and counted.avg_confidence is not None:
        n = counted.confidence_count
        rates["avg_confidence"] = (counted.avg_confidence, n)
        rates["low_confidence_rate"] = (counted.low_confidence_count / n, n)
    for name, feature in counted.features.items():
        seen = feature.value_count + feature.missing_count
        if seen:
            rates[f"missing_rate:{name}"] = (feature.missing_count / seen, seen)
        if feature.value_count:
            n = feature.value_count
            rates[f"unseen_category_rate:{name}"] = (feature.unseen_count / n, n)
            rates[f"out_of_range_rate:{name}"] = ((feature.below_count + feature.above_count) / n, n)
    return rates


def _excess(series: Sequence[tuple[float, int]], sd: float | None) -> float:
    """Standard deviation between stretches beyond sampling: the moment estimator of random-effects models.

    Source: R. DerSimonian and N. Laird, "Meta-analysis in clinical trials", 1986, in its unweighted form.
    """
    if len(series) < 3:
        return 0.0
    values = [value for value, _ in series]
    mean = math.fsum(values) / len(values)
    between = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    one = mean * (1 - mean) if sd is None else sd**2
    within = math.fsum(one / n for _, n in series) / len(series)
    return math.sqrt(max(0.0, between - within))
