"""The prediction endpoint: from a request's body to the answer's bytes, once the answer is recorded.

FastAPI's routes and the fast path call the same two methods.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.types import Receive, Scope

from stillsafe.core.schema import Row, Violation
from stillsafe.core.score import as_text
from stillsafe.errors import NoModel, StillsafeError, StoreError
from stillsafe.logs import LogEvent, log_event
from stillsafe.model.column_check import check_columns
from stillsafe.model.feature_columns import FeatureColumns
from stillsafe.serving import inference, metrics, outcomes, predict
from stillsafe.serving.access.access_control import has_scope
from stillsafe.serving.access.keys import KeyScope
from stillsafe.serving.access.rate_limit import charge_items
from stillsafe.serving.batcher import MicroBatcher
from stillsafe.serving.body import instances, json_body, request_id, tensors
from stillsafe.serving.body.fast_decoder import FastBodyDecoder
from stillsafe.serving.body.tensor_decoder import TensorDecoder
from stillsafe.serving.body.tensors import InferenceRequest
from stillsafe.serving.client import KEY_NAME, client_of
from stillsafe.serving.column_document import answer_texts
from stillsafe.serving.inference import inference_document
from stillsafe.serving.metrics import Metrics
from stillsafe.serving.predict import Context
from stillsafe.serving.prediction_request import ColumnRequests, IdConflict, Outcome, PredictionRequest, Refusal
from stillsafe.serving.problems import RefusedRequest, id_conflict_problem, schema_problem
from stillsafe.serving.reasons import public_reason, whole_reason
from stillsafe.serving.schemas import prediction_document
from stillsafe.serving.sources import source_of
from stillsafe.store.prediction_columns import PredictionColumns
from stillsafe.store.records import PredictionRecord
from stillsafe.time_share import TimeShare
from stillsafe.tracing import TRACE

logger = logging.getLogger(__name__)

T = TypeVar("T")
Checks = Sequence[Row | tuple[Violation, ...]]
"""Per instance its row or its violations."""
Reply = PredictionRecord | IdConflict
LARGE_BYTES = 16_384
"""Wrong bodies that are not longer cost too little to leave the event loop."""
FEWEST_COLUMN_ROWS = 16
"""Fewer rows of a request are answered sooner by row."""
PART_RESULTS = 100
"""Results of a batch that are encoded in one turn of the event loop."""
ID_KEY, ENVELOPE_KEY = b'"id"', b'"features"'
"""What a body with ids has; the decoder without ids would read it first, in vain."""
RequestMethod = Callable[[Scope, Receive], Awaitable[bytes]]
ReasonOf = Callable[[PredictionRecord], str]
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Body:
    """A request's body.

    Attributes:
        content: the bytes.
        synthetic: whether the headers, or a document that was parsed, mark it as no evidence.
        key: the value of the header `Idempotency-Key`, or None.
        source: salted hash of the client that sent it, if known.
        trace_id: that the client named, where the log keeps it, or None.
    """

    content: bytes = b""
    synthetic: bool = False
    key: str | None = None
    source: str | None = None
    trace_id: str | None = None

    @property
    def is_large(self) -> bool:
        """Whether the strict parser takes so long for it that it runs in a thread."""
        return len(self.content) > LARGE_BYTES

    def document(self) -> Any:
        """The body as Python values, by the strict parser.

        Raises:
            RefusedRequest: it is no JSON.
        """
        document = json_body.parse(self.content, interruptible=self.is_large)
        self.synthetic = self.synthetic or instances.is_synthetic(document)
        return document


@dataclass(frozen=True, slots=True)
class PredictionEndpoint:
    """Answers prediction requests.

    Attributes:
        context: what answering needs.
        decoder: reads ordinary bodies; the strict parser reads the others.
        tensor_decoder: the same for tensors of one row.
        predictions: answers rows in batches.
        refusals: records refused requests in batches.
        metrics: the counters.
        body_time: parses large bodies that are not ordinary.
    """

    context: Context
    decoder: FastBodyDecoder
    tensor_decoder: TensorDecoder
    predictions: MicroBatcher[PredictionRequest, Reply]
    refusals: MicroBatcher[Refusal, None]
    metrics: Metrics
    body_time: TimeShare = field(default_factory=TimeShare)

    def start(self) -> None:
        """Accept requests in the running event loop. No effect if it does already."""
        if self.context.failover is not None:
            self.context.failover.start()
        self.predictions.start()
        self.refusals.start()

    async def close(self) -> None:
        """Answer what was accepted, accept nothing more, and leave no thread and no open file."""
        await self.predictions.close()
        await self.refusals.close()
        await asyncio.to_thread(self.context.close)

    async def predict(self, scope: Scope, receive: Receive, *, on_demand: bool = False) -> bytes:
        """The answer to `{"features": {...}}`, as JSON; the fallback's in any state if it is on demand.

        Raises:
            NoModel: the model runs elsewhere, and the fallback is not asked.
            RefusedRequest: the request is wrong; the refusal is recorded.
            StoreError: the answer cannot be recorded, so it is not given.
        """
        if self.context.model.is_external and not on_demand:
            raise NoModel
        with self.metrics.predict_seconds.time():
            body = _Body()
            try:
                await self._read(body, scope, receive)
                row, text = await self._row(body)
                text = request_id.single_id(text, body.key)
            except RefusedRequest as refusal:
                await self._record_refusals([refusal.problem.violations], body)
                raise
            (reply,) = await self._answer([self._request(body, row, text, on_demand=on_demand)])
            if isinstance(reply, IdConflict):
                raise RefusedRequest(id_conflict_problem())
            return _encode(prediction_document(reply, self._reason_of(scope)))

    async def fallback(self, scope: Scope, receive: Receive) -> bytes:
        """The fallback's answer to `{"features": {...}}` whatever the state is, as JSON. Raises: as `predict`."""
        return await self.predict(scope, receive, on_demand=True)

    async def predict_batch(self, scope: Scope, receive: Receive) -> bytes:
        """The answers to `{"instances": [...]}`, in order, as JSON. Each instance is answered or refused by itself.

        Raises: as `predict`.
        """
        if self.context.model.is_external:
            raise NoModel
        with self.metrics.batch_seconds.time():
            body = _Body()
            try:
                await self._read(body, scope, receive)
                checks, texts = await self._checks(body)
            except RefusedRequest as refusal:
                await self._record_refusals([refusal.problem.violations], body)
                raise
            charge_items(scope, len(checks))
            if isinstance(checks, FeatureColumns) and body.key is None and len(checks) >= FEWEST_COLUMN_ROWS:
                columns = ColumnRequests(checks, body.synthetic, body.source, trace_id=body.trace_id)
                replies = await self._answer(columns)
                return await _joined_parts(_column_document(checks, replies, self._reason_of(scope)))
            texts = request_id.batch_ids(texts, body.key)
            pairs = zip(checks, texts, strict=True)
            requests = [self._request(body, check, text) for check, text in pairs if isinstance(check, dict)]
            refusals = [each for each in checks if isinstance(each, tuple)]
            records, _ = await asyncio.gather(self._answer(requests), self._record_refusals(refusals, body))
            answer_parts = _batch_document(checks, records, self._reason_of(scope))
            if refusals and body.is_large:
                return b"".join(await asyncio.to_thread(list, answer_parts))
            return await _joined_parts(answer_parts)

    async def record(self, scope: Scope, receive: Receive) -> bytes:
        """The record of what a model elsewhere has answered, as JSON: `{"features": ..., "prediction": ...}`.

        Raises: as `predict`.
        """
        with self.metrics.record_seconds.time():
            body = _Body()
            try:
                await self._read(body, scope, receive)
                row, outcome, text = await self._parse(body, partial(self._parsed_outcome, body))
                text = request_id.single_id(text, body.key)
            except RefusedRequest as refusal:
                await self._record_refusals([refusal.problem.violations], body)
                raise
            (reply,) = await self._answer([self._request(body, row, text, outcome)])
            if isinstance(reply, IdConflict):
                raise RefusedRequest(id_conflict_problem())
            return _encode(prediction_document(reply, self._reason_of(scope)))

    async def infer(self, scope: Scope, receive: Receive) -> bytes:
        """The answer to a request of the Open Inference Protocol, as JSON. A wrong row refuses the whole request.

        Raises: as `predict`.
        """
        if self.context.model.is_external:
            raise NoModel
        with self.metrics.infer_seconds.time():
            body = _Body()
            try:
                binary_start = json_body.inference_header_length(scope["headers"])
                await self._read(body, scope, receive, binary=binary_start is not None)
                request, checks = await self._parse(body, partial(self._parsed_tensors, body, binary_start))
                is_clean = isinstance(checks, FeatureColumns)
                refusals = [] if is_clean else [check for check in checks if isinstance(check, tuple)]
                if refusals:
                    raise RefusedRequest(schema_problem(refusals[0]))
            except RefusedRequest as refusal:
                await self._record_refusals([refusal.problem.violations], body)
                raise
            charge_items(scope, len(checks))
            key = body.key
            texts = [key] if len(checks) == 1 else request_id.batch_ids([None] * len(checks), key)
            requests: Sequence[PredictionRequest]
            if isinstance(checks, FeatureColumns) and key is None:
                requests = ColumnRequests(checks, body.synthetic, body.source, trace_id=body.trace_id)
            else:
                pairs = zip(checks, texts, strict=True)
                requests = [self._request(body, row, text) for row, text in pairs if isinstance(row, dict)]
            replies = await self._answer(requests)
            records: Sequence[PredictionRecord] = (
                replies
                if isinstance(replies, PredictionColumns)
                else [reply for reply in replies if isinstance(reply, PredictionRecord)]
            )
            if len(records) < len(replies):
                raise RefusedRequest(id_conflict_problem())
            name, model, reason_of = self.context.settings.service.name, self.context.model, self._reason_of(scope)
            return _encode(inference_document(name, model, request, records, reason_of))

    async def _read(self, body: _Body, scope: Scope, receive: Receive, *, binary: bool = False) -> None:
        body.source = source_of(client_of(scope, scope.get(KEY_NAME)), self.context.settings.service.hash_salt)
        body.synthetic = json_body.has_synthetic_header(scope["headers"])
        if (trace := TRACE.get()) is not None and self.context.model.features.scorable_from_log:
            body.trace_id = trace.get("trace_id") or trace.get("request_id")
        body.key = request_id.idempotency_key(scope["headers"])
        body.content = await json_body.read_body(
            scope, receive, self.context.settings.serving.max_body_bytes, binary=binary
        )

    def _request(
        self, body: _Body, row: Row, text: str | None, outcome: Outcome | None = None, *, on_demand: bool = False
    ) -> PredictionRequest:
        salt, answer = self.context.settings.service.hash_salt, request_id.ON_DEMAND if on_demand else ""
        answer = answer if outcome is None else as_text(outcome.prediction)
        identity = request_id.identity_of(text, row, salt, synthetic=body.synthetic, answer=answer)
        return PredictionRequest(row, body.synthetic, body.source, identity, outcome, on_demand, body.trace_id)

    async def _row(self, body: _Body) -> tuple[Row, str | None]:
        """The row and the id in the body."""
        if ID_KEY not in body.content:
            row = self.decoder.decode_single(body.content)
            if row is not None:
                return row, None
        elif (identified_row := self.decoder.decode_identified(body.content)) is not None:
            return identified_row
        return await self._parse(body, partial(self._parsed_row, body))

    async def _checks(self, body: _Body) -> tuple[Checks, Sequence[str | None]]:
        """Per instance its row or its violations, and its id."""
        if ENVELOPE_KEY in body.content:
            identified_rows = self.decoder.decode_identified_batch(body.content)
            if identified_rows is not None:
                return identified_rows
        rows = self.decoder.decode_batch(body.content)
        if rows is not None:
            return rows, [None] * len(rows)
        return await self._parse(body, partial(self._parsed_checks, body))

    async def _parse(self, body: _Body, parse: Callable[[], T]) -> T:
        return await self.body_time.run(parse) if body.is_large else parse()

    def _parsed_row(self, body: _Body) -> tuple[Row, str | None]:
        document = body.document()
        check = instances.check_single(self.context.model.features, document)
        if isinstance(check, tuple):
            raise RefusedRequest(schema_problem(check))
        return check, instances.request_id_of(document)

    def _parsed_checks(self, body: _Body) -> tuple[Checks, Sequence[str | None]]:
        schema = self.context.model.features
        batch = instances.batch_instances(body.document(), self.context.settings.serving.max_batch)
        features, ids = instances.split_envelopes(schema, batch)
        return instances.check_instances(schema, features, len(body.content), ids), ids

    def _parsed_outcome(self, body: _Body) -> tuple[Row, Outcome, str | None]:
        """The row and the outcome of a body of `/v1/record`, and its id."""
        document = body.document()
        check = outcomes.check_recorded(self.context.model.features, self.context.model, document)
        if len(check) == 2 and isinstance(check[1], Outcome):
            return *check, instances.request_id_of(document)
        raise RefusedRequest(schema_problem(check))

    def _parsed_tensors(self, body: _Body, binary_start: int | None) -> tuple[InferenceRequest, Checks]:
        """The request of the Open Inference Protocol, and per row its features or its violations."""
        schema, content = self.context.model.features, body.content
        body.content = content if binary_start is None else content[:binary_start]
        binary = b"" if binary_start is None else content[binary_start:]
        if binary_start is None and (plain := self.tensor_decoder.decode_row(content)) is not None:
            request, row = plain
            return request, [row]
        request = tensors.plain_request(body.content) or tensors.inference_request(body.document())
        columns = tensors.columns_of(schema, request, binary, self.context.settings.serving.max_batch)
        inference.require_outputs(self.context.model, request)
        count = len(next(iter(columns.values())))
        if count >= FEWEST_COLUMN_ROWS and columns.keys() <= set(schema.names):
            result = check_columns(schema, columns, count, partial(instances.check_instance, schema))
            return request, result.rows if not result.refusals else [result.refusals[min(result.refusals)]]
        rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        return request, instances.check_instances(schema, rows, len(content))

    async def _answer(self, requests: Sequence[PredictionRequest]) -> Sequence[Reply]:
        try:
            records = await self.predictions.submit(requests)
        except StoreError:
            self.metrics.store_errors.inc()
            raise
        self.metrics.count_replies(records)
        return records

    def _reason_of(self, scope: Scope) -> ReasonOf:
        """The reason that a client may see: rules and figures are the service's own, and the log has the whole one."""
        is_public = self.context.settings.exposure.keys and not has_scope(scope, KeyScope.READ)
        return public_reason if is_public else whole_reason

    async def _record_refusals(self, refusals: Sequence[Sequence[Violation]], body: _Body) -> None:
        """Record refused requests. A failure to record changes nothing for the client.

        Synthetic ones are counted in the metrics alone: every recorded refusal is evidence.
        """
        self.metrics.count_refusals(refusals)
        if body.synthetic:
            self.metrics.synthetic_requests.inc(len(refusals))
            return
        try:
            record = partial(instances.recorded_violation, self.context.model.features)
            await self.refusals.submit([Refusal(tuple(map(record, each)), body.source) for each in refusals])
        except StillsafeError as error:
            self.metrics.store_errors.inc()
            if not isinstance(error, StoreError):  # those are logged where an outage begins and ends
                log_event(logger, LogEvent.REFUSALS_LOST, {"error": str(error)})


def build(context: Context) -> PredictionEndpoint:
    """The endpoint of a context; its batchers are not started."""
    most = context.settings.serving.max_batch
    return PredictionEndpoint(
        context,
        FastBodyDecoder(context.model.features, most),
        TensorDecoder(context.model.features),
        # A batch is written after its last answer, so it can be answered again.
        MicroBatcher(partial(outcomes.answer_any, context), min(most, predict.MAX_BATCH_ROWS), is_repeatable=True),
        MicroBatcher(partial(predict.record_refusals, context), most),
        metrics.build(context),
    )


async def _joined_parts(answer_parts: Iterator[bytes]) -> bytes:
    parts = []
    for part in answer_parts:
        parts.append(part)
        await asyncio.sleep(0)  # a large answer delays no other
    return b"".join(parts)


def _column_document(checks: Checks, replies: Sequence[Reply], reason_of: ReasonOf) -> Iterator[bytes]:
    """The answer to a batch, as `_batch_document`, where no instance is refused."""
    if not isinstance(replies, PredictionColumns):
        yield from _batch_document(checks, replies, reason_of)
        return
    texts = answer_texts(replies, reason_of)
    yield f'{{"results":[{",".join(texts)}]}}'.encode()


def _batch_document(checks: Checks, replies: Sequence[Reply], reason_of: ReasonOf) -> Iterator[bytes]:
    """The answer to a batch, as JSON in parts: per instance its prediction or its problem."""
    iterator, separator = iter(replies), b'{"results":['
    for start in range(0, len(checks), PART_RESULTS):
        results = [
            _reply_document(next(iterator), reason_of)
            if isinstance(check, dict)
            else {"error": schema_problem(check).document()}
            for check in checks[start : start + PART_RESULTS]
        ]
        yield separator + _encode(results)[1:-1]
        separator = b","
    yield b"]}"


def _reply_document(reply: Reply, reason_of: ReasonOf) -> dict[str, Any]:
    if isinstance(reply, IdConflict):
        return {"error": id_conflict_problem().document()}
    return prediction_document(reply, reason_of)
