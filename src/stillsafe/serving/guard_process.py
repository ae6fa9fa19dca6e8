"""What a `Guard` has in one process: connections, and batchers for its threads and event loops."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from weakref import WeakKeyDictionary

from stillsafe.serving import predict
from stillsafe.serving.batcher import MicroBatcher
from stillsafe.serving.outcomes import draft_fallback, draft_outcomes
from stillsafe.serving.predict import Context, MakeRecords
from stillsafe.serving.prediction_request import IdConflict, PredictionRequest, Refusal
from stillsafe.serving.thread_batcher import ThreadBatcher
from stillsafe.store.records import PredictionRecord

MOST_ROWS = 1000
"""Most rows of a table in one commit, which other writers of the database wait for."""
Reply = PredictionRecord | IdConflict


@dataclass(slots=True)
class GuardProcess:
    """What a guard has in one process: nothing of it survives a fork."""

    context: Context
    lock: Lock = field(default_factory=Lock)
    loops: "WeakKeyDictionary[asyncio.AbstractEventLoop, MicroBatcher[PredictionRequest, Reply]]" = field(
        default_factory=WeakKeyDictionary
    )
    predictions: ThreadBatcher[PredictionRequest, Reply] = field(init=False)
    fallbacks: ThreadBatcher[PredictionRequest, Reply] = field(init=False)
    outcomes: ThreadBatcher[PredictionRequest, Reply] = field(init=False)
    refusals: ThreadBatcher[Refusal, None] = field(init=False)

    def __post_init__(self) -> None:
        self.predictions = self._batcher()
        self.fallbacks = self._batcher(draft_fallback)
        self.outcomes = self._batcher(draft_outcomes)
        record_refusals = partial(predict.record_refusals, self.context)
        self.refusals = ThreadBatcher(record_refusals, MOST_ROWS, Lock())

    def _batcher(self, make: MakeRecords | None = None) -> ThreadBatcher[PredictionRequest, Reply]:
        answer = partial(predict.answer_requests, self.context, make=make)
        return ThreadBatcher(answer, predict.MAX_BATCH_ROWS, self.lock)

    def loop_batcher(self) -> MicroBatcher[PredictionRequest, Reply]:
        """The batcher of the running event loop."""
        loop = asyncio.get_running_loop()
        batcher = self.loops.get(loop)
        if batcher is None:
            self._forget_closed_loops()
            batcher = self.loops[loop] = MicroBatcher(self.predictions.submit, predict.MAX_BATCH_ROWS)
            batcher.start()
        return batcher

    def _forget_closed_loops(self) -> None:
        """Let go of loops that have ended: a batcher holds its loop, so each call of `asyncio.run` would leave one."""
        for loop in [each for each in self.loops if each.is_closed()]:
            self.loops.pop(loop, None)
