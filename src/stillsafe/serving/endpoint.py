"""The prediction endpoint: from a request's body to the answer's bytes, once the answer is recorded.

FastAPI's routes and the fast path call the same two methods.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from stillsafe.core.schema import Row, Violation
from stillsafe.errors import StillsafeError, StoreError
from stillsafe.logs import LogEvent, log_event
from stillsafe.serving import metrics, predict
from stillsafe.serving.batcher import MicroBatcher
from stillsafe.serving.body import instances, json_body
from stillsafe.serving.body.fast_decoder import FastBodyDecoder
from stillsafe.serving.metrics import Metrics
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import RefusedRequest, schema_problem
from stillsafe.serving.schemas import prediction_document
from stillsafe.store.records import PredictionRecord

logger = logging.getLogger(__name__)

Defects = tuple[tuple[str, str], ...]
"""The (feature, kind) pairs of one refused request."""
RequestMethod = Callable[[Scope, Receive], Awaitable[bytes]]
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Body:
    """A request's body.

    Attributes:
        content: the bytes.
        synthetic: whether the headers, or a document that was parsed, mark it as no evidence.
    """

    content: bytes = b""
    synthetic: bool = False

    def document(self) -> Any:
        """The body as Python values, by the strict parser.

        Raises:
            RefusedRequest: it is no JSON.
        """
        document = json_body.parse(self.content)
        self.synthetic = self.synthetic or instances.is_synthetic(document)
        return document


@dataclass(frozen=True, slots=True)
class PredictionEndpoint:
    """Answers prediction requests.

    Attributes:
        context: what answering needs.
        decoder: reads ordinary bodies; the strict parser reads the others.
        predictions: answers rows in batches, each with whether it is synthetic.
        refusals: records refused requests in batches.
        metrics: the counters.
    """

    context: Context
    decoder: FastBodyDecoder
    predictions: MicroBatcher[tuple[Row, bool], PredictionRecord]
    refusals: MicroBatcher[Defects, None]
    metrics: Metrics

    async def predict(self, scope: Scope, receive: Receive) -> bytes:
        """The answer to `{"features": {...}}`, as JSON.

        Raises:
            RefusedRequest: the request is wrong; the refusal is recorded.
            StoreError: the answer cannot be recorded, so it is not given.
        """
        with self.metrics.predict_seconds.time():
            body = _Body()
            try:
                await self._read(body, scope, receive)
                row = self._row(body)
            except RefusedRequest as refusal:
                await self._record_refusals([refusal.problem.violations], synthetic=body.synthetic)
                raise
            records = await self._answer([(row, body.synthetic)])
            return _encode(prediction_document(records[0]))

    async def predict_batch(self, scope: Scope, receive: Receive) -> bytes:
        """The answers to `{"instances": [...]}`, in order, as JSON. Each instance is answered or refused by itself.

        Raises: as `predict`.
        """
        with self.metrics.batch_seconds.time():
            body = _Body()
            try:
                await self._read(body, scope, receive)
                checks = self._checks(body)
            except RefusedRequest as refusal:
                await self._record_refusals([refusal.problem.violations], synthetic=body.synthetic)
                raise
            requests = [(each, body.synthetic) for each in checks if isinstance(each, dict)]
            refusals = [each for each in checks if isinstance(each, tuple)]
            records, _ = await asyncio.gather(
                self._answer(requests), self._record_refusals(refusals, synthetic=body.synthetic)
            )
            return _encode({"results": _results(checks, records)})

    async def _read(self, body: _Body, scope: Scope, receive: Receive) -> None:
        body.synthetic = json_body.has_synthetic_header(scope["headers"])
        body.content = await json_body.read_body(scope, receive, self.context.settings.serving.max_body_bytes)

    def _row(self, body: _Body) -> Row:
        row = self.decoder.decode_single(body.content)
        if row is not None:
            return row
        check = instances.check_single(self.context.model.features, body.document())
        if isinstance(check, tuple):
            raise RefusedRequest(schema_problem(check))
        return check

    def _checks(self, body: _Body) -> Sequence[Row | tuple[Violation, ...]]:
        """Per instance its row or its violations."""
        rows = self.decoder.decode_batch(body.content)
        if rows is not None:
            return rows
        batch = instances.batch_instances(body.document(), self.context.settings.serving.max_batch)
        return [instances.check_instance(self.context.model.features, each) for each in batch]

    async def _answer(self, requests: Sequence[tuple[Row, bool]]) -> list[PredictionRecord]:
        try:
            records = await self.predictions.submit(requests)
        except StoreError:
            self.metrics.store_errors.inc()
            raise
        self.metrics.count_answers(records)
        return records

    async def _record_refusals(self, refusals: Sequence[Sequence[Violation]], *, synthetic: bool = False) -> None:
        """Record refused requests. A failure to record changes nothing for the client.

        Synthetic ones are counted in the metrics alone: every recorded refusal is evidence.
        """
        for violations in refusals:
            self.metrics.count_refusal(violations)
        if synthetic:
            self.metrics.synthetic_requests.inc(len(refusals))
            return
        try:
            await self.refusals.submit([tuple((each.feature, each.kind) for each in refusal) for refusal in refusals])
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
        MicroBatcher(partial(predict.answer_requests, context), min(most, predict.MAX_BATCH_ROWS)),
        MicroBatcher(partial(predict.record_refusals, context), most),
        metrics.build(context),
    )


def _results(
    checks: Sequence[Row | tuple[Violation, ...]], records: Sequence[PredictionRecord]
) -> list[dict[str, Any]]:
    answers = iter(records)
    return [
        prediction_document(next(answers)) if isinstance(check, dict) else {"error": schema_problem(check).document()}
        for check in checks
    ]
