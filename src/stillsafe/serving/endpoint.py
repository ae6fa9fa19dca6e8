"""Where predictions are asked for: a body in, and, once they are recorded, the answers out as bytes.

The same two functions stand behind FastAPI's routes and the shortcut past them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from stillsafe.core.schema import Row
from stillsafe.errors import StillsafeError, StoreError
from stillsafe.serving import metrics, predict
from stillsafe.serving.batcher import Lane
from stillsafe.serving.body import instances, json_body
from stillsafe.serving.body.fast_decoder import TypedBody
from stillsafe.serving.metrics import Metrics
from stillsafe.serving.predict import Answered, Context
from stillsafe.serving.problems import RefusedRequest, Wrong, invalid
from stillsafe.serving.schemas import prediction_document

logger = logging.getLogger(__name__)

Kinds = tuple[tuple[str, str], ...]
Ask = Callable[[Scope, Receive], Awaitable[bytes]]
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Desk:
    """Where requests are taken: what reads most of them, the lanes they wait in, and what is counted about them."""

    context: Context
    usual: TypedBody
    rows: Lane[Row, Answered]
    refusals: Lane[Kinds, None]
    metrics: Metrics

    async def one(self, scope: Scope, receive: Receive) -> bytes:
        """The answer to `{"features": {...}}`, as JSON.

        Raises:
            RefusedRequest: there is something wrong with it; that is recorded.
            StoreError: it cannot be recorded, so there is no answer.
        """
        with self.metrics.one_seconds.time():
            try:
                row = await self._row(scope, receive)
            except RefusedRequest as refused:
                await self._refuse([refused.problem.violations])
                raise
            answered = await self._answer([row])
            return _encode(prediction_document(answered[0]))

    async def batch(self, scope: Scope, receive: Receive) -> bytes:
        """The answers to `{"instances": [...]}`, in order, as JSON; an instance that is refused costs only itself.

        Raises: as `one`.
        """
        with self.metrics.batch_seconds.time():
            try:
                checked = await self._rows(scope, receive)
            except RefusedRequest as refused:
                await self._refuse([refused.problem.violations])
                raise
            rows = [each for each in checked if isinstance(each, dict)]
            wrong = [each for each in checked if isinstance(each, tuple)]
            answered, _ = await asyncio.gather(self._answer(rows), self._refuse(wrong))
            return _encode({"results": _results(checked, answered)})

    async def _row(self, scope: Scope, receive: Receive) -> Row:
        content = await self._content(scope, receive)
        usual = self.usual.one(content)
        if usual is not None:
            return usual
        checked = instances.one(self.context.model.features, json_body.parse(content))
        if isinstance(checked, tuple):
            raise RefusedRequest(invalid(checked))
        return checked

    async def _rows(self, scope: Scope, receive: Receive) -> Sequence[Row | tuple[Wrong, ...]]:
        content = await self._content(scope, receive)
        usual = self.usual.many(content)
        if usual is not None:
            return usual
        given = instances.many(json_body.parse(content), self.context.settings.serving.max_batch)
        return [instances.row(self.context.model.features, each) for each in given]

    async def _content(self, scope: Scope, receive: Receive) -> bytes:
        return await json_body.content(scope, receive, self.context.settings.serving.max_body_bytes)

    async def _answer(self, rows: Sequence[Row]) -> list[Answered]:
        try:
            answered = await self.rows.submit(rows)
        except StoreError:
            self.metrics.store_errors.inc()
            raise
        self.metrics.answered(answered)
        return answered

    async def _refuse(self, refused: Sequence[Sequence[Wrong]]) -> None:
        """Record refused requests. One that cannot be recorded is refused all the same."""
        for wrong in refused:
            self.metrics.refused(wrong)
        try:
            await self.refusals.submit([tuple((each.feature, each.kind) for each in wrong) for wrong in refused])
        except StillsafeError as error:
            self.metrics.store_errors.inc()
            logger.error("refusals could not be recorded", extra={"fields": {"error": str(error)}})


def opened(context: Context) -> Desk:
    """The desk of a context, its lanes not open yet."""
    most = context.settings.serving.max_batch
    return Desk(
        context,
        TypedBody(context.model.features, most),
        Lane(partial(predict.answer, context), min(most, predict.DRAIN_ROWS)),
        Lane(partial(predict.refuse, context), most),
        metrics.build(context),
    )


def _results(checked: Sequence[Row | tuple[Wrong, ...]], answered: Sequence[Answered]) -> list[dict[str, Any]]:
    answers = iter(answered)
    return [
        prediction_document(next(answers)) if isinstance(each, dict) else {"error": invalid(each).document()}
        for each in checked
    ]
