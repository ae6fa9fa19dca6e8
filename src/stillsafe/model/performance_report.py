"""The report of realised performance: per day or per window of a run, newest first."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from stillsafe.core.fallback import Answer
from stillsafe.core.score import as_text
from stillsafe.label_summary import day_spans
from stillsafe.model.label_performance import RealisedPerformance, positive_class, realised_performance
from stillsafe.settings import Settings
from stillsafe.store.read.labels import outcome_groups
from stillsafe.store.read.requests import RequestTable, first_request_at, logged_versions
from stillsafe.store.read.runs import recent_runs

PeriodKind = Literal["day", "window", "version"]


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open time, aware UTC, and the performance of a version's answers by their labels."""

    start: datetime
    end: datetime
    performance: RealisedPerformance
    model_version: str = ""

    def document(self) -> dict[str, Any]:
        """The period as plain values."""
        own = {"start": self.start, "end": self.end, "model_version": self.model_version}
        return own | asdict(self.performance)


def performance_report(
    connection: Connection,
    settings: Settings,
    classes: Sequence[Answer],
    now: datetime,
    *,
    kind: PeriodKind = "day",
    limit: int = 30,
    has_probabilities: bool = False,
) -> list[Period]:
    """The realised performance of the served model version in its newest periods, or of every version.

    Args:
        connection: reads one snapshot.
        settings: of the service; its time zone has the days.
        classes: the model's classes; empty for a regressor.
        now: aware UTC.
        kind: days, the windows of the monitor's runs, or the whole time of each version.
        limit: most periods.
        has_probabilities: whether the model's confidence is the probability of its answer.
    """
    groups = [
        (start, end, version, outcome_groups(connection, start, end, version, with_confidence=has_probabilities))
        for start, end, version in _spans(connection, settings, now, kind, limit)
    ]
    definitions, positive = settings.harm.definitions, settings.harm.positive
    # All periods measure the same class, whichever is rarer in one of them.
    name = None if positive is None else as_text(positive)
    if name is None and len(classes) == 2:
        name = positive_class([group for *_, each in groups for group in each], classes)
    return [
        Period(start, end, realised_performance(each, classes, definitions, name), version)
        for start, end, version, each in groups
    ]


def _spans(
    connection: Connection, settings: Settings, now: datetime, kind: PeriodKind, limit: int
) -> list[tuple[datetime, datetime, str]]:
    version = settings.model.version
    if kind == "day":
        return [(*span, version) for span in day_spans(now, settings.service.timezone, limit)]
    if kind == "window":
        return [(run.window_start, run.window_end, version) for run in recent_runs(connection, limit, version)]
    versions = logged_versions(connection, RequestTable.PREDICTIONS)
    starts = [(first_request_at(connection, each), each) for each in versions]
    newest_first = sorted(((at, each) for at, each in starts if at is not None), reverse=True)
    return [(at, max(at, now) + timedelta(seconds=1), each) for at, each in newest_first[:limit]]
