"""The report of realised performance: per day or per window of a run, newest first."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from stillsafe.core.fallback import Answer
from stillsafe.model.label_performance import RealisedPerformance, realised_performance
from stillsafe.settings import Settings
from stillsafe.store.read.labels import outcome_groups
from stillsafe.store.read.runs import recent_runs

PeriodKind = Literal["day", "window"]


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open time, aware UTC, and the performance of its answers by their labels."""

    start: datetime
    end: datetime
    performance: RealisedPerformance

    def document(self) -> dict[str, Any]:
        """The period as plain values."""
        return {"start": self.start, "end": self.end, **asdict(self.performance)}


def performance_report(
    connection: Connection,
    settings: Settings,
    classes: Sequence[Answer],
    now: datetime,
    *,
    kind: PeriodKind = "day",
    limit: int = 30,
) -> list[Period]:
    """The realised performance of the served model version in its newest periods.

    Args:
        connection: reads one snapshot.
        settings: of the service; its time zone has the days.
        classes: the model's classes; empty for a regressor.
        now: aware UTC.
        kind: days, or the windows of the monitor's runs.
        limit: most periods.
    """
    version = settings.model.version
    if kind == "day":
        spans = day_spans(now, settings.service.timezone, limit)
    else:
        spans = [(run.window_start, run.window_end) for run in recent_runs(connection, limit, version)]
    definitions = settings.harm.definitions
    return [
        Period(start, end, realised_performance(outcome_groups(connection, start, end, version), classes, definitions))
        for start, end in spans
    ]


def day_spans(now: datetime, timezone: str, limit: int) -> list[tuple[datetime, datetime]]:
    """The last days of a time zone as spans in UTC, newest first; the first one has not ended."""
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    starts = [
        datetime.combine(today - timedelta(days=number), time(), zone).astimezone(UTC) for number in range(-1, limit)
    ]
    return [(start, end) for end, start in pairwise(starts)]
