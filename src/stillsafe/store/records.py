"""The records of a request: an answered prediction, or a refusal."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row
from stillsafe.core.score import as_text
from stillsafe.core.state import State
from stillsafe.store.codec import from_document, to_document

_ANSWER_ONLY = frozenset(
    [
        *("probabilities", "monitor_stale", "watched", "judged", "judged_at", "fallback_kind"),
        *("request_id", "is_repeat"),
    ]
)

isoformat = lru_cache(maxsize=8)(datetime.isoformat)
"""Times as text: the answers of a batch share theirs, and the end of the last run's window."""


@dataclass(frozen=True, slots=True)
class RequestId:
    """The id that a client gave a request, so that a retry of it is no second request.

    Attributes:
        text: the id.
        body_hash: keyed hash of the request's content, 32 hexadecimal digits: a retry has the same.
    """

    text: str
    body_hash: str


@dataclass(slots=True)
class PredictionRecord:
    """One answered request: what is logged before the answer is sent, and what is sent.

    Nothing changes one. A frozen one would take six times as long to make, and every request makes one.

    Attributes:
        prediction_id: unique.
        timestamp: aware UTC.
        model_version: the served version.
        system_state: the state that applied.
        input_summary: the sanitised row.
        prediction: the answer; None where the fallback abstains.
        confidence_score: in [0, 1], or None in a fallback answer.
        fallback_used: whether the fallback answered.
        reason: why the model or the fallback answered, for a person.
        model_error: how the model failed on the row, or None.
        probabilities: of each class, or None; sent and not logged, like the two below.
        monitor_stale: whether the monitor had stopped or had never run.
        watched: whether the model version had an active baseline.
        judged: whether the monitor still reaches a conclusion about this version's requests; sent and not logged.
        judged_at: end of the window of the last run that did, or None; sent and not logged.
        synthetic: whether the client marked the request as no evidence.
        fallback_kind: `rules`, `model` or `abstain`, or None in an answer of the model; sent and not logged.
        request_id: the client's id of the request, or None; logged in a table of its own, with the fields not logged.
        is_repeat: whether this is the stored answer to a retry; neither logged nor sent.
        source: salted hash of the client that sent the request, or None where that is not known; logged and not sent.
        trace_id: of the client's `traceparent`, else its `x-request-id`, or None; logged and not sent.
    """

    prediction_id: str
    timestamp: datetime
    model_version: str
    system_state: State
    input_summary: Row
    prediction: Answer | None
    confidence_score: float | None
    fallback_used: bool
    reason: str
    model_error: str | None = None
    probabilities: dict[str, float] | None = None
    monitor_stale: bool = False
    watched: bool = False
    judged: bool = False
    judged_at: datetime | None = None
    synthetic: bool = False
    fallback_kind: str | None = None
    request_id: RequestId | None = None
    is_repeat: bool = False
    source: str | None = None
    trace_id: str | None = None

    @property
    def decided_by(self) -> str:
        """`model` or `fallback`."""
        return "fallback" if self.fallback_used else "model"

    @property
    def prediction_text(self) -> str | None:
        """The answer as the log stores it."""
        return None if self.prediction is None else as_text(self.prediction)

    def unlogged_answer(self) -> dict[str, Any]:
        """What the answer has and the log lacks, as plain JSON types: with the logged row it is the whole answer."""
        return {
            "prediction": self.prediction,
            "probabilities": self._probability_pairs(),
            "monitor_stale": self.monitor_stale,
            "watched": self.watched,
            "judged": self.judged,
            "judged_at": None if self.judged_at is None else isoformat(self.judged_at),
            "fallback_kind": self.fallback_kind,
        }

    def spool_document(self) -> dict[str, object]:
        """The logged fields as plain JSON types, as the spool stores them."""
        document: dict[str, object] = to_document(self)
        if self.request_id is not None:
            return document | {"probabilities": self._probability_pairs()}
        document = {key: value for key, value in document.items() if key not in _ANSWER_ONLY}
        return document | {"prediction": self.prediction_text}

    def _probability_pairs(self) -> list[list[object]] | None:
        """As pairs, since stored documents sort the keys of objects, and the answer has the order of the classes."""
        return None if self.probabilities is None else [*map(list, self.probabilities.items())]


def spooled_record(document: dict[str, Any]) -> PredictionRecord:
    """The record of `PredictionRecord.spool_document`, also of one by an earlier release.

    Raises:
        pydantic.ValidationError: the document is another one.
    """
    pairs = document.get("probabilities")
    return from_document(PredictionRecord, document | {"probabilities": dict(pairs)} if pairs else document)


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """One refused request: the features at fault and the kinds of error, never the values; `source` as above."""

    timestamp: datetime
    model_version: str
    violations: tuple[tuple[str, str], ...]
    source: str | None = None
