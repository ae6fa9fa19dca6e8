"""`Guard`: a service in a program of its own, without a server: answers, state, fallback and records as over HTTP.

A guard takes the path of the server from the checked row on: the same validation, batches, log, state and fallback.
Only where the requests come from differs: from threads and event loops of this program.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, SupportsFloat
from weakref import WeakSet

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row, Violation
from stillsafe.core.score import as_text
from stillsafe.errors import NoModel, StillsafeError
from stillsafe.model.column_check import check_columns, columns_of
from stillsafe.model.frame_rows import is_frame, plain_row, plain_rows
from stillsafe.service import Clock, config_file, serving_context, settings_of, utc_now
from stillsafe.serving import predict
from stillsafe.serving.answers import GuardState, IdInUse, InvalidFeatures, Prediction
from stillsafe.serving.body import instances
from stillsafe.serving.body.request_id import ON_DEMAND, id_violation, identity_of
from stillsafe.serving.frame_replies import FrameReplies, result_of
from stillsafe.serving.guard_process import MOST_ROWS, GuardProcess, Reply
from stillsafe.serving.outcomes import plain_outcome, probability_rows
from stillsafe.serving.predict import Context
from stillsafe.serving.prediction_request import ColumnRequests, Outcome, PredictionRequest, Refusal
from stillsafe.serving.reasons import why_bypassed
from stillsafe.serving.recording_log import note_lost_refusals
from stillsafe.serving.sources import source_of
from stillsafe.serving.stored_replies import stored_replies
from stillsafe.serving.thread_batcher import ThreadBatcher
from stillsafe.settings import Settings

__all__ = ["Guard", "GuardState", "IdInUse", "InvalidFeatures", "Prediction"]

Prepare = Callable[[Mapping[str, object]], Mapping[str, object]]
Item = tuple[object, str | None, Outcome | tuple[Violation, ...] | None]
"""A row, its id, and what a model elsewhere answered, or what is wrong with that; None where none did."""


class Guard:
    """A service in this program: `guard = Guard("service/stillsafe.toml")`, `guard.predict(features)`.

    Every answer is in the log when it is returned, and follows the state that the monitor has decided. Cron runs it as
    for a server. Threads share batches and commits; a fork and other processes get connections of their own.

    Args:
        config: a `stillsafe.toml`, or settings already read; by default as the command line finds it.
        clock: the current time, aware UTC; a simulated one in tests.

    Raises:
        ConfigurationError: settings, model or fallback rules are wrong.
        StoreError: the database cannot be used.
    """

    def __init__(self, config: Settings | Path | str | None = None, *, clock: Clock = utc_now) -> None:
        self.settings = settings_of(config_file() if config is None else config)
        self._clock = clock
        self._schema = self.settings.schema_of_features
        self._lock = Lock()
        self._process: GuardProcess | None = None
        self._context: Context | None = None
        self._open()
        _GUARDS.add(self)

    @property
    def classes(self) -> tuple[Answer, ...]:
        """The classes of the model, in the order of its probabilities; empty for a regressor."""
        return self._open().context.model.classes

    def predict(
        self,
        features: Mapping[str, object],
        *,
        id: str | None = None,  # noqa: A002 - the name of the field over HTTP
        synthetic: bool = False,
        client: str = "",
    ) -> Prediction:
        """The answer to one row: the model's, or the fallback's while the model is bypassed.

        Args:
            features: feature -> value. NumPy's scalars are accepted, and NaN is a missing value.
            id: your id of the request: a retry with the same id gets the stored answer, and is no second request.
            synthetic: whether the row is a probe: answered and logged, but no evidence about the model.
            client: who makes the request, for the evidence about single clients; stored as a salted hash.

        Raises:
            InvalidFeatures: the features break the schema.
            IdInUse: the id belongs to a request with other content.
            NoModel: the model runs elsewhere: its answers go to `record`, and `fallback` answers in its place.
            StoreError: the answer cannot be recorded, so it is not given.
        """
        process = self._open_model()
        return _answer_of(process.predictions.submit([self._request(features, id, synthetic, client)])[0])

    async def apredict(
        self,
        features: Mapping[str, object],
        *,
        id: str | None = None,  # noqa: A002 - the name of the field over HTTP
        synthetic: bool = False,
        client: str = "",
    ) -> Prediction:
        """As `predict`, without blocking the event loop; requests that wait share a batch."""
        process = self._open_model()
        source = self._source(client)
        check = self._check(features, id)
        if isinstance(check, tuple):
            await asyncio.to_thread(self._refuse, [check], source, synthetic)
            raise InvalidFeatures(check)
        request = self._request_of(check, id, source, synthetic)
        return _answer_of((await process.loop_batcher().submit([request]))[0])

    def predict_many(
        self, rows: Any, *, ids: Sequence[str | None] | None = None, synthetic: bool = False, client: str = ""
    ) -> list[Prediction | InvalidFeatures | IdInUse]:
        """Per row its answer or its error, in order: each is answered or refused by itself.

        Rows are committed in blocks of 1,000. Where a block cannot be recorded, the blocks before it are.

        Args:
            rows: a data frame, of which columns that are no features are ignored, or a list of mappings.
            ids: your id of each row, or None.
            synthetic: as in `predict`.
            client: as in `predict`.

        Raises:
            StoreError: as in `predict`.
            ValueError: there are fewer or more ids than rows.
        """
        process = self._open_model()
        if ids is None and is_frame(rows):
            blocks = (rows[start : start + MOST_ROWS] for start in range(0, len(rows), MOST_ROWS))
            return [each for block in blocks for each in self.predict_frame(block, synthetic, client).results()]
        table = plain_rows(self._schema, rows)
        names = [None] * len(table) if ids is None else list(ids)
        if len(names) != len(table):
            raise ValueError(f"{len(names)} ids for {len(table)} rows")
        items = [(row, text, None) for row, text in zip(table, names, strict=True)]
        return self._answer_blocks(process.predictions, items, client, synthetic)

    def predict_frame(
        self,
        table: Any,
        synthetic: bool = False,
        client: str = "",
        *,
        prepare: Prepare = dict,
        ids: Sequence[str] = (),
        is_retry: bool = False,
    ) -> FrameReplies:
        """The replies to the rows of a data frame, by column, in one commit; raises as `predict_many`.

        Args:
            table: of one block of rows; columns that are no features are ignored.
            synthetic: as in `predict`.
            client: as in `predict`.
            prepare: what is done to a row that is not right at first sight, before it is check_result again.
            ids: of the predictions, one per row of the table; empty where they get new ones.
            is_retry: whether rows with these ids may be answered already: they keep those answers.
        """
        process, source, schema = self._open_model(), self._source(client), self._schema

        def check(row: Mapping[str, object]) -> Row | tuple[Violation, ...]:
            return instances.check_instance(schema, prepare(row))

        check_result = check_columns(schema, columns_of(schema, table), len(table), check)
        self._refuse([*check_result.refusals.values()], source, synthetic)
        ids = [each for place, each in enumerate(ids) if place not in check_result.refusals]
        replies: Sequence[Reply] | None = stored_replies(process.context, check_result.rows, ids) if is_retry else None
        if replies is None:
            replies = process.predictions.submit(ColumnRequests(check_result.rows, synthetic, source, ids))
        return FrameReplies(len(table), check_result.refusals, replies)

    def fallback(
        self,
        features: Mapping[str, object],
        *,
        id: str | None = None,  # noqa: A002 - the name of the field over HTTP
        client: str = "",
    ) -> Prediction:
        """The fallback's answer, whatever the state is, recorded as an answer of the fallback; raises as `predict`."""
        process, request = self._open(), self._request(features, id, False, client)
        identity = identity_of(id, request.row, self.settings.service.hash_salt, synthetic=False, answer=ON_DEMAND)
        return _answer_of(process.fallbacks.submit([request._replace(request_id=identity, on_demand=True)])[0])

    def record(
        self,
        features: Mapping[str, object],
        prediction: Any,
        probabilities: Any = None,
        *,
        confidence: SupportsFloat | None = None,
        id: str | None = None,  # noqa: A002 - the name of the field over HTTP
        client: str = "",
    ) -> Prediction:
        """Record what a model elsewhere has answered: it is logged, watched and judged as this service's answers.

        Such a caller follows `state` itself: while it `is_bypassed`, use `fallback` instead of the model.

        Args:
            features: as in `predict`.
            prediction: a class of the service's model, or a number.
            probabilities: class -> probability, or a sequence in the order of `classes`; needed where the confidence
                is a class's probability. Their sum is 1.
            confidence: in [0, 1], where the probabilities do not give it.
            id: as in `predict`.
            client: as in `predict`.

        Raises:
            InvalidFeatures: features, prediction or probabilities are wrong; recorded as a refusal.
            IdInUse, StoreError: as in `predict`.
        """
        process = self._open()
        outcome = plain_outcome(process.context.model, prediction, probabilities, confidence)
        if not isinstance(outcome, Outcome):
            self._refuse([outcome], self._source(client), False)
            raise InvalidFeatures(outcome)
        request = self._request(features, id, False, client, outcome)
        return _answer_of(process.outcomes.submit([request])[0])

    def record_many(
        self,
        rows: Any,
        predictions: Iterable[Any],
        probabilities: Any = None,
        *,
        confidences: Sequence[SupportsFloat | None] | None = None,
        ids: Sequence[str | None] | None = None,
        client: str = "",
    ) -> list[Prediction | InvalidFeatures | IdInUse]:
        """Per row its record or its error, in order, as `record`; committed in blocks, as by `predict_many`.

        Args:
            rows: as in `predict_many`.
            predictions: one per row.
            probabilities: one per row, as in `record`; or an array, or a data frame with a column per class.
            confidences: one per row.
            ids: as in `predict_many`.
            client: as in `predict`.

        Raises:
            StoreError: as in `predict`.
            ValueError: the arguments are not of the same length.
        """
        process = self._open()
        table = plain_rows(self._schema, rows)
        nothing = [None] * len(table)
        shares = probability_rows(probabilities)
        extras = zip(*(nothing if each is None else each for each in (shares, confidences, ids)), strict=True)
        items = [
            (row, text, plain_outcome(process.context.model, prediction, numbers, confidence))
            for row, prediction, (numbers, confidence, text) in zip(table, predictions, extras, strict=True)
        ]
        return self._answer_blocks(process.outcomes, items, client, False)

    def state(self) -> GuardState:
        """The state that applies at this moment.

        Raises:
            StoreError: it cannot be read: unknown is not NORMAL.
        """
        context = self._open().context
        state = predict.read_state(context)
        reason = why_bypassed(self.settings, state, context.consistency.problem)
        return GuardState(
            state.state.value,
            state.reason,
            reason is not None,
            reason,
            state.damaged_features,
            state.stale,
            state.watched,
            state.judged,
            state.judged_at,
            self.settings.service.mode,
            context.model.version,
        )

    def close(self) -> None:
        """Close the connections. A later call opens them again."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.context.close()

    def __enter__(self) -> "Guard":
        """The guard."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:  # noqa: ARG002 - what FastAPI passes
        """The lifespan of an ASGI application that uses the guard: `FastAPI(lifespan=guard.lifespan)`."""
        process = self._open()
        try:
            yield
        finally:
            batcher = process.loops.pop(asyncio.get_running_loop(), None)
            if batcher is not None:
                await batcher.close()
            await asyncio.to_thread(self.close)

    def _open(self) -> GuardProcess:
        process = self._process
        if process is not None:
            return process
        with self._lock:
            if self._process is None:
                self._context = serving_context(self.settings, self._clock, like=self._context)
                if self._context.failover is not None:
                    self._context.failover.start()
                self._process = GuardProcess(self._context)
            return self._process

    def _open_model(self) -> GuardProcess:
        """What the guard has, with a model that can answer; raises `NoModel` if that runs elsewhere."""
        process = self._open()
        if process.context.model.is_external:
            raise NoModel
        return process

    def _source(self, client: str) -> str | None:
        return source_of(f"guard:{client}" if client else "", self.settings.service.hash_salt)

    def _check(self, features: object, text: str | None) -> Row | tuple[Violation, ...]:
        """The clean row, or all that is wrong with a request."""
        check = instances.check_instance(self._schema, plain_row(features))
        violation = None if text is None else id_violation(text)
        if violation is None:
            return check
        return (violation, *(check if isinstance(check, tuple) else ()))

    def _request(
        self, features: object, text: str | None, synthetic: bool, client: str, outcome: Outcome | None = None
    ) -> PredictionRequest:
        """The request; a wrong one is recorded.

        Raises:
            InvalidFeatures: it is wrong.
        """
        source = self._source(client)
        check = self._check(features, text)
        if isinstance(check, tuple):
            self._refuse([check], source, synthetic)
            raise InvalidFeatures(check)
        return self._request_of(check, text, source, synthetic, outcome)

    def _request_of(
        self, row: Row, text: str | None, source: str | None, synthetic: bool, outcome: Outcome | None = None
    ) -> PredictionRequest:
        salt, answer = self.settings.service.hash_salt, "" if outcome is None else as_text(outcome.prediction)
        identity = identity_of(text, row, salt, synthetic=synthetic, answer=answer)
        return PredictionRequest(row, synthetic, source, identity, outcome)

    def _answer_blocks(
        self, batcher: ThreadBatcher[PredictionRequest, Reply], items: Sequence[Item], client: str, synthetic: bool
    ) -> list[Prediction | InvalidFeatures | IdInUse]:
        source = self._source(client)
        blocks = (items[start : start + MOST_ROWS] for start in range(0, len(items), MOST_ROWS))
        return [each for block in blocks for each in self._answer_block(batcher, block, source, synthetic)]

    def _answer_block(
        self,
        batcher: ThreadBatcher[PredictionRequest, Reply],
        items: Sequence[Item],
        source: str | None,
        synthetic: bool,
    ) -> list[Prediction | InvalidFeatures | IdInUse]:
        checks: list[Row | tuple[Violation, ...]] = []
        requests = []
        for row, text, outcome in items:
            check = self._check(row, text)
            if isinstance(outcome, tuple) and not isinstance(outcome, Outcome):
                check = (*outcome, *(check if isinstance(check, tuple) else ()))
            elif not isinstance(check, tuple):
                requests.append(self._request_of(check, text, source, synthetic, outcome))
            checks.append(check)
        self._refuse([check for check in checks if isinstance(check, tuple)], source, synthetic)
        replies = iter(batcher.submit(requests))
        return [InvalidFeatures(check) if isinstance(check, tuple) else result_of(next(replies)) for check in checks]

    def _refuse(self, checks: Sequence[Sequence[Violation]], source: str | None, synthetic: bool) -> None:
        """Record wrong requests, which changes nothing for the caller; synthetic ones are no evidence."""
        if synthetic or not checks:
            return
        process = self._open()
        record = partial(instances.recorded_violation, self._schema)
        with note_lost_refusals():
            process.refusals.submit([Refusal(tuple(map(record, check)), source) for check in checks])

    def _before_fork(self) -> None:
        """Close idle connections: a child that closed one would harm the parent's."""
        if self._process is not None:
            with suppress(StillsafeError):
                self._process.context.engine.dispose()

    def _after_fork(self) -> None:
        """Forget what belongs to the parent; the next call opens the child's own. Model and fallback are shared."""
        self._lock = Lock()
        if self._process is not None:
            _PARENTS.append(self._process)
            self._process = None


_GUARDS: "WeakSet[Guard]" = WeakSet()
_PARENTS: list[GuardProcess] = []
"""What forks have inherited: it is kept, because the end of a connection of the parent would harm the parent's."""


def _answer_of(reply: Reply) -> Prediction:
    result = result_of(reply)
    if isinstance(result, IdInUse):
        raise result
    return result


def _for_all(act: Callable[[Guard], None]) -> None:
    for guard in list(_GUARDS):
        act(guard)


os.register_at_fork(before=partial(_for_all, Guard._before_fork), after_in_child=partial(_for_all, Guard._after_fork))
