"""A request's story: the state is read, obeyed, and the answer written down before anybody hears it.

Nothing is decided here. What the monitor or an operator decided earlier is read once for all requests of a
drain and obeyed by all of them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine

from stillsafe.core.fallback import Answer, Conservative, Fallback
from stillsafe.core.schema import Row, sanitise
from stillsafe.core.state import State
from stillsafe.model.model import Model, Score, as_text
from stillsafe.serving.deadline import CallBroke, Deadline
from stillsafe.serving.failover import Orders, Outage
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import from_document, to_document
from stillsafe.store.read.baselines import is_watched
from stillsafe.store.read.state import current_state
from stillsafe.store.spool import Entry, Waiting
from stillsafe.store.write.predictions import (
    PredictionRecord,
    RefusalRecord,
    append_missing_predictions,
    append_missing_refusals,
    append_predictions,
    append_refusals,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
PREDICTION, REFUSALS = "prediction", "refusals"
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
        outage: the way through an outage of a database server; None for SQLite, which is here or nothing is.
    """

    settings: Settings
    engine: Engine
    model: Model
    fallback: Fallback
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    deadline: Deadline = field(default_factory=Deadline)
    turn: Lock = field(default_factory=Lock)
    outage: Outage | None = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A look at the store.

        Raises:
            StoreError: it is out or cannot be read.
        """
        with database.reading(self.engine) if self.outage is None else self.outage.reading() as connection:
            yield connection


class _Once(Generic[T]):
    """A value that is made when it is first asked for, and then stays: a row has one time, wherever it is written."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._door = Lock()

    def __call__(self) -> T:
        with self._door:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


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
    stamped = _Once(lambda: _refusals(context, refusals))

    def write() -> None:
        with database.writing(context.engine) as connection:
            append_refusals(connection, stamped())

    _keep(context, "refusals", lambda: [Entry(REFUSALS, to_document(stamped()))], write)
    return [None] * len(refusals)


def write_spooled(connection: Connection, waiting: Sequence[Waiting]) -> None:
    """Write what waited in the spool, in order; what the log has already is left as it is."""
    predictions = [each.entry.document for each in waiting if each.entry.kind == PREDICTION]
    append_missing_predictions(connection, [from_document(PredictionRecord, each) for each in predictions])
    for each in waiting:
        if each.entry.kind == REFUSALS:
            moment = from_document(tuple[RefusalRecord, ...], each.entry.document)
            append_missing_refusals(connection, moment)


def _refusals(context: Context, refusals: Sequence[tuple[tuple[str, str], ...]]) -> list[RefusalRecord]:
    now, version = context.clock(), context.model.version
    return [RefusalRecord(now, version, wrong) for wrong in refusals]


def _keep(context: Context, who: str, entries: Callable[[], Sequence[Entry]], write: Callable[[], None]) -> None:
    """Put something on disk: in the store, or, while a database server is out, in the spool.

    Raises:
        StoreError: neither can be written.
    """
    if context.outage is not None:
        context.outage.record(who, entries, write)
        return
    with context.turn:
        write()


def read_orders(context: Context) -> Orders:
    """The state that everybody obeys, at this moment; during an outage the last that is known.

    Raises:
        StoreError: it cannot be read: unknown is not NORMAL.
    """
    if context.outage is not None:
        return context.outage.orders()
    return stored_orders(context.engine, context.model.version, context.clock)


def stored_orders(engine: Engine, model_version: str, clock: Callable[[], datetime]) -> Orders:
    """The state in the store.

    Raises:
        StoreError: it cannot be read.
    """
    with database.reading(engine) as connection:
        record = current_state(connection)
        watched = is_watched(connection, model_version)
    if record is None:
        return Orders(State.NORMAL, "nothing was ever decided", (), stale=True, watched=watched)
    return Orders(record.state, record.reason, record.damaged_features, record.stale(clock()), watched)


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
    snapshots = sanitise(context.model.features, rows, context.settings.service.hash_salt)

    def made() -> tuple[list[Answered], list[PredictionRecord]]:
        now = context.clock()
        answered = [_answered(context, orders, now, *each) for each in zip(ids, decided, strict=True)]
        return answered, list(map(_record, answered, snapshots))

    stamped = _Once(made)

    def write() -> None:
        with database.writing(context.engine) as connection:
            # Stamped inside the transaction: a run of the monitor between the stamp and the commit would miss the rows.
            append_predictions(connection, stamped()[1])

    _keep(context, "rows", lambda: [Entry(PREDICTION, to_document(record)) for record in stamped()[1]], write)
    return stamped()[0]


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


def _record(answered: Answered, snapshot: Row) -> PredictionRecord:
    return PredictionRecord(
        prediction_id=answered.prediction_id,
        timestamp=answered.timestamp,
        model_version=answered.model_version,
        system_state=answered.system_state,
        input_summary=snapshot,
        prediction=as_text(answered.prediction),
        confidence_score=answered.confidence,
        fallback_used=answered.fallback_used,
        reason=answered.reason,
        model_error=answered.model_error,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
