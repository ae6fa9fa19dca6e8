"""Prediction requests, and what a retry of one gets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, overload

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row
from stillsafe.errors import StoreError
from stillsafe.model.feature_columns import FeatureColumns
from stillsafe.store.read.request_id import IdOwner
from stillsafe.store.records import PredictionRecord, RequestId


class Outcome(NamedTuple):
    """What a model elsewhere answered.

    Attributes:
        prediction: a class of the service's model, or a number.
        confidence: in [0, 1], or None where the model has none.
        probabilities: class -> probability, or None.
    """

    prediction: Answer
    confidence: float | None
    probabilities: dict[str, float] | None = None


class PredictionRequest(NamedTuple):
    """A request that can be answered.

    Attributes:
        row: clean, in the form of the schema.
        synthetic: whether its client marked it as no evidence.
        source: salted hash of the client, if known.
        request_id: the client's id of it, if it has one.
        outcome: what a model elsewhere has answered, or None.
        on_demand: whether the fallback is to answer, whatever the state is.
        trace_id: that the client named, to be logged, or None.
    """

    row: Row
    synthetic: bool = False
    source: str | None = None
    request_id: RequestId | None = None
    outcome: Outcome | None = None
    on_demand: bool = False
    trace_id: str | None = None


class ColumnRequests(Sequence[PredictionRequest]):
    """Requests of one client without ids, by column.

    Args:
        rows: clean.
        synthetic, source: as in `PredictionRequest`, of all rows.
        ids: of the predictions, one per row; empty where they get new ones.
        trace_id: as in `PredictionRequest`, of all rows.
    """

    def __init__(
        self,
        rows: FeatureColumns,
        synthetic: bool = False,
        source: str | None = None,
        ids: Sequence[str] = (),
        trace_id: str | None = None,
    ) -> None:
        self.rows, self.synthetic, self.source, self.ids = rows, synthetic, source, ids
        self.trace_id = trace_id

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> PredictionRequest: ...
    @overload
    def __getitem__(self, index: slice) -> "ColumnRequests": ...
    def __getitem__(self, index: int | slice) -> "PredictionRequest | ColumnRequests":
        """A request, or a part of them."""
        if isinstance(index, slice):
            return ColumnRequests(self.rows[index], self.synthetic, self.source, self.ids[index], self.trace_id)
        return self._request(self.rows[index])

    def __iter__(self) -> Iterator[PredictionRequest]:
        """The requests by themselves."""
        return map(self._request, self.rows)

    def _request(self, row: Row) -> PredictionRequest:
        return PredictionRequest(row, self.synthetic, self.source, trace_id=self.trace_id)


class Refusal(NamedTuple):
    """The (feature, kind) pairs of a refused request, and the salted hash of its client, if known."""

    defects: tuple[tuple[str, str], ...]
    source: str | None = None


class IdConflict(NamedTuple):
    """A request whose id belongs to an earlier request with another content."""

    request_id: str


def reply_of(
    record: PredictionRecord, owner: IdOwner | None, answers: Mapping[str, PredictionRecord]
) -> PredictionRecord | IdConflict:
    """The reply to a request: the new answer, or the stored one of the earlier request that has its id.

    Args:
        record: the new answer.
        owner: the earlier request, or None.
        answers: the stored answer of each id.

    Raises:
        StoreError: the stored answer is not in the log any more.
    """
    if owner is None or record.request_id is None:
        return record
    text = record.request_id.text
    if owner.body_hash != record.request_id.body_hash:
        return IdConflict(text)
    if text not in answers:
        raise StoreError("The log lacks the answer of an id that it has.")
    return answers[text]
