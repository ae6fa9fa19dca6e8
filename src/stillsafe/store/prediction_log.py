"""The only writer of `prediction_logs` and `refusals`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from stillsafe.core.schema import Row
from stillsafe.core.state import State
from stillsafe.store.tables import prediction_logs, refusals


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One answered request, as it is written down before the answer is sent.

    Attributes:
        prediction_id: unique.
        timestamp: aware UTC.
        model_version: the version that serves.
        system_state: the state that was obeyed.
        input_summary: the sanitised row.
        prediction: the answer as text.
        confidence_score: in [0, 1], or None in a fallback answer.
        fallback_used: whether the fallback answered.
        reason: why it was answered as it was.
        model_error: how the model failed on it, or None.
    """

    prediction_id: str
    timestamp: datetime
    model_version: str
    system_state: State
    input_summary: Row
    prediction: str
    confidence_score: float | None
    fallback_used: bool
    reason: str
    model_error: str | None = None

    @property
    def decided_by(self) -> str:
        """`model` or `fallback`."""
        return "fallback" if self.fallback_used else "model"


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """One refused request: which features and what kind of error, never the value."""

    timestamp: datetime
    model_version: str
    violations: tuple[tuple[str, str], ...]


_INSERT = insert(prediction_logs)  # made once: it is asked with every answer


def append(connection: Connection, records: Sequence[PredictionRecord]) -> None:
    """Write predictions in order."""
    if records:
        connection.execute(_INSERT, [_row(record) for record in records])


def append_refusals(connection: Connection, records: Sequence[RefusalRecord]) -> None:
    """Write refusals in order."""
    if records:
        rows = [
            {
                "timestamp": record.timestamp,
                "model_version": record.model_version,
                "violations": [{"feature": feature, "kind": kind} for feature, kind in record.violations],
            }
            for record in records
        ]
        connection.execute(insert(refusals), rows)


def append_missing(connection: Connection, records: Sequence[PredictionRecord]) -> None:
    """Write those predictions, in order, that are not there yet: a commit may have been made and not heard of."""
    if records:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        unless_known = dialect.insert(prediction_logs).on_conflict_do_nothing(index_elements=["prediction_id"])
        connection.execute(unless_known, [_row(record) for record in records])


def append_missing_refusals(connection: Connection, records: Sequence[RefusalRecord]) -> None:
    """Write refusals of one moment, unless that moment's are there: they have no name, and came in one commit."""
    for record in records[:1]:
        same = (refusals.c.timestamp == record.timestamp) & (refusals.c.model_version == record.model_version)
        if not connection.execute(select(exists(select(literal(1)).where(same)))).scalar():
            append_refusals(connection, records)


def _row(record: PredictionRecord) -> dict[str, object]:
    return {
        "timestamp": record.timestamp,
        "model_version": record.model_version,
        "system_state": record.system_state.value,
        "input_summary": record.input_summary,
        "prediction": record.prediction,
        "confidence_score": record.confidence_score,
        "fallback_used": record.fallback_used,
        "prediction_id": record.prediction_id,
        "decided_by": record.decided_by,
        "reason": record.reason,
        "model_error": record.model_error,
    }
