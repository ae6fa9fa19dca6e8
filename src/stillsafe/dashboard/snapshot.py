"""Everything that the page shows, read in one transaction, so that its parts agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.bypass_price import BypassPrice
from stillsafe.core.evidence.estimate_account import WindowAccount
from stillsafe.core.signals import Reading
from stillsafe.core.window import Tally, Window
from stillsafe.errors import StoreError
from stillsafe.judging import Conditions, version_conditions
from stillsafe.model.estimate_report import estimate_unit, estimate_windows
from stillsafe.model.incident_price import incident_price
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.incidents import ExplanationRecord, IncidentRecord, incident_explanations, recent_incidents
from stillsafe.store.read.requests import last_request_at
from stillsafe.store.read.runs import ActionRecord, RunRecord, all_actions, recent_runs
from stillsafe.store.read.state import StateRecord

MOST_INCIDENTS = 10
MOST_ACTIONS = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One monitoring run with its documents decoded.

    Attributes:
        record: the stored run.
        readings: its readings; empty where the document is invalid.
        total: the counts of its window; only the prediction count where the document is invalid.
        synthetic_count: requests of its window that were marked as no evidence.
    """

    record: RunRecord
    readings: tuple[Reading, ...]
    total: Tally
    synthetic_count: int = 0

    @property
    def at(self) -> datetime:
        """The end of its window."""
        return self.record.window_end

    def reading(self, key: str) -> Reading | None:
        """One of its readings, or None."""
        return next((reading for reading in self.readings if reading.key == key), None)


@dataclass(frozen=True, slots=True)
class IncidentView:
    """An incident, what its bypass won or lost, and its explanations: the newest step first, the offline one before."""

    incident: IncidentRecord
    price: BypassPrice | None
    explanations: tuple[ExplanationRecord, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the page shows.

    Attributes:
        now: the time of the page, aware UTC.
        settings: the service.
        state: the state of the served model version, or None before the first run or action.
        conditions: which model versions have traffic, and which of them are judged.
        runs: the newest runs of the served model version, oldest first.
        baseline: the active one of the served model version, or None where it is unwatched.
        incidents: the newest ones, unresolved ones first.
        actions: the newest actions of operators, newest first.
        last_request_at: when the last request arrived, or None.
        estimates: estimated and realised loss of the newest labelled windows, oldest first.
        estimate_unit: their unit.
    """

    now: datetime
    settings: Settings
    state: StateRecord | None
    conditions: Conditions
    runs: tuple[Run, ...]
    baseline: Baseline | None
    incidents: tuple[IncidentView, ...]
    actions: tuple[ActionRecord, ...]
    last_request_at: datetime | None
    estimates: tuple[WindowAccount, ...] = ()
    estimate_unit: str = "loss"

    @property
    def last_run(self) -> Run | None:
        """The newest run, or None."""
        return self.runs[-1] if self.runs else None

    @property
    def last_run_with_readings(self) -> Run | None:
        """The newest run with a reading of any signal, or None."""
        return next((run for run in reversed(self.runs) if run.readings), None)


def take_snapshot(engine: Engine, settings: Settings, now: datetime, run_count: int) -> Snapshot:
    """Read the snapshot from the database.

    Args:
        engine: the store, only ever read.
        settings: the service.
        now: the time of the page, aware UTC.
        run_count: at most this many runs.

    Raises:
        StoreError: the database cannot be read, or holds a value that this version cannot read.
    """
    try:
        with database.reading(engine) as connection:
            incidents = sorted(recent_incidents(connection, MOST_INCIDENTS), key=lambda incident: incident.resolved)
            version = settings.model.version
            conditions = version_conditions(connection, settings.policy, version, now)
            return Snapshot(
                now=now,
                settings=settings,
                state=conditions.served_version.record.state,
                conditions=conditions,
                runs=tuple(_run(record) for record in reversed(recent_runs(connection, run_count, version))),
                baseline=active_baseline(connection, version),
                incidents=tuple(
                    IncidentView(
                        incident,
                        incident_price(connection, incident),
                        _newest_first(incident_explanations(connection, incident.incident_id)),
                    )
                    for incident in incidents
                ),
                actions=tuple(reversed(all_actions(connection)[-MOST_ACTIONS:])),
                last_request_at=last_request_at(connection, now),
                estimates=tuple(estimate_windows(connection, version)),
                estimate_unit=estimate_unit(connection, version),
            )
    except ValueError as error:
        raise StoreError("The database holds a value that this version of Stillsafe cannot read.") from error


def _newest_first(explanations: list[ExplanationRecord]) -> tuple[ExplanationRecord, ...]:
    return tuple(sorted(explanations, key=lambda record: -record.sort_key[0]))


def _run(record: RunRecord) -> Run:
    window = _window(record.window)
    total = Tally(prediction_count=record.prediction_count) if window is None else window.total
    return Run(record, _readings(record.readings), total, 0 if window is None else window.synthetic_count)


def _readings(document: object) -> tuple[Reading, ...]:
    try:
        return _readings_adapter().validate_python(document or ())
    except ValidationError:
        return ()


def _window(document: object) -> Window | None:
    # A run that another program wrote may have no window document; its prediction count is a column of the row.
    if isinstance(document, Mapping):
        try:
            return _window_adapter().validate_python(document)
        except ValidationError:
            pass
    return None


@cache
def _readings_adapter() -> TypeAdapter[tuple[Reading, ...]]:
    return TypeAdapter(tuple[Reading, ...])


@cache
def _window_adapter() -> TypeAdapter[Window]:
    return TypeAdapter(Window)
