"""Widens a baseline by a further healthy period of the log: their aggregates are added, and a new baseline results."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline, Joint
from stillsafe.core.evidence.new_values import NewValues
from stillsafe.core.evidence.slot_table import ClockFeature, SlotTable
from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.signals import Evidence, Signal, reading_key
from stillsafe.errors import BaselineRefused
from stillsafe.monitoring.baseline import SMALLEST_SAMPLE, BaselineOrigin, require_healthy, store_baseline, summarize
from stillsafe.monitoring.baseline_labels import LabelledPeriod, PeriodStudy, period_labels
from stillsafe.monitoring.columns import Columns, read_columns
from stillsafe.monitoring.disclosure import Disclosure
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.slot_noise import with_slots
from stillsafe.monitoring.slots import count_slots, period_of
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.requests import healthy_rows
from stillsafe.store.read.runs import deviating_figures

DEFAULT_DAYS = 7
MOST_REASONS = 5
"""Readings that a refusal names, the most frequent first."""
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class HealthySpan:
    """The times of the rows that widen a baseline, half open; None for the default.

    Attributes:
        accept_contradiction: whether rows count although runs deviated on them: by the owner they are healthy.
    """

    since: datetime | None = None
    until: datetime | None = None
    accept_contradiction: bool = False


def extend(
    engine: Engine, settings: Settings, span: HealthySpan, *, at: datetime, study: PeriodStudy | None = None
) -> Baseline:
    """Add a healthy period of the log to the active baseline, and activate the result.

    Rows count that the model answered in the state NORMAL, in runs without a deviation; where the span accepts a
    contradiction, all that the model answered. By default the last seven days count, without those that widened the
    baseline before.

    Args:
        engine: the store.
        settings: the service.
        span: the period.
        at: the time now, aware UTC.
        study: learns harm again from the labels of the period; None: the study of the active baseline stays.

    Raises:
        BaselineRefused: there is no active baseline, too few healthy rows, or labels that contradict it.
    """
    schema, version = settings.schema_of_features, settings.model.version
    until = span.until or at
    with database.reading(engine) as connection:
        active = active_baseline(connection, version)
        if active is None:
            raise BaselineRefused("There is no active baseline to widen; make one with `stillsafe baseline create`.")
        start, is_contradiction = span.since or _default_start(active, until), span.accept_contradiction
        log_rows = healthy_rows(connection, version, start, until, with_deviations=is_contradiction)
        if len(log_rows) < SMALLEST_SAMPLE and not is_contradiction:
            _refuse_few(connection, version, start, until, len(log_rows))
        labels = [] if study is None else period_labels(connection, log_rows)
    timezone = settings.service.timezone if active.slots is None else active.slots.timezone
    rows = LogFormat.of(settings).comparable_columns(read_columns(log_rows, schema), active)
    require_healthy(rows)
    origin = BaselineOrigin(f"extended-{version}-{at:%Y%m%dT%H%M%SZ}", version, at, BaselineSource.SPAN)
    threshold = active.low_confidence_threshold
    period = summarize(
        rows,
        schema,
        origin,
        low_confidence_threshold=threshold,
        reference=active,
        disclosure=Disclosure.of(settings),
        timezone=timezone,
    )
    baseline = sum_of(active, _with_slots_like(active, period, rows, settings))
    if study is not None:
        baseline = replace(baseline, harm=study(LabelledPeriod(log_rows, labels, rows, period)))
    with database.writing(engine) as connection:
        store_baseline(connection, baseline)
    return baseline


def _refuse_few(connection: Connection, version: str, start: datetime, until: datetime, count: int) -> None:
    """Refuse a span with too few healthy rows, and say which runs their rows were left out for.

    Raises:
        BaselineRefused: always, unless nothing was left out.
    """
    others = len(healthy_rows(connection, version, start, until, with_deviations=True)) - count
    if not others:
        return
    runs = deviating_figures(connection, version, start, until)
    keys = Counter(
        reading_key(Signal(reading["signal"]), reading["feature"])
        for run in runs
        for reading in run.readings or ()
        if reading["evidence"] == Evidence.BAD.value
    )
    reasons = [
        f"{key} deviated in {number} of the {len(runs)} runs that deviated, which end from "
        f"{time_text(runs[0].window_end)} to {time_text(runs[-1].window_end)}."
        for key, number in keys.most_common(MOST_REASONS)
    ]
    raise BaselineRefused(
        f"{count} predictions are too few for a baseline; at least {SMALLEST_SAMPLE} are needed. {others} more that "
        "the model answered were left out, because their run deviated or the state was not NORMAL. If they were "
        "healthy, as those of a new month or a new category, add --accept-contradiction.",
        reasons,
    )


def _with_slots_like(active: Baseline, period: Baseline, rows: Columns, settings: Settings) -> Baseline:
    """The period with its slots; where the active baseline has slots, counted by the same kinds of day as these."""
    timezone = settings.service.timezone if active.slots is None else active.slots.timezone
    period = with_slots(period, rows, timezone, settings.policy)
    if active.slots is None or not active.slots.names or period.slots is None:
        return period
    has_kinds = not active.slots.names[0].startswith("day-")
    by_slot = period_of(rows, period, timezone, has_kinds=has_kinds or None)
    noise_source = period.slots if period.slots.names else active.slots
    counts = count_slots(by_slot, np.ones(len(rows), np.bool_))
    return replace(
        period, slots=replace(counts, variation=noise_source.variation, shift_error=noise_source.shift_error)
    )


def _default_start(active: Baseline, until: datetime) -> datetime:
    start = until - timedelta(days=DEFAULT_DAYS)
    return start if active.source is BaselineSource.REFERENCE else max(start, active.created_at)


def sum_of(first: Baseline, second: Baseline) -> Baseline:
    """Both periods as one: the second's identity, the first's impact study, and the sum of all counts.

    Bins that differ, because a period has none for a feature, stay those of the second.
    """
    features = {
        name: _feature(first.features[name], feature) if name in first.features else feature
        for name, feature in second.features.items()
    }
    outputs = {
        name: _feature(first.outputs[name], output) if name in first.outputs else output
        for name, output in second.outputs.items()
    }
    counts = first.sample_size, second.sample_size
    return replace(
        second,
        sample_size=sum(counts),
        confidence_count=first.confidence_count + second.confidence_count,
        **_confidence(first, second),
        refusal_count=first.refusal_count + second.refusal_count,
        model_error_count=first.model_error_count + second.model_error_count,
        features=features,
        outputs=outputs,
        variation=_mean_square(first.variation, second.variation, counts),
        longest_pause_seconds=max(
            (each.longest_pause_seconds for each in (first, second) if each.longest_pause_seconds is not None),
            default=None,
        ),
        prediction_counts=dict(sorted((Counter(first.prediction_counts) + Counter(second.prediction_counts)).items())),
        joint=_joint(first.joint, second.joint),
        harm=first.harm,
        answer_impact=first.answer_impact,
        slots=_slots(first.slots, second.slots),
        clock=_clock(first.clock, second.clock),
    )


def _confidence(first: Baseline, second: Baseline) -> dict[str, Any]:
    parts = [
        (each.confidence_count, each.avg_confidence, each.confidence_sd or 0.0, each.low_confidence_rate or 0.0)
        for each in (first, second)
        if each.confidence_count and each.avg_confidence is not None
    ]
    if not parts:
        return {}
    count = sum(part[0] for part in parts)
    mean = math.fsum(n * average for n, average, _, _ in parts) / count
    square = math.fsum(n * (sd**2 + (average - mean) ** 2) for n, average, sd, _ in parts) / count
    low = math.fsum(n * rate for n, _, _, rate in parts) / count
    return {"avg_confidence": mean, "confidence_sd": math.sqrt(square), "low_confidence_rate": low}


def _feature(first: FeatureBaseline, second: FeatureBaseline) -> FeatureBaseline:
    minima = [each.minimum for each in (first, second) if each.minimum is not None]
    maxima = [each.maximum for each in (first, second) if each.maximum is not None]
    same_bins = first.bins == second.bins and len(first.bin_counts) == len(second.bin_counts)
    frequent = Counter(dict(first.frequent)) + Counter(dict(second.frequent))
    categories = Counter(first.category_counts) + Counter(second.category_counts)
    frequent_numbers = sorted(frequent.items(), key=lambda item: (-item[1], item[0]))
    most = [each.unlisted_most for each in (first, second) if each.unlisted_most is not None]
    return replace(
        second,
        value_count=first.value_count + second.value_count,
        missing_count=first.missing_count + second.missing_count,
        minimum=min(minima, default=None),
        maximum=max(maxima, default=None),
        category_counts=dict(sorted(categories.items(), key=lambda item: (-item[1], item[0]))),
        bin_counts=_sums(first.bin_counts, second.bin_counts) if same_bins else second.bin_counts,
        distinct_count=max(first.distinct_count, second.distinct_count),
        frequent=tuple(frequent_numbers[: max(len(first.frequent), len(second.frequent))]),
        rare_categories=tuple(sorted({*first.rare_categories, *second.rare_categories})),
        single_count=second.single_count,
        unlisted_count=first.unlisted_count + second.unlisted_count,
        unlisted_most=sum(most) if most else None,
        outside_count=first.outside_count + second.outside_count,
        new_values=_new_values(first.new_values, second.new_values),
    )


def _new_values(first: NewValues | None, second: NewValues | None) -> NewValues | None:
    """What is new by the later period, or by the earlier one where the later is too short to show it."""
    if first is None or second is None:
        return second or first
    return NewValues(max(first.ends_at, second.ends_at), second.shares or first.shares)


def _sums(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(one + other for one, other in zip(first, second, strict=True))


def _joint(first: Joint | None, second: Joint | None) -> Joint | None:
    """The sum of both tables where they count the same features; else the second."""
    if first is None or second is None or first.features != second.features:
        return second or first
    if [len(row) for row in first.counts] != [len(row) for row in second.counts]:
        return second
    row_sd = tuple(np.sqrt((np.square(first.row_sd) + np.square(second.row_sd)) / 2).round(9).tolist())
    return Joint(first.features, tuple(map(_sums, first.counts, second.counts)), row_sd)


def _mean_square(first: Mapping[str, float], second: Mapping[str, float], weights: tuple[int, int]) -> dict[str, float]:
    """Per key the root mean square of both."""
    total = max(sum(weights), 1)
    keys = sorted({*first, *second})
    squares = {key: (weights[0] * first.get(key, 0.0) ** 2 + weights[1] * second.get(key, 0.0) ** 2) for key in keys}
    return {key: round(math.sqrt(square / total), 9) for key, square in squares.items()}


def _slots(first: SlotTable | None, second: SlotTable | None) -> SlotTable | None:
    """The sum of both slot tables; the wider one where they count by different bins or kinds of day."""
    if first is None or second is None or not first.names or not second.names:
        return second if second is not None and second.names else first or second
    kinds = [{name.startswith("day-") for name in table.names} for table in (first, second)]
    if (first.features, first.outputs) != (second.features, second.outputs) or kinds[0] != kinds[1]:
        return max(second, first, key=lambda table: len(table.names))
    if len(first.counts[0]) != len(second.counts[0]) or bool(first.predictions[0]) != bool(second.predictions[0]):
        return max(second, first, key=lambda table: len(table.names))
    names = tuple(sorted({*first.names, *second.names}))
    tables = [{name: index for index, name in enumerate(table.names)} for table in (first, second)]
    at = [[index.get(name) for name in names] for index in tables]
    days = first.day_count, second.day_count
    pairs = list(zip(*at, strict=True))
    return SlotTable(
        timezone=second.timezone,
        names=names,
        rows=tuple(_integer_sum(first.rows, second.rows, pair) for pair in pairs),
        pooled_rows=tuple(_integer_sum(first.pooled_rows, second.pooled_rows, pair) for pair in pairs),
        features=second.features,
        outputs=second.outputs,
        counts=tuple(_row_sum(first.counts, second.counts, pair) for pair in pairs),
        confidences=tuple(_row_sum(first.confidences, second.confidences, pair) for pair in pairs),
        predictions=tuple(_row_sum(first.predictions, second.predictions, pair) for pair in pairs),
        frequent=_frequent(first, second, at),
        variation=_mean_square(first.variation, second.variation, days),
        offset=second.offset,
        row_sd=second.row_sd,
        shift_error=max(first.shift_error, second.shift_error),
        day_count=sum(days),
    )


def _integer_sum(first: tuple[int, ...], second: tuple[int, ...], at: tuple[int | None, int | None]) -> int:
    return (0 if at[0] is None else first[at[0]]) + (0 if at[1] is None else second[at[1]])


def _row_sum(
    first: tuple[tuple[N, ...], ...], second: tuple[tuple[N, ...], ...], at: tuple[int | None, int | None]
) -> tuple[N, ...]:
    if at[0] is None or at[1] is None:
        return first[at[0]] if at[0] is not None else second[at[1] or 0]
    return tuple(one + other for one, other in zip(first[at[0]], second[at[1]], strict=True))


def _frequent(
    first: SlotTable, second: SlotTable, at: list[list[int | None]]
) -> dict[str, tuple[tuple[tuple[float, int], ...], ...]]:
    numbers = {}
    for name in second.frequent:
        slots = []
        for one, other in zip(*at, strict=True):
            counts: Counter[float] = Counter()
            if one is not None and name in first.frequent:
                counts.update(dict(first.frequent[name][one]))
            if other is not None:
                counts.update(dict(second.frequent[name][other]))
            slots.append(tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))
        numbers[name] = tuple(slots)
    return numbers


def _clock(first: Mapping[str, ClockFeature], second: Mapping[str, ClockFeature]) -> dict[str, ClockFeature]:
    """The clock features of either period, with the sum of their tables where both count the same cells."""
    clocks = {**first, **second}
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        if not one.table or one.unit is not other.unit:
            clocks[name] = other if other.table else one
            continue
        clocks[name] = _clock_sum(one, other)
    return dict(sorted(clocks.items()))


def _clock_sum(first: ClockFeature, second: ClockFeature) -> ClockFeature:
    if not first.values or not second.values:
        width = max(map(len, [*first.table.values(), *second.table.values()]))
        tables = [
            {cell: (*row, *[0] * (width - len(row))) for cell, row in each.table.items()} for each in (first, second)
        ]
        values: tuple[str, ...] = ()
    else:
        values = tuple(sorted({*first.values, *second.values}))
        tables = [_by_values(each, values) for each in (first, second)]
    none = tuple([0] * len(next(iter({**tables[0], **tables[1]}.values()))))
    cells = sorted({*tables[0], *tables[1]})
    return ClockFeature(
        first.unit, {cell: _sums(tables[0].get(cell, none), tables[1].get(cell, none)) for cell in cells}, values
    )


def _by_values(clock: ClockFeature, values: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """The clock's table with a column for each of these values."""
    columns = {value: index for index, value in enumerate(clock.values)}
    return {
        cell: tuple(row[columns[value]] if value in columns else 0 for value in values)
        for cell, row in clock.table.items()
    }
