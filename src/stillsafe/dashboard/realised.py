"""The section of realised performance: the days of the last two weeks by the labels that have come."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from stillsafe.dashboard import shapes
from stillsafe.dashboard.formatting import decimal, moment, percent
from stillsafe.dashboard.shapes import Axis, Chart, Dot, Scale
from stillsafe.label_summary import ACCURACY, LabelSummary, day_spans, label_summaries
from stillsafe.settings import Settings
from stillsafe.store import database

DAYS = 14
HEIGHT, TOP, FOOT = 150.0, 14.0, 22.0


def read_days(engine: Engine, settings: Settings, now: datetime) -> list[LabelSummary]:
    """The days with answers, newest first; empty where no label has ever come.

    Raises:
        StoreError: the database cannot be read.
    """
    spans = day_spans(now, settings.service.timezone, DAYS)
    with database.reading(engine) as connection:
        days = label_summaries(connection, spans, settings.model.version)
    return [day for day in days if day.prediction_count]


def label_context(days: Sequence[LabelSummary]) -> dict[str, Any]:
    """What the template needs."""
    return {"days": days, "realised_chart": realised_chart(days)}


def realised_chart(days: Sequence[LabelSummary]) -> Chart | None:
    """The figure of each day with its interval; None without a day that has one."""
    points = [(day, day.value) for day in reversed(days) if day.value is not None]
    if not points:
        return None
    text = percent if points[0][0].metric == ACCURACY else decimal
    numbers = [number for day, value in points for number in (value, day.low, day.high) if number is not None]
    padding = 0.08 * (max(numbers) - min(numbers)) or 0.05
    scale = Scale(max(0.0, min(numbers) - padding), max(numbers) + padding, TOP, HEIGHT - FOOT)
    axis = Axis(points[0][0].start, max(days[0].end, points[0][0].start + timedelta(days=1)))
    values = [value for _, value in points]
    description = f"{len(points)} days, from {text(min(values))} to {text(max(values))}; the last {text(values[-1])}."
    title = points[0][0].metric.replace("_", " ").capitalize()
    chart = Chart("realised-days", f"{title} by the labels that have come", description, HEIGHT)
    shapes.add_grid(chart, scale, text)
    middles = [(day, axis.x(day.start + (day.end - day.start) / 2), value) for day, value in points]
    chart.boxes.extend(
        shapes.box(x - 3, x + 3, scale.y(day.high), scale.y(day.low), "gap", f"{text(day.low)} to {text(day.high)}")
        for day, x, _ in middles
        if day.low is not None and day.high is not None
    )
    chart.paths.append(shapes.line([(x, scale.y(value)) for _, x, value in middles], "value"))
    for day, x, value in middles:
        label = f"day from {moment(day.start)}: {text(value)} of {day.label_count:,} labels"
        chart.dots.append(Dot(x, scale.y(value), "level-unjudged", label))
        shapes.add_time_tick(chart, x, HEIGHT - FOOT, f"{day.start:%d %b}")
    return chart
