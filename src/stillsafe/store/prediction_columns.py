"""Answered predictions by column."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import overload

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row
from stillsafe.core.score import as_text
from stillsafe.store.codec import loads
from stillsafe.store.records import PredictionRecord


class PredictionColumns(Sequence[PredictionRecord]):
    """Answers of the model that have most in common, by column; a sequence of their records.

    Args:
        ids: unique, one per row.
        timestamp: aware UTC, of all rows.
        new_record: a record with all that the rows have in common.
        snapshots: the sanitised rows as stored JSON.
        predictions, confidences: the answers; confidences are in [0, 1].
        probabilities: class as text -> the probability of each row, or None.
    """

    def __init__(
        self,
        ids: Sequence[str],
        timestamp: datetime,
        new_record: Callable[..., PredictionRecord],
        snapshots: Sequence[str],
        predictions: Sequence[Answer],
        confidences: Sequence[float],
        probabilities: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.ids, self.timestamp, self.snapshots = ids, timestamp, snapshots
        self.predictions, self.confidences = predictions, confidences
        self.probabilities = probabilities
        self._new_record = new_record
        self.common = self._record(0, {})

    def __len__(self) -> int:
        """The number of answers."""
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> PredictionRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[PredictionRecord]: ...
    def __getitem__(self, index: int | slice) -> PredictionRecord | list[PredictionRecord]:
        """A record, or some."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._record(index, loads(self.snapshots[index]))

    def _record(self, place: int, row: Row) -> PredictionRecord:
        probabilities = None
        if self.probabilities is not None:
            probabilities = {name: column[place] for name, column in self.probabilities.items()}
        return self._new_record(
            prediction_id=self.ids[place],
            timestamp=self.timestamp,
            input_summary=row,
            prediction=self.predictions[place],
            confidence_score=self.confidences[place],
            fallback_used=False,
            probabilities=probabilities,
        )

    def texts(self) -> list[str]:
        """The answers as the log stores them."""
        if len({*map(type, self.predictions)}) > 1 or isinstance(self.predictions[0], float):
            return [as_text(each) for each in self.predictions]  # 1 and True are equal, and so are 0.0 and -0.0
        text_of = {each: as_text(each) for each in {*self.predictions}}
        return list(map(text_of.__getitem__, self.predictions))
