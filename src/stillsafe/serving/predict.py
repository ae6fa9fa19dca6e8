"""A request's story: the state is read, obeyed, and the answer written down before anybody hears it.

Nothing is decided here. What the monitor or an operator decided earlier is read once for all requests of a
drain and obeyed by all of them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from threading import Lock

from sqlalchemy import Engine

from stillsafe.core.fallback import Answer, Conservative, Fallback
from stillsafe.core.schema import Row, sanitise
from stillsafe.core.state import State
from stillsafe.serving.deadline import CallBroke, Deadline
from stillsafe.serving.model import Model, Score, as_text
from stillsafe.settings import Settings
from stillsafe.store import database, prediction_log, reader
from stillsafe.store.prediction_log import PredictionRecord, RefusalRecord

logger = logging.getLogger(__name__)

LONGEST_REASON = 300
TIMED_OUT = "timed out"
DRAIN_ROWS = 64
"""Most rows of several requests that are answered together. A request with more goes by itself."""
MOST_HALVINGS = DRAIN_ROWS
"""Enough to ask every row of such a drain by itself; a large batch of bad rows must not hold up all others."""


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that answering needs.

    Attributes:
        settings: the service.
        engine: its store.
        model: its model, known to fit.
        fallback: the conservative answer.
        clock: the current time, aware UTC.
        new_id: a new prediction's identifier.
        deadline: where the model is called, so that one that hangs is left behind.
        turn: whoever writes; writers in one process take turns here, faster than at the database's lock.
    """

    settings: Settings
    engine: Engine
    model: Model
    fallback: Fallback
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    deadline: Deadline = field(default_factory=Deadline)
    turn: Lock = field(default_factory=Lock)


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer that is on disk. The fields are those of the response; `model_error` is for the log alone."""

    prediction_id: str
    timestamp: datetime
    prediction: Answer
    confidence: float | None
    probabilities: dict[str, float] | None
    model_version: str
    system_state: State
    fallback_used: bool
    reason: str
    monitor_stale: bool
    watched: bool
    model_error: str | None

    @property
    def decided_by(self) -> str:
        """`model` or `fallback`."""
        return "fallback" if self.fallback_used else "model"


@dataclass(frozen=True, slots=True)
class Orders:
    """What the store says about the model at one moment.

    Attributes:
        state: to be obeyed; NORMAL where nothing was ever decided.
        reason: why the state is what it is.
        damaged_features: features that the fallback must not lean on.
        stale: whether the monitor is dead or has never run, so that the state is not known to hold.
        watched: whether the served version has an active baseline.
    """

    state: State
    reason: str
    damaged_features: tuple[str, ...]
    stale: bool
    watched: bool


@dataclass(frozen=True, slots=True)
class _Decided:
    """An answer not yet written down."""

    prediction: Answer
    reason: str
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    fallback_used: bool = False
    model_error: str | None = None


def answer(context: Context, rows: Sequence[Row]) -> list[Answered]:
    """Answer clean rows, in order: every answer is on disk when this returns.

    Raises:
        StoreError: the state cannot be read or the answers cannot be written; then there is no answer.
    """
    orders = read_orders(context)
    bypass = why_bypassed(context.settings, orders)
    if bypass is not None:
        decided = [_conservative(context, orders, row, bypass) for row in rows]
    else:
        note = _circumstances(context.settings, orders)
        scores = zip(rows, _scores(context, rows), strict=True)
        decided = [_from_model(context, orders, row, score, note) for row, score in scores]
    return _recorded(context, rows, orders, decided)


def refuse(context: Context, refusals: Sequence[tuple[tuple[str, str], ...]]) -> list[None]:
    """Write refused requests down, each as its (feature, kind) pairs; in one commit.

    Raises:
        StoreError: they cannot be written.
    """
    with context.turn, database.writing(context.engine) as connection:
        now, version = context.clock(), context.model.version
        prediction_log.append_refusals(connection, [RefusalRecord(now, version, wrong) for wrong in refusals])
    return [None] * len(refusals)


def read_orders(context: Context) -> Orders:
    """The state that everybody obeys, at this moment.

    Raises:
        StoreError: it cannot be read: unknown is not NORMAL.
    """
    with database.reading(context.engine) as connection:
        record = reader.state(connection)
        watched = reader.is_watched(connection, context.model.version)
    if record is None:
        return Orders(State.NORMAL, "nothing was ever decided", (), stale=True, watched=watched)
    stale = record.stale(context.clock())
    return Orders(record.state, record.reason, record.damaged_features, stale, watched)


def why_bypassed(settings: Settings, orders: Orders) -> str | None:
    """Why the model is not to be asked, or None if it is."""
    if settings.service.mode == "observe":
        return None
    if orders.state is State.DEGRADED:
        return f"DEGRADED: {_shortened(orders.reason)}"
    if orders.stale and settings.serving.on_stale_monitor == "fallback":
        return "The monitor is stale, so nobody knows whether the model can be trusted."
    return None


def _circumstances(settings: Settings, orders: Orders) -> str:
    """What a client should know about an answer of the model."""
    told = [f"The state is {orders.state.value}."]
    if settings.service.mode == "observe" and orders.state is State.DEGRADED:
        told = ["The state is DEGRADED, and mode observe asks the model nevertheless."]
    if orders.stale:
        told.append("The monitor is stale: the state may be out of date.")
    if not orders.watched:
        told.append("This model version is unwatched: it has no active baseline.")
    return " ".join(told)


def _scores(context: Context, rows: Sequence[Row]) -> list[Score]:
    try:
        return context.deadline.call(partial(context.model.score, rows, MOST_HALVINGS), context.settings.model.timeout)
    except TimeoutError:
        logger.error("the model timed out", extra={"fields": {"rows": len(rows)}})
        return [Score(None, None, None, TIMED_OUT)] * len(rows)
    except CallBroke as error:
        return [Score(None, None, None, f"raised {error}")] * len(rows)


def _from_model(context: Context, orders: Orders, row: Row, score: Score, note: str) -> _Decided:
    if score.prediction is None or score.error is not None:
        error = score.error or "no answer"
        said = "The model timed out." if error == TIMED_OUT else f"The model failed: {error}."
        return replace(_conservative(context, orders, row, said), model_error=error)
    return _Decided(score.prediction, note, score.confidence, score.probabilities)


def _conservative(context: Context, orders: Orders, row: Row, why: str) -> _Decided:
    chosen = _fallback(context.fallback, row, orders.damaged_features)
    return _Decided(chosen.answer, f"{why} Answered by the fallback, {_shortened(chosen.why)}.", fallback_used=True)


def _fallback(fallback: Fallback, row: Row, damaged: Sequence[str]) -> Conservative:
    try:
        return fallback.answer(row, damaged)
    except Exception:  # a rule that breaks on one row must cost neither that row's answer nor its neighbours'
        logger.exception("a fallback rule failed; the default answers")
        return replace(fallback, rules=()).answer(row)


def _recorded(context: Context, rows: Sequence[Row], orders: Orders, decided: Sequence[_Decided]) -> list[Answered]:
    """The answers, once they are on disk."""
    ids = [context.new_id() for _ in rows]
    with context.turn, database.writing(context.engine) as connection:
        # Read inside the transaction: a run of the monitor between the stamp and the commit would miss the rows.
        now = context.clock()
        answered = [_answered(context, orders, now, *each) for each in zip(ids, decided, strict=True)]
        records = [_record(context, each, row) for each, row in zip(answered, rows, strict=True)]
        prediction_log.append(connection, records)
    return answered


def _answered(context: Context, orders: Orders, now: datetime, prediction_id: str, decided: _Decided) -> Answered:
    return Answered(
        prediction_id,
        now,
        decided.prediction,
        decided.confidence,
        decided.probabilities,
        context.model.version,
        orders.state,
        decided.fallback_used,
        decided.reason,
        orders.stale,
        orders.watched,
        decided.model_error,
    )


def _record(context: Context, answered: Answered, row: Row) -> PredictionRecord:
    return PredictionRecord(
        prediction_id=answered.prediction_id,
        timestamp=answered.timestamp,
        model_version=answered.model_version,
        system_state=answered.system_state,
        input_summary=sanitise(context.model.features, row, context.settings.service.hash_salt),
        prediction=as_text(answered.prediction),
        confidence_score=answered.confidence,
        fallback_used=answered.fallback_used,
        reason=answered.reason,
        model_error=answered.model_error,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
