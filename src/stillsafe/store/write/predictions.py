"""INSERT of `prediction_logs` and `refusals`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import repeat
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Dialect, exists, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from stillsafe.store import database
from stillsafe.store.codec import storable_snapshot
from stillsafe.store.driver_transaction import RowConnection
from stillsafe.store.prediction_columns import PredictionColumns
from stillsafe.store.read.request_id import IdOwner
from stillsafe.store.records import PredictionRecord, RefusalRecord
from stillsafe.store.tables import prediction_logs, refusals
from stillsafe.store.write.request_id import claim_ids, mark_duplicates, write_and_delete
from stillsafe.store.write.row_insertion import insert_columns, insert_rows

_COLUMNS = {
    "timestamp": "timestamp",
    "model_version": "model_version",
    "system_state": "system_state.value",
    "input_summary": "input_summary",
    "prediction": "prediction_text",
    "confidence_score": "confidence_score",
    "fallback_used": "fallback_used",
    "prediction_id": "prediction_id",
    "decided_by": "decided_by",
    "reason": "reason",
    "model_error": "model_error",
    "synthetic": "synthetic",
    "source": "source",
    "trace_id": "trace_id",
}
"""The columns in the table's order, each with its attribute of a record."""
_NAMES = tuple(_COLUMNS)
_INSERTION = insert(prediction_logs)
_values = attrgetter(*_COLUMNS.values())


def append_predictions(connection: RowConnection, records: Sequence[PredictionRecord]) -> None:
    """Insert predictions in order."""
    if isinstance(records, PredictionColumns):
        _append_columns(connection, records)
        return
    if records:
        columns = [*zip(*map(_values, records), strict=True)]
        names = _NAMES if any(columns[-1]) else _NAMES[:-1]  # few requests have a trace
        pairs = zip(_bindings(connection.dialect), columns[: len(names)], strict=False)
        bound = [bind(values) for bind, values in pairs]
        rows = list(zip(*bound, repeat(database.service_id(connection), len(records)), strict=True))
        insert_rows(connection, _INSERTION, (*names, "service_id"), rows)


def _append_columns(connection: RowConnection, answers: PredictionColumns) -> None:
    """Insert predictions that have most columns in common."""
    own = {
        "input_summary": answers.snapshots,
        "prediction": answers.texts(),
        "confidence_score": answers.confidences,
        "prediction_id": answers.ids,
    }
    common = dict(zip(_COLUMNS, _values(answers.common), strict=True))
    bindings = dict(zip(_COLUMNS, _bindings(connection.dialect), strict=True))
    constants = {name: next(iter(bindings[name]([value]))) for name, value in common.items() if name not in own}
    own["prediction"] = [*bindings["prediction"](own["prediction"])]
    insert_columns(connection, _INSERTION, {**constants, "service_id": database.service_id(connection)}, own)


def append_first_predictions(
    connection: Connection, records: Sequence[PredictionRecord], oldest: datetime
) -> dict[str, IdOwner]:
    """Insert predictions in order, except those whose id another prediction has; return these, as `claim_ids`."""
    owners = claim_ids(connection, records, oldest)
    append_predictions(connection, [record for record in records if record.prediction_id not in owners])
    return owners


def try_append(connection: Connection, record: PredictionRecord) -> None:
    """Insert a prediction and take it back, then write as much: the commit fails where that of an answer would.

    No row is left.
    """
    savepoint = connection.begin_nested()
    append_predictions(connection, [record])
    savepoint.rollback()
    write_and_delete(connection, record)


@lru_cache(maxsize=8)
def _bindings(dialect: Dialect) -> Sequence[Callable[[Sequence[Any]], Iterable[Any]]]:
    """Per column, the function from its values to the driver's."""
    return [_binding(dialect, name) for name in _COLUMNS]


def _binding(dialect: Dialect, name: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    if name == "input_summary":
        return partial(map, storable_snapshot)
    bind = prediction_logs.c[name].type.dialect_impl(dialect).bind_processor(dialect)
    if bind is None or name == "confidence_score":
        return _same_values
    return partial(_bind_distinct, bind)


def _bind_distinct(bind: Callable[[Any], Any], values: Sequence[Any]) -> Iterable[Any]:
    driver_values = {value: bind(value) for value in set(values)}  # most are equal in every row of a batch
    return map(driver_values.__getitem__, values)


def _same_values(values: Sequence[Any]) -> Iterable[Any]:
    return values


def append_refusals(connection: Connection, records: Sequence[RefusalRecord]) -> None:
    """Insert refusals in order."""
    if records:
        rows = [
            {
                "service_id": database.service_id(connection),
                "timestamp": record.timestamp,
                "model_version": record.model_version,
                "violations": [{"feature": feature, "kind": kind} for feature, kind in record.violations],
                "source": record.source,
            }
            for record in records
        ]
        connection.execute(insert(refusals), rows)


def append_missing_predictions(
    connection: Connection, records: Sequence[PredictionRecord], oldest: datetime | None = None
) -> None:
    """Insert the predictions that are not stored yet, in order: the reply to an earlier commit may have been lost.

    Where an id belongs to another prediction, both were answered: the later one is stored as a duplicate, which is no
    evidence. Ids of requests before `oldest` are free again.
    """
    owners = claim_ids(connection, records, oldest or datetime.min.replace(tzinfo=UTC))
    mark_duplicates(connection, [record for record in records if record.prediction_id in owners])
    records = [replace(record, synthetic=True) if record.prediction_id in owners else record for record in records]
    if records:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        insertion = dialect.insert(prediction_logs).on_conflict_do_nothing(index_elements=["prediction_id"])
        connection.execute(insertion, [_row(connection, record) for record in records])


def append_missing_refusals(connection: Connection, records: Sequence[RefusalRecord]) -> None:
    """Insert the refusals of one commit, unless it is stored already: they have no id, but one common timestamp."""
    for record in records[:1]:
        is_own = refusals.c.service_id == database.service_id(connection)
        in_same_commit = (
            is_own & (refusals.c.timestamp == record.timestamp) & (refusals.c.model_version == record.model_version)
        )
        if not connection.execute(select(exists(select(literal(1)).where(in_same_commit)))).scalar():
            append_refusals(connection, records)


def _row(connection: Connection, record: PredictionRecord) -> dict[str, Any]:
    return {"service_id": database.service_id(connection), **dict(zip(_COLUMNS, _values(record), strict=True))}
