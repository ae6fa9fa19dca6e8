"""Everything that the page shows, read in one transaction, so that its parts agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.bypass_price import BypassPrice
from stillsafe.core.evidence.estimate_account import WindowAccount
from stillsafe.core.signals import Reading
from stillsafe.core.window import Tally, Window
from stillsafe.dashboard.timeline import Timeline, representative_ids, timeline_of
from stillsafe.errors import StoreError
from stillsafe.judging import Conditions, version_conditions
from stillsafe.model.estimate_report import estimate_unit, estimate_windows
from stillsafe.model.incident_price import incident_price
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.incidents import ExplanationRecord, IncidentRecord, incident_explanations, recent_incidents
from stillsafe.store.read.requests import last_request_at
from stillsafe.store.read.runs import (
    ActionRecord,
    RunRecord,
    all_actions,
    recent_runs,
    run_at,
    run_marks,
    runs_by_ids,
)
from stillsafe.store.read.state import StateRecord, version_states

MOST_INCIDENTS = 10
MOST_ACTIONS = 5
MOST_RUNS = 72  # whose figures are drawn, however long the time is
RECENT_RUNS = 15


@dataclass(frozen=True, slots=True)
class History:
    """Which time the charts show, up to now.

    Attributes:
        name: in the address of the page.
        label: for people.
        length: of the time.
        version: the model version; None is the served one.
    """

    name: str
    label: str
    length: timedelta
    version: str | None = None


HISTORIES = (
    History("12h", "12 hours", timedelta(hours=12)),
    History("day", "day", timedelta(days=1)),
    History("week", "week", timedelta(weeks=1)),
    History("month", "4 weeks", timedelta(weeks=4)),
)
DEFAULT_HISTORY = HISTORIES[0]


@dataclass(frozen=True, slots=True)
class Run:
    """One monitoring run with its documents decoded.

    Attributes:
        record: the stored run.
        readings: its readings; empty where the document is invalid.
        total: the counts of its window; only the prediction count where the document is invalid.
        synthetic_count: requests of its window that were marked as no evidence.
        window: None where the document is invalid.
    """

    record: RunRecord
    readings: tuple[Reading, ...]
    total: Tally
    synthetic_count: int = 0
    window: Window | None = None

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
        runs: the runs that are drawn, oldest first: those of a time, or of a long time the worst of each part.
        baseline: the active one of the served model version, or None where it is unwatched.
        incidents: the newest ones, unresolved ones first.
        actions: the newest actions of operators, newest first.
        last_request_at: when the last request arrived, or None.
        estimates: estimated and realised loss of the newest labelled windows, oldest first.
        estimate_unit: their unit.
        recent: the newest runs of the served model version, oldest first.
        start: where the time axis begins; None where the runs decide.
        timeline: every run of that time, without figures; None where `runs` has all.
        history: which time of which version is drawn.
        versions: the model versions with a state, the served one first.
        incident_run: the run that opened the open incident or made it worse, if it is stored.
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
    recent: tuple[Run, ...] = ()
    start: datetime | None = None
    timeline: Timeline | None = None
    history: History = DEFAULT_HISTORY
    versions: tuple[str, ...] = ()
    incident_run: Run | None = None

    @property
    def last_run(self) -> Run | None:
        """The newest run of the served model version, or None."""
        runs = self.recent or self.runs
        return runs[-1] if runs else None

    @property
    def last_run_with_readings(self) -> Run | None:
        """The newest run of it with a reading of any signal, or None."""
        return next((run for run in reversed(self.recent or self.runs) if run.readings), None)

    @property
    def open_incident(self) -> IncidentRecord | None:
        """The incident that is not resolved, or None."""
        return next((view.incident for view in self.incidents if not view.incident.resolved), None)


def take_snapshot(engine: Engine, settings: Settings, now: datetime, history: History = DEFAULT_HISTORY) -> Snapshot:
    """Read the snapshot from the database.

    Args:
        engine: the store, only ever read.
        settings: the service.
        now: the time of the page, aware UTC.
        history: which time of which version is drawn.

    Raises:
        StoreError: the database cannot be read, or holds a value that this version cannot read.
    """
    try:
        with database.reading(engine) as connection:
            return _snapshot(connection, settings, now, history)
    except ValueError as error:
        raise StoreError("The database holds a value that this version of Stillsafe cannot read.") from error


def _snapshot(connection: Connection, settings: Settings, now: datetime, history: History) -> Snapshot:
    incidents = sorted(recent_incidents(connection, MOST_INCIDENTS), key=lambda incident: incident.resolved)
    version = settings.model.version
    versions = _versions(connection, version)
    history_version = history.version if history.version is not None and history.version in versions else version
    conditions = version_conditions(connection, settings.policy, version, now)
    start = now - history.length
    runs, timeline = runs_of_time(connection, settings, history_version, start, now)
    return Snapshot(
        now=now,
        settings=settings,
        state=conditions.served_version.record.state,
        conditions=conditions,
        runs=runs,
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
        recent=tuple(run_of(record) for record in reversed(recent_runs(connection, RECENT_RUNS, version))),
        start=start,
        timeline=timeline,
        history=replace(history, version=history_version),
        versions=versions,
        incident_run=_incident_run(connection, incidents),
    )


def runs_of_time(
    connection: Connection, settings: Settings, version: str, start: datetime, end: datetime
) -> tuple[tuple[Run, ...], Timeline]:
    """The runs of a version in `(start, end]` that are drawn, and the timeline of all of them.

    The cost does not depend on how many runs there are: of a long time the worst run of each part is read.
    """
    marks = run_marks(connection, version, start, end)
    ids = representative_ids(marks, start, end, MOST_RUNS)
    interval = timedelta(seconds=settings.monitor.every)
    longest = timedelta(seconds=settings.policy.max_gap_seconds)
    runs = tuple(run_of(record) for record in runs_by_ids(connection, ids))
    return runs, timeline_of(marks, end, interval, longest)


def _versions(connection: Connection, served_version: str) -> tuple[str, ...]:
    """The versions that have a state, the served one first."""
    names = {state.model_version for state in version_states(connection) if state.model_version is not None}
    return tuple(sorted(names, key=lambda name: (name != served_version, name)))


def _incident_run(connection: Connection, incidents: Sequence[IncidentRecord]) -> Run | None:
    incident = next((each for each in incidents if not each.resolved), None)
    return None if incident is None else key_run(connection, incident)


def key_run(connection: Connection, incident: IncidentRecord) -> Run | None:
    """The run whose figures an incident's reason has: the one that made it worse, or that opened it."""
    for at in (incident.escalated_at, incident.detected_at):
        record = None if at is None else run_at(connection, at, incident.model_version)
        if record is not None:
            return run_of(record)
    return None


def _newest_first(explanations: list[ExplanationRecord]) -> tuple[ExplanationRecord, ...]:
    return tuple(sorted(explanations, key=lambda record: -record.sort_key[0]))


def run_of(record: RunRecord) -> Run:
    """A stored run with its documents decoded."""
    window = _window(record.window)
    total = Tally(prediction_count=record.prediction_count) if window is None else window.total
    return Run(record, _readings(record.readings), total, 0 if window is None else window.synthetic_count, window)


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
