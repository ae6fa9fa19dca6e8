"""Every SELECT. Functions of a connection that return frozen records; nothing here writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    type_coerce,
)

from stillsafe.core.baseline import Baseline
from stillsafe.core.signals import Evidence
from stillsafe.core.state import Memory, State
from stillsafe.errors import Failure, StoreError
from stillsafe.store import database
from stillsafe.store.documents import from_document
from stillsafe.store.tables import (
    baseline_metrics,
    current_window_metrics,
    explanation_failures,
    incidents,
    llm_explanations,
    metadata,
    operator_actions,
    prediction_logs,
    prunes,
    refusals,
    system_state,
)

T = TypeVar("T")
BATCH_ROWS = 2_000  # what fits into a processor's cache


_CAREFUL = (State.NORMAL, State.WARNING, State.DEGRADED)
FUTURE_TOLERANCE = timedelta(hours=1)
NO_USE = (Failure.UNUSABLE, Failure.TOO_LONG)
MOST_USELESS_ANSWERS = 10
"""A step that a language model has answered to so often without use is given up: each answer costs something."""
INCIDENT_STEPS = ("opened", "escalated", "resolved")


@dataclass(frozen=True, slots=True)
class StateRecord:
    """The one row that everybody obeys.

    Attributes:
        state: what to obey.
        last_updated: when the state last changed.
        reason: why it is what it is.
        severity: of the last run, or None.
        checked_at: end of the last run's window, or None before the first run.
        valid_until: from then on the monitor counts as dead, or None before the first run.
        held: whether an operator holds it.
        damaged_features: features that the fallback must not lean on.
        memory: what the next run starts from.
    """

    state: State
    last_updated: datetime
    reason: str
    severity: str | None
    checked_at: datetime | None
    valid_until: datetime | None
    held: bool
    damaged_features: tuple[str, ...]
    memory: Memory

    def stale(self, now: datetime) -> bool:
        """Whether the monitor has not run within two intervals, or never.

        A last run far in the future says nothing about now: the clock was wrong then, or is.
        """
        if self.valid_until is None or self.checked_at is None:
            return True
        return now > self.valid_until or self.checked_at > now + FUTURE_TOLERANCE


@dataclass(frozen=True, slots=True)
class LogRows:
    """Rows of the prediction log, column by column, in the order of their ids."""

    ids: Sequence[int]
    timestamps: Sequence[datetime]
    input_summaries: Sequence[str]
    predictions: Sequence[str | None]
    confidences: Sequence[float | None]
    fallback_used: Sequence[bool]
    model_errors: Sequence[str | None]

    def __len__(self) -> int:
        """Rows."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Some rows of a window, one sequence per column, as `LogRows`.

    Attributes:
        ids: empty where nobody asked for them.
        fresh: whether no conclusive run judged it.
    """

    ids: Sequence[int]
    fresh: Sequence[bool]
    input_summaries: Sequence[str]
    predictions: Sequence[str | None]
    confidences: Sequence[float | None]
    fallback_used: Sequence[bool]
    model_errors: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One stored monitoring run; documents are plain JSON."""

    id: int
    window_start: datetime
    window_end: datetime
    prediction_count: int
    avg_confidence: float | None
    low_confidence_rate: float | None
    feature_anomalies: dict[str, Any]
    unseen_categories: bool
    model_version: str | None
    baseline_id: str | None
    policy: Any
    window: Any
    readings: Any
    memory: Any
    evidence: str | None
    severity: str | None
    state_before: str | None
    state_after: str | None
    shadow: bool
    reason: str | None
    incident_id: str | None
    last_prediction_row: int | None
    last_refusal_row: int | None
    fresh_since: datetime | None


@dataclass(frozen=True, slots=True)
class IncidentStep:
    """One step of an incident, and the time of the run that took it."""

    incident_id: str
    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class IncidentRecord:
    """One stored incident."""

    incident_id: str
    detected_at: datetime
    severity: str
    trigger_signals: list[str]
    decision_reason: str
    fallback_activated: bool
    resolved: bool
    escalated_at: datetime | None
    resolved_at: datetime | None
    resolution: str | None
    model_version: str | None
    baseline_id: str | None

    @property
    def steps(self) -> tuple[IncidentStep, ...]:
        """What happened to it so far, oldest first."""
        times = zip(INCIDENT_STEPS, (self.detected_at, self.escalated_at, self.resolved_at), strict=True)
        return tuple(IncidentStep(self.incident_id, status, at) for status, at in times if at is not None)


@dataclass(frozen=True, slots=True)
class BaselineRecord:
    """One stored baseline and whether it is its version's active one."""

    baseline: Baseline
    active: bool


@dataclass(frozen=True, slots=True)
class ExplanationRecord:
    """One stored explanation: text for people, hostile until escaped. Numbers in doubt are marked in it already."""

    incident_id: str
    generated_at: datetime
    summary: str
    recommendations: str
    llm_model: str
    incident_status: str | None
    source: str | None
    likely_causes: str | None
    prompt_version: str | None
    seconds: float | None
    unverified: list[dict[str, Any]] | None

    @property
    def place(self) -> tuple[int, bool]:
        """Where it belongs in its incident's story: step by step, and what needs no model first."""
        step = INCIDENT_STEPS.index(self.incident_status) if self.incident_status in INCIDENT_STEPS else -1
        return step, self.source == "llm"


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One operator's action."""

    id: int
    at: datetime
    action: str
    by: str
    reason: str
    after_run: int | None


# Made once: they are asked with every answer.
_STATE = select(system_state).where(system_state.c.id == 1)
_HISTORY = [select(table.c.id).limit(1) for table in (current_window_metrics, operator_actions)]
_WATCHED = (
    select(literal(1))
    .where(baseline_metrics.c.model_version == bindparam("version"), baseline_metrics.c.active)
    .limit(1)
)


def state(connection: Connection) -> StateRecord | None:
    """The current state, or None before anything was ever decided.

    Where the row contradicts its own memory, the more careful of the two is obeyed: unknown is not NORMAL.
    Who reads it in a transaction that writes does so in order to change it, and keeps others from doing so until then.

    Raises:
        StoreError: the row is damaged, or gone although something was decided.
    """
    if connection.get_execution_options().get("immediate", False):
        database.in_turn(connection, "state")
    row = connection.execute(_STATE).first()
    if row is None:
        _require_no_history(connection)
        return None
    told = stored(State, row.current_state)
    memory = stored(Memory, row.memory) if row.memory is not None else _last_memory(connection) or Memory(state=told)
    return StateRecord(
        max(told, memory.effective_state, key=_CAREFUL.index),
        row.last_updated,
        row.reason,
        row.severity,
        row.checked_at,
        row.valid_until,
        bool(row.held),
        stored(tuple[str, ...], row.damaged_features or []),
        memory,
    )


def _last_memory(connection: Connection) -> Memory | None:
    """What the last run left, where somebody has written the state by hand and left its memory out."""
    table = current_window_metrics
    query = select(table.c.memory).where(table.c.memory.is_not(None)).order_by(table.c.id.desc()).limit(1)
    document = connection.execute(query).scalar()
    return None if document is None else stored(Memory, document)


def _require_no_history(connection: Connection) -> None:
    for anything in _HISTORY:
        if connection.execute(anything).first() is not None:
            raise StoreError(
                "The database has lost its state, though runs or actions are recorded: restore it from a backup."
            )


def baseline(connection: Connection, baseline_id: str) -> Baseline | None:
    """A baseline by its id."""
    query = select(baseline_metrics.c.document).where(baseline_metrics.c.baseline_id == baseline_id)
    document = connection.execute(query).scalar()
    return None if document is None else stored(Baseline, document)


def active_baseline(connection: Connection, model_version: str) -> Baseline | None:
    """The active baseline of a model version, or None: the version is unwatched."""
    query = select(baseline_metrics.c.document).where(
        baseline_metrics.c.model_version == model_version, baseline_metrics.c.active
    )
    document = connection.execute(query).scalar()
    return None if document is None else stored(Baseline, document)


def is_watched(connection: Connection, model_version: str) -> bool:
    """Whether a model version has an active baseline; cheap enough to ask with every answer."""
    return connection.execute(_WATCHED, {"version": model_version}).first() is not None


def baselines(connection: Connection) -> list[BaselineRecord]:
    """Every baseline, newest first."""
    query = select(baseline_metrics).order_by(baseline_metrics.c.created_at.desc(), baseline_metrics.c.baseline_id)
    return [
        BaselineRecord(stored(Baseline, row.document), bool(row.active))
        for row in connection.execute(query)
        if row.document is not None
    ]


def window_rows(
    connection: Connection, start: datetime, end: datetime, model_version: str, up_to_row: int | None = None
) -> LogRows:
    """The log's rows of one version in `[start, end)`, up to a row id where one is given."""
    table = prediction_logs
    conditions = [table.c.timestamp >= start, table.c.timestamp < end, table.c.model_version == model_version]
    if up_to_row is not None:
        conditions.append(_up_to(table.c.id, up_to_row))
    return _log_rows(connection, _log_query(connection).where(and_(*conditions)).order_by(table.c.id))


def window_batches(
    connection: Connection,
    start: datetime,
    end: datetime,
    fresh_since: datetime,
    model_version: str,
    up_to_row: int,
    *,
    with_ids: bool = True,
) -> Iterator[WindowRows]:
    """The same rows, fresh from `fresh_since` on, some thousands at a time and in no order: a window may be large."""
    table = prediction_logs
    asked = [table.c.id] if with_ids else []
    for since, until, fresh in ((start, min(fresh_since, end), False), (max(start, fresh_since), end, True)):
        query = select(
            _as_text(connection, table.c.input_summary),
            table.c.prediction,
            table.c.confidence_score,
            table.c.fallback_used,
            table.c.model_error,
            *asked,
        ).where(
            table.c.timestamp >= since,
            table.c.timestamp < until,
            table.c.model_version == model_version,
            _up_to(table.c.id, up_to_row),
        )
        streamed = connection.dialect.supports_server_side_cursors  # others stream anyway, and faster
        found = connection.execute(query, execution_options={"stream_results": streamed})
        # The driver's own rows: nothing in them needs a type of ours, and there may be a million.
        while columns := list(zip(*found.cursor_strategy.fetchmany(found, found.cursor, BATCH_ROWS), strict=True)):
            ids = columns.pop() if with_ids else ()
            yield WindowRows(ids, [fresh] * len(columns[0]), *columns)


def window_row_count(connection: Connection, start: datetime, end: datetime, model_version: str, up_to_row: int) -> int:
    """How many there are."""
    table = prediction_logs
    query = select(func.count()).where(
        table.c.timestamp >= start,
        table.c.timestamp < end,
        table.c.model_version == model_version,
        _up_to(table.c.id, up_to_row),
    )
    return int(connection.execute(query).scalar_one())


def first_rows(connection: Connection, model_version: str, count: int) -> LogRows:
    """The first `count` healthy rows of one version.

    Healthy: answered by the model in the state NORMAL, and not among the rows on which a run deviated; the state
    follows such rows only some runs later.
    """
    table, run = prediction_logs, current_window_metrics
    deviated = exists().where(
        run.c.evidence == Evidence.BAD.value,
        run.c.model_version == model_version,
        table.c.timestamp >= run.c.window_start,
        or_(run.c.fresh_since.is_(None), table.c.timestamp >= run.c.fresh_since),
        table.c.timestamp < run.c.window_end,
    )
    query = _log_query(connection).where(
        table.c.model_version == model_version,
        table.c.system_state == State.NORMAL.value,
        table.c.fallback_used.is_(False),
        ~deviated,
    )
    return _log_rows(connection, query.order_by(table.c.id).limit(count))


def deviating_run_count(connection: Connection, model_version: str, start: datetime, end: datetime) -> int:
    """Runs that deviated and whose windows end in `(start, end]`."""
    table = current_window_metrics
    query = select(func.count()).where(
        table.c.evidence == Evidence.BAD.value,
        table.c.model_version == model_version,
        table.c.window_end > start,
        table.c.window_end <= end,
    )
    return int(connection.execute(query).scalar_one())


def last_prediction_row(connection: Connection) -> int:
    """The newest row id of the prediction log, 0 where it is empty."""
    return int(connection.execute(select(func.coalesce(func.max(prediction_logs.c.id), 0))).scalar_one())


def last_refusal_row(connection: Connection) -> int:
    """The newest row id of the refusals, 0 where there are none."""
    return int(connection.execute(select(func.coalesce(func.max(refusals.c.id), 0))).scalar_one())


def refusal_count(
    connection: Connection, start: datetime, end: datetime, model_version: str, up_to_row: int | None = None
) -> int:
    """Requests refused in `[start, end)`."""
    conditions = [refusals.c.timestamp >= start, refusals.c.timestamp < end, refusals.c.model_version == model_version]
    if up_to_row is not None:
        conditions.append(_up_to(refusals.c.id, up_to_row))
    return connection.execute(select(func.count()).select_from(refusals).where(*conditions)).scalar_one()


def last_request_at(
    connection: Connection, before: datetime, up_to_prediction: int | None = None, up_to_refusal: int | None = None
) -> datetime | None:
    """When the last request before a time came, answered or refused; up to row ids where they are given."""
    latest = []
    for table, up_to in ((prediction_logs, up_to_prediction), (refusals, up_to_refusal)):
        query = select(func.max(table.c.timestamp)).where(table.c.timestamp < before)
        if up_to is not None:
            query = query.where(_up_to(table.c.id, up_to))
        latest.append(connection.execute(query).scalar())
    known = [at for at in latest if at is not None]
    return max(known) if known else None


def prediction_count(connection: Connection, model_version: str | None = None) -> int:
    """Rows in the prediction log, of one version or of all."""
    query = select(func.count()).select_from(prediction_logs)
    if model_version is not None:
        query = query.where(prediction_logs.c.model_version == model_version)
    return connection.execute(query).scalar_one()


def run_at(connection: Connection, window_end: datetime) -> RunRecord | None:
    """The run whose window ends exactly then."""
    query = select(current_window_metrics).where(current_window_metrics.c.window_end == window_end)
    row = connection.execute(query).first()
    return None if row is None else _run(row)


def last_run(connection: Connection) -> RunRecord | None:
    """The newest run."""
    row = connection.execute(
        select(current_window_metrics).order_by(current_window_metrics.c.id.desc()).limit(1)
    ).first()
    return None if row is None else _run(row)


def recent_runs(connection: Connection, limit: int) -> list[RunRecord]:
    """The newest runs, newest first."""
    query = select(current_window_metrics).order_by(current_window_metrics.c.id.desc()).limit(limit)
    return [_run(row) for row in connection.execute(query)]


def all_runs(connection: Connection) -> Iterator[RunRecord]:
    """Every run, oldest first, a few at a time."""
    query = select(current_window_metrics).order_by(current_window_metrics.c.id).execution_options(yield_per=200)
    with connection.execute(query) as found:  # who stops half-way leaves no cursor open
        for row in found:
            yield _run(row)


def recent_incidents(
    connection: Connection, limit: int | None, *, unresolved_only: bool = False
) -> list[IncidentRecord]:
    """The newest incidents, newest first; all of them without a limit."""
    query = select(incidents).order_by(incidents.c.detected_at.desc(), incidents.c.incident_id.desc()).limit(limit)
    if unresolved_only:
        query = query.where(incidents.c.resolved.is_(False))
    return [_incident(row) for row in connection.execute(query)]


def incident(connection: Connection, incident_id: str) -> IncidentRecord | None:
    """An incident by its id."""
    row = connection.execute(select(incidents).where(incidents.c.incident_id == incident_id)).first()
    return None if row is None else _incident(row)


def explanations(connection: Connection, incident_id: str) -> list[ExplanationRecord]:
    """An incident's explanations, step by step; of each step the offline one first."""
    table = llm_explanations
    query = select(table).where(table.c.incident_id == incident_id).order_by(table.c.id)
    fields = ExplanationRecord.__dataclass_fields__
    found = [ExplanationRecord(**{name: getattr(row, name) for name in fields}) for row in connection.execute(query)]
    return sorted(found, key=lambda record: record.place)


def explained_steps(connection: Connection, source: str) -> set[tuple[str, str | None]]:
    """The incidents' steps, each as identifier and status, that a source has explained."""
    table = llm_explanations
    query = select(table.c.incident_id, table.c.incident_status).where(table.c.source == source)
    return {(row.incident_id, row.incident_status) for row in connection.execute(query)}


def explanation_failure_count(connection: Connection) -> int:
    """How often nobody explained an incident."""
    return int(connection.execute(select(func.count()).select_from(explanation_failures)).scalar_one())


def _given_up(connection: Connection) -> set[tuple[str, str | None]]:
    table = explanation_failures
    query = (
        select(table.c.incident_id, table.c.incident_status)
        .where(table.c.failure.in_([failure.value for failure in NO_USE]))
        .group_by(table.c.incident_id, table.c.incident_status)
        .having(func.count() >= MOST_USELESS_ANSWERS)
    )
    return {(row.incident_id, row.incident_status) for row in connection.execute(query)}


def unexplained_steps(connection: Connection, incident_count: int = 20) -> list[IncidentStep]:
    """The steps of the newest incidents that no language model has explained and that still can be, newest first."""
    done = explained_steps(connection, "llm") | _given_up(connection)
    steps = [step for found in recent_incidents(connection, incident_count) for step in reversed(found.steps)]
    waiting = [step for step in steps if (step.incident_id, step.status) not in done]
    table = current_window_metrics
    query = select(table.c.window_end).where(table.c.window_end.in_([step.at for step in waiting]))
    stored_runs = set(connection.execute(query).scalars()) if waiting else set()
    return [step for step in waiting if step.at in stored_runs]


def actions(connection: Connection) -> list[ActionRecord]:
    """Every operator's action, oldest first."""
    query = select(operator_actions).order_by(operator_actions.c.id)
    fields = ActionRecord.__dataclass_fields__
    return [ActionRecord(**{name: getattr(row, name) for name in fields}) for row in connection.execute(query)]


def stored(kind: type[T], document: Any) -> T:
    """A stored value. What is no longer one is as bad as a database that cannot be read, and is told so."""
    try:
        return from_document(kind, document)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        told = f"{place}: {problem['msg']}" if place else problem["msg"]
        name = getattr(kind, "__name__", str(kind)).lower()
        raise StoreError(f"The database holds a damaged {name} ({told}).") from error


def _up_to(row_id: ColumnElement[int], last: int) -> ColumnElement[bool]:
    # Not the bare column: SQLite would go by it, and so through the whole log, rather than by the time.
    return row_id + 0 <= last


def _log_query(connection: Connection) -> Select[Any]:
    table = prediction_logs
    return select(
        table.c.id,
        table.c.timestamp,
        _as_text(connection, table.c.input_summary),
        table.c.prediction,
        table.c.confidence_score,
        table.c.fallback_used,
        table.c.model_error,
    )


def _as_text(connection: Connection, document: ColumnElement[Any]) -> ColumnElement[str]:
    """A document as the text that is stored: parsing many at once is several times faster than row by row."""
    return type_coerce(document, Text) if connection.dialect.name == "sqlite" else cast(document, Text)


def _log_rows(connection: Connection, query: Select[Any]) -> LogRows:
    rows = connection.execute(query).all()
    return LogRows(*zip(*rows, strict=True)) if rows else LogRows((), (), (), (), (), (), ())


def _run(row: Row[Any]) -> RunRecord:
    return RunRecord(**{name: getattr(row, name) for name in RunRecord.__dataclass_fields__})


def _incident(row: Row[Any]) -> IncidentRecord:
    return IncidentRecord(**{name: getattr(row, name) for name in IncidentRecord.__dataclass_fields__})


class Requests(StrEnum):
    """The two tables that grow with every request, by their names; retention touches no others."""

    PREDICTIONS = "prediction_logs"
    REFUSALS = "refusals"


def oldest_request(connection: Connection, requests: Requests, before: datetime) -> tuple[datetime, str] | None:
    """Timestamp and model version of the oldest row before a time, or None."""
    table = metadata.tables[requests]
    query = select(table.c.timestamp, table.c.model_version).where(table.c.timestamp < before)
    row = connection.execute(query.order_by(table.c.timestamp, table.c.id).limit(1)).first()
    return None if row is None else (row.timestamp, row.model_version)


def request_ids(
    connection: Connection, requests: Requests, start: datetime, end: datetime, model_version: str
) -> list[int]:
    """Row ids of one version in `[start, end)`, ascending."""
    table = metadata.tables[requests]
    query = select(table.c.id).where(
        table.c.timestamp >= start, table.c.timestamp < end, table.c.model_version == model_version
    )
    return sorted(connection.execute(query).scalars())


def request_rows(connection: Connection, requests: Requests, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Whole rows by their ids, ascending; documents as the text that is stored."""
    table = metadata.tables[requests]
    columns = [
        _as_text(connection, column).label(column.name) if isinstance(column.type, JSON) else column
        for column in table.columns
    ]
    query = select(*columns).where(table.c.id.in_(ids)).order_by(table.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def pruned_before(connection: Connection) -> datetime | None:
    """The time up to which requests may have been deleted on purpose, or None where none ever were."""
    latest: datetime | None = connection.execute(select(func.max(prunes.c.before))).scalar()
    return latest


def request_count(connection: Connection, requests: Requests, before: datetime) -> int:
    """Rows before a time."""
    table = metadata.tables[requests]
    query = select(func.count()).select_from(table).where(table.c.timestamp < before)
    return int(connection.execute(query).scalar_one())
