"""Everything that the page shows, read at one moment from one consistent view of the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from stillsafe.core.baseline import Baseline
from stillsafe.core.signals import Reading
from stillsafe.core.window import Tally, Window
from stillsafe.errors import StoreError
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.incidents import ExplanationRecord, IncidentRecord, incident_explanations, recent_incidents
from stillsafe.store.read.requests import last_request_at
from stillsafe.store.read.runs import ActionRecord, RunRecord, all_actions, recent_runs
from stillsafe.store.read.state import StateRecord, current_state

MOST_INCIDENTS = 10
MOST_ACTIONS = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One monitoring run with its documents opened; empty where a document is not one of ours."""

    record: RunRecord
    readings: tuple[Reading, ...]
    total: Tally

    @property
    def at(self) -> datetime:
        """The end of its window."""
        return self.record.window_end

    def reading(self, key: str) -> Reading | None:
        """One of its readings, or None."""
        return next((reading for reading in self.readings if reading.key == key), None)


@dataclass(frozen=True, slots=True)
class Told:
    """An incident and its explanations: the newest step first, and of each step the offline one."""

    incident: IncidentRecord
    explanations: tuple[ExplanationRecord, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known at `now`.

    Attributes:
        now: the time of the page, aware UTC.
        settings: the service.
        state: the row that everybody obeys, or None before anything was decided.
        runs: the newest runs, oldest first.
        baseline: the active one of the served model version, or None: it is unwatched.
        incidents: the newest, unresolved ones first.
        actions: the operators' newest actions, newest first.
        last_request_at: when the last request came, or None.
    """

    now: datetime
    settings: Settings
    state: StateRecord | None
    runs: tuple[Run, ...]
    baseline: Baseline | None
    incidents: tuple[Told, ...]
    actions: tuple[ActionRecord, ...]
    last_request_at: datetime | None

    @property
    def last_run(self) -> Run | None:
        """The newest run, or None."""
        return self.runs[-1] if self.runs else None

    @property
    def judged(self) -> Run | None:
        """The newest run that read any signal, or None."""
        return next((run for run in reversed(self.runs) if run.readings), None)


def take(engine: Engine, settings: Settings, now: datetime, run_count: int) -> Snapshot:
    """Read it all.

    Raises:
        StoreError: the database cannot be read, or holds what this version cannot read.
    """
    try:
        with database.reading(engine) as connection:
            incidents = sorted(recent_incidents(connection, MOST_INCIDENTS), key=lambda found: found.resolved)
            return Snapshot(
                now=now,
                settings=settings,
                state=current_state(connection),
                runs=tuple(_opened(record) for record in reversed(recent_runs(connection, run_count))),
                baseline=active_baseline(connection, settings.model.version),
                incidents=tuple(
                    Told(found, _newest_first(incident_explanations(connection, found.incident_id)))
                    for found in incidents
                ),
                actions=tuple(reversed(all_actions(connection)[-MOST_ACTIONS:])),
                last_request_at=last_request_at(connection, now),
            )
    except ValueError as error:
        raise StoreError("The database holds a value that this version of Stillsafe cannot read.") from error


def _newest_first(told: list[ExplanationRecord]) -> tuple[ExplanationRecord, ...]:
    return tuple(sorted(told, key=lambda record: -record.place[0]))


def _opened(record: RunRecord) -> Run:
    return Run(record, _readings(record.readings), _total(record.window, record.prediction_count))


def _readings(document: object) -> tuple[Reading, ...]:
    try:
        return _readings_adapter().validate_python(document or ())
    except ValidationError:
        return ()


def _total(document: object, prediction_count: int) -> Tally:
    # A run written by hand has no window document; its count is a column.
    if isinstance(document, Mapping):
        try:
            return _window_adapter().validate_python(document).total
        except ValidationError:
            pass
    return Tally(prediction_count=prediction_count)


@cache
def _readings_adapter() -> TypeAdapter[tuple[Reading, ...]]:
    return TypeAdapter(tuple[Reading, ...])


@cache
def _window_adapter() -> TypeAdapter[Window]:
    return TypeAdapter(Window)
