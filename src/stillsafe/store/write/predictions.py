"""The only writer of `prediction_logs` and `refusals`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Dialect, exists, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from stillsafe.core.schema import Row
from stillsafe.core.state import State
from stillsafe.store.codec import storable_snapshot
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


_WRITTEN = {
    "timestamp": "timestamp",
    "model_version": "model_version",
    "system_state": "system_state.value",
    "input_summary": "input_summary",
    "prediction": "prediction",
    "confidence_score": "confidence_score",
    "fallback_used": "fallback_used",
    "prediction_id": "prediction_id",
    "decided_by": "decided_by",
    "reason": "reason",
    "model_error": "model_error",
}
"""The columns in the table's order, and where a record has each."""
_values = attrgetter(*_WRITTEN.values())


def append_predictions(connection: Connection, records: Sequence[PredictionRecord]) -> None:
    """Write predictions in order."""
    if records:
        insertion = _insertion(connection.dialect)
        connection.exec_driver_sql(insertion.statement, insertion.parameters(records))


@dataclass(frozen=True, slots=True)
class _Insertion:
    """The INSERT of a dialect, for the driver itself: SQLAlchemy's binding of each row costs more than SQLite's work.

    Attributes:
        statement: the SQL.
        named: whether its parameters have names.
        bind: per column, what the driver takes for its values.
    """

    statement: str
    named: bool
    bind: Sequence[Callable[[Sequence[Any]], Iterable[Any]]]

    def parameters(self, records: Sequence[PredictionRecord]) -> list[Any]:
        """Per record its values as the driver takes them."""
        columns = zip(*map(_values, records), strict=True)
        rows = zip(*[bind(values) for bind, values in zip(self.bind, columns, strict=True)], strict=True)
        return [dict(zip(_WRITTEN, row, strict=True)) for row in rows] if self.named else list(rows)


@lru_cache(maxsize=8)
def _insertion(dialect: Dialect) -> _Insertion:
    compiled = insert(prediction_logs).inline().compile(dialect=dialect, column_keys=list(_WRITTEN))
    return _Insertion(str(compiled), not compiled.positional, [_binding(dialect, name) for name in _WRITTEN])


def _binding(dialect: Dialect, name: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    if name == "input_summary":
        return partial(map, storable_snapshot)
    bind = prediction_logs.c[name].type.dialect_impl(dialect).bind_processor(dialect)
    if bind is None or name == "confidence_score":
        return _untouched
    return partial(_each_once, bind)


def _each_once(bind: Callable[[Any], Any], values: Sequence[Any]) -> Iterable[Any]:
    known = {value: bind(value) for value in set(values)}  # most are the same in every row of a drain
    return map(known.__getitem__, values)


def _untouched(values: Sequence[Any]) -> Iterable[Any]:
    return values


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


def append_missing_predictions(connection: Connection, records: Sequence[PredictionRecord]) -> None:
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
