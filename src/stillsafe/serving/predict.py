"""Answering and recording: read the state, apply it, and write the answer to disk before it is sent.

Nothing is decided here. The state that the monitor or an operator decided earlier is read once for each batch of
requests and applies to all of them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Lock
from typing import Generic, TypeVar

from sqlalchemy import Connection

from stillsafe.core.fallback import ABSTAIN
from stillsafe.core.schema import Row, sanitise
from stillsafe.core.score import Score
from stillsafe.core.text import truncate
from stillsafe.deadline import CallBroke
from stillsafe.errors import NoModel, StoreError
from stillsafe.logs import LogEvent, log_event
from stillsafe.model.model import error_location
from stillsafe.serving.caps import cap_score
from stillsafe.serving.column_records import MOST_MODEL_ROWS, column_records
from stillsafe.serving.context import Context as Context
from stillsafe.serving.failover import ServingState, StoreStatus, WriteSpool
from stillsafe.serving.prediction_request import ColumnRequests, IdConflict, PredictionRequest, Refusal, reply_of
from stillsafe.serving.reasons import LONGEST_REASON, caveats_of, why_bypassed
from stillsafe.serving.state_reading import stored_state
from stillsafe.store import database
from stillsafe.store.codec import from_document, to_document
from stillsafe.store.read.erasures import erased_records
from stillsafe.store.read.request_id import IdOwner, id_owners, repeated_answers
from stillsafe.store.records import PredictionRecord, RefusalRecord, spooled_record
from stillsafe.store.spool import PREDICTION, Entry, Spool, SpooledEntry
from stillsafe.store.write.predictions import (
    append_first_predictions,
    append_missing_predictions,
    append_missing_refusals,
    append_predictions,
    append_refusals,
    try_append,
)
from stillsafe.tracing import span

logger = logging.getLogger(__name__)

T = TypeVar("T")
Draft = Callable[..., PredictionRecord]
"""A record that still lacks `prediction_id`, `timestamp`, `input_summary` and `source`."""
REFUSALS = "refusals"
TIMED_OUT = "timed out"
NO_PREDICTION = "No prediction, as the settings demand: a person or another system takes over."
MAX_BATCH_ROWS = 64
"""Most rows of several requests that are answered together. A request with more is answered by itself."""
TRIAL_CHARACTERS = 20_000
"""Length of a row by which it is tried whether the store accepts rows: longer than any answer."""
MOST_HALVINGS = MAX_BATCH_ROWS
"""Enough to score each row of such a batch by itself; a large batch of bad rows must not delay all others."""


class LazyValue(Generic[T]):
    """A value that the first call makes and all calls return: a row has the same timestamp wherever it is written."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: list[T] = []
        self._lock = Lock()

    def __call__(self) -> T:
        """The value."""
        with self._lock:
            if not self._values:
                self._values.append(self._make())
            return self._values[0]


Records = LazyValue[Sequence[PredictionRecord]]
MakeRecords = Callable[[Context, Sequence[PredictionRequest]], Records]


def answer_requests(
    context: Context, requests: Sequence[PredictionRequest], make: MakeRecords | None = None
) -> Sequence[PredictionRecord | IdConflict]:
    """Answer requests, as `answer`; one that has the id of an earlier request gets the stored answer of that one.

    Requests by column get `PredictionColumns`, unless the model fails on a row or is bypassed.

    Args:
        context: what answering needs.
        requests: each with a clean row.
        make: makes the records of requests that are answered in another way, as in `outcomes`.
    """
    with context.answer_log.attempt(), span(context.tracer, "batch", rows=len(requests)) as batch:
        records = (make or draft_answers)(context, requests)
        replies: Sequence[PredictionRecord | IdConflict]
        if not isinstance(requests, ColumnRequests) and any(each.request_id for each in requests):
            replies = _write_identified(context, records)
        else:
            replies = _write_predictions(context, records)
        if batch is not None:
            batch.set_attribute("stillsafe.prediction_ids", [each.prediction_id for each in records()])
        return replies


def require_recording(context: Context) -> None:
    """Require that answers can be recorded: where the last ones could not be, a row is written and deleted again.

    Raises:
        StoreError: they cannot.
    """
    if context.answer_log.error is None:
        return
    with context.answer_log.attempt():
        if context.failover is not None and context.failover.status is not StoreStatus.UP:
            context.failover.spool.require_writable()
            return
        state, reason = stored_state(context.engine, context.settings, context.clock).state, "x" * TRIAL_CHARACTERS
        trial = PredictionRecord(
            context.new_ids(1)[0], context.clock(), context.model.version, state, {}, None, None, True, reason
        )
        with database.writing(context.engine) as connection:
            try_append(connection, trial)


def answer(
    context: Context, rows: Sequence[Row], synthetic: Sequence[bool] = (), sources: Sequence[str | None] = ()
) -> list[PredictionRecord]:
    """Answer clean rows, in order. Every answer is on disk when this returns.

    Args:
        context: what answering needs.
        rows: in the form of the schema.
        synthetic: whether each row is logged as synthetic, which makes it no evidence; empty where none is.
        sources: salted hash of each row's client; empty where none is known.

    Raises:
        StoreError: the state cannot be read or the answers cannot be written; then no row is answered.
    """
    marks = zip(rows, synthetic or [False] * len(rows), sources or [None] * len(rows), strict=True)
    return [*_write_predictions(context, draft_answers(context, [PredictionRequest(*each) for each in marks]))]


def draft_answers(context: Context, requests: Sequence[PredictionRequest]) -> Records:
    """The answers to requests, complete but for their time.

    Raises:
        NoModel: the model runs elsewhere.
        StoreError: the state cannot be read.
    """
    if context.model.is_external:
        raise NoModel
    state = read_state(context)
    new_record = draft_of(context, state)
    bypass_reason = why_bypassed(context.settings, state, context.consistency.problem)
    context.state_log.note(state, bypass_reason)
    caveats = caveats_of(context.settings, state)
    if bypass_reason is None and isinstance(requests, ColumnRequests):
        columns = column_records(context, requests, partial(new_record, reason=caveats))
        if columns is not None:
            return LazyValue(columns)
    rows = [each.row for each in requests]
    if bypass_reason is not None:
        drafts = fallback_drafts(context, new_record, state, rows, bypass_reason)
    else:
        pairs = zip(rows, _scores(context, rows), strict=True)
        drafts = [_model_draft(context, new_record, state, row, score, caveats) for row, score in pairs]
    return records_of(context, requests, drafts)


def draft_of(context: Context, state: ServingState) -> Draft:
    """A record with the facts of the state, which lacks all that belongs to one request."""
    return partial(
        PredictionRecord,
        model_version=context.model.version,
        system_state=state.state,
        monitor_stale=state.stale,
        watched=state.watched,
        judged=state.judged,
        judged_at=state.judged_at,
    )


def record_refusals(context: Context, refusals: Sequence[Refusal]) -> list[None]:
    """Write refused requests in one commit.

    Raises:
        StoreError: they cannot be written.
    """
    records = LazyValue(lambda: _refusal_records(context, refusals))

    def write() -> None:
        with database.writing(context.engine) as connection:
            append_refusals(connection, records())

    with context.refusal_log.attempt():
        _write(context, "refusals", lambda spool: spool.append([Entry(REFUSALS, to_document(records()))]), write)
    return [None] * len(refusals)


def write_spooled(connection: Connection, entries: Sequence[SpooledEntry], keep: timedelta = timedelta.max) -> None:
    """Write entries of the spool, in order, except those that the log holds already or that were erased.

    Args:
        connection: of the transaction.
        entries: the oldest of the spool.
        keep: how long an id belongs to its request.
    """
    documents = [each.entry.document for each in entries if each.entry.kind == PREDICTION]
    predictions = [spooled_record(each) for each in documents]
    erased_ids = erased_records(connection, predictions)
    predictions = [record for record in predictions if record.prediction_id not in erased_ids]
    times = [record.timestamp for record in predictions if record.request_id is not None]
    oldest = min(times) - keep if times and keep < timedelta.max else None
    append_missing_predictions(connection, predictions, oldest)
    for each in entries:
        if each.entry.kind == REFUSALS:
            append_missing_refusals(connection, from_document(tuple[RefusalRecord, ...], each.entry.document))


def read_state(context: Context) -> ServingState:
    """The state that applies at this moment; during an outage the last known one.

    Raises:
        StoreError: the state cannot be read: unknown is not NORMAL.
    """
    if context.failover is not None:
        return context.failover.state()
    return stored_state(context.engine, context.settings, context.clock)


def _scores(context: Context, rows: Sequence[Row]) -> list[Score]:
    parts = (rows[start : start + MOST_MODEL_ROWS] for start in range(0, len(rows), MOST_MODEL_ROWS))
    return [score for part in parts for score in _part_scores(context, part)]


def _part_scores(context: Context, rows: Sequence[Row]) -> list[Score]:
    try:
        with span(context.tracer, "model", rows=len(rows), model_version=context.model.version):
            score = partial(context.model.score, rows, MOST_HALVINGS)
            return context.deadline.call_here(score, context.settings.model.timeout)
    except TimeoutError:
        log_event(logger, LogEvent.MODEL_TIMED_OUT, {"rows": len(rows)})
        return [Score(None, None, None, TIMED_OUT)] * len(rows)
    except CallBroke as error:
        return [Score(None, None, None, f"raised {error}")] * len(rows)


def _model_draft(
    context: Context, new_record: Draft, state: ServingState, row: Row, score: Score, caveats: str
) -> Draft:
    """The model's answer within its caps, or the fallback's if the model failed on the row."""
    if score.prediction is None or score.error is not None:
        error = score.error or "no answer"
        cause = "The model timed out." if error == TIMED_OUT else f"The model failed: {error}."
        return partial(fallback_drafts(context, new_record, state, [row], cause)[0], model_error=error)
    score, cap = cap_score(context.settings.fallback, score)
    return partial(
        new_record,
        prediction=score.prediction,
        confidence_score=score.confidence,
        fallback_used=False,
        reason=f"{caveats} {cap}" if cap else caveats,
        probabilities=score.probabilities,
    )


def fallback_drafts(
    context: Context, new_record: Draft, state: ServingState, rows: Sequence[Row], cause: str
) -> list[Draft]:
    """The fallback's answers to rows, with why the fallback is asked."""
    drafts: list[Draft] = []
    for answer in context.fallback.answers(rows, state.damaged_features):
        for error in answer.errors:
            fields = {"rule": "; ".join(getattr(error, "__notes__", ())), "error": error_location(error)}
            log_event(logger, LogEvent.RULE_FAILED, fields)
        source = f"Answered by the fallback, {truncate(answer.why, LONGEST_REASON)}."
        facts = {"prediction": answer.answer, "fallback_kind": answer.kind, "fallback_used": True}
        reason = f"{cause} {NO_PREDICTION if answer.kind == ABSTAIN else source}"
        drafts.append(partial(new_record, **facts, confidence_score=None, reason=reason))
    return drafts


def records_of(context: Context, requests: Sequence[PredictionRequest], drafts: Sequence[Draft]) -> Records:
    """The records of drafts; they get the time at which they are first read."""
    own_ids = requests.ids if isinstance(requests, ColumnRequests) else ()
    ids = own_ids or context.new_ids(len(requests))
    rows = [each.row for each in requests]
    snapshots = sanitise(context.model.features, rows, context.settings.service.hash_salt)

    def complete() -> list[PredictionRecord]:
        now = context.clock()
        return [
            draft(
                prediction_id=prediction_id,
                timestamp=now,
                input_summary=snapshot,
                synthetic=request.synthetic,
                source=request.source,
                request_id=request.request_id,
                trace_id=request.trace_id,
            )
            for request, draft, prediction_id, snapshot in zip(requests, drafts, ids, snapshots, strict=True)
        ]

    return LazyValue(complete)


def _write_predictions(context: Context, records: Records) -> Sequence[PredictionRecord]:
    """The records, once they are on disk."""

    def write() -> None:
        with database.appending(context.engine) as connection:
            # The timestamp is taken inside the transaction: a monitoring run between the two would miss the rows.
            append_predictions(connection, records())

    _write(context, "rows", lambda spool: spool.append(_spool_entries(records())), write)
    return records()


def _write_identified(context: Context, records: Records) -> list[PredictionRecord | IdConflict]:
    """The records once they are on disk, some of which have ids; instead of a retry's, the stored answer.

    While a database server is out, the spool of this host shows which are retries. Another host may answer the same
    id meanwhile: the drain finds that.
    """
    keep = timedelta(seconds=context.settings.ids.keep)
    owners: dict[str, IdOwner] = {}
    answers: dict[str, PredictionRecord] = {}

    def write() -> None:
        with database.writing(context.engine) as connection:
            first = records()
            new_owners = append_first_predictions(connection, first, first[0].timestamp - keep)
            repeats = {each.request_id.text for each in first if each.request_id and each.prediction_id in new_owners}
            new_answers = repeated_answers(connection, repeats) if repeats else {}
        owners.update(new_owners)
        answers.update(new_answers)

    def write_spool(spool: Spool) -> None:
        new = [each for each in records() if each.prediction_id not in owners]
        waiting = spool.append_first(_spool_entries(new), records()[0].timestamp - keep)
        for record, document in zip(new, waiting, strict=True):
            earlier = None if document is None else spooled_record(document)
            if earlier is not None and earlier.request_id is not None:
                identity = earlier.request_id
                owners[record.prediction_id] = IdOwner(earlier.prediction_id, identity.body_hash, earlier.timestamp)
                answers[identity.text] = replace(earlier, is_repeat=True)

    if context.failover is not None and context.failover.status is StoreStatus.DRAINING:
        owners, answers = _drained_answers(context, records(), keep)
    _write(context, "rows", write_spool, write)
    return [reply_of(record, owners.get(record.prediction_id), answers) for record in records()]


def _drained_answers(
    context: Context, records: Sequence[PredictionRecord], keep: timedelta
) -> tuple[dict[str, IdOwner], dict[str, PredictionRecord]]:
    """What the store has of these ids, as in `write`: answers of an outage that have left the spool already."""
    ids = {each.request_id.text for each in records if each.request_id is not None}
    try:
        with context.reading() as connection:
            stored, answers = id_owners(connection, ids), repeated_answers(connection, ids)
    except StoreError:  # out again: the drain will find the duplicates
        return {}, {}
    owners = {each.prediction_id: stored.get(each.request_id.text) for each in records if each.request_id is not None}
    oldest = records[0].timestamp - keep
    return {key: owner for key, owner in owners.items() if owner is not None and owner.timestamp >= oldest}, answers


def _spool_entries(records: Sequence[PredictionRecord]) -> list[Entry]:
    return [Entry(PREDICTION, record.spool_document()) for record in records]


def _refusal_records(context: Context, refusals: Sequence[Refusal]) -> list[RefusalRecord]:
    now, version = context.clock(), context.model.version
    return [RefusalRecord(now, version, refusal.defects, refusal.source) for refusal in refusals]


def _write(context: Context, caller: str, write_spool: WriteSpool, write: Callable[[], None]) -> None:
    """Write to the store, or to the spool while a database server is out.

    Raises:
        StoreError: neither can be written.
    """
    with span(context.tracer, "commit", kind=caller):
        if context.failover is not None:
            context.failover.record(caller, write_spool, write)
            return
        with context.write_lock:
            write()
