"""INSERT and UPDATE of `erasures`, INSERT of `erasure_marks`, UPDATE of `llm_explanations`."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, update

from stillsafe.store import database
from stillsafe.store.erasure_marks import MarkKind, Subject
from stillsafe.store.read.erasures import LogRow
from stillsafe.store.tables import erasure_marks, erasures, llm_explanations


def begin_erasure(
    connection: Connection, subjects: Sequence[Subject], *, at: datetime, by: str, reason: str, salt: str
) -> int:
    """Insert an erasure and the marks of its subjects, before anything goes; return its id."""
    service = database.service_id(connection)
    values = {"at": at, "by": by, "reason": reason, "salt": salt, "service_id": service}
    erasure_id = int(connection.execute(insert(erasures).values(**values).returning(erasures.c.id)).scalar_one())
    common = {"erasure_id": erasure_id, "service_id": service}
    marks = [{"kind": each.kind, "feature": each.feature, "hash": each.hash(salt), **common} for each in subjects]
    if marks:
        connection.execute(insert(erasure_marks).inline(), marks)
    return erasure_id


def mark_rows(connection: Connection, erasure_id: int, salt: str, rows: Iterable[LogRow]) -> int:
    """Insert a mark for each row of the log that is to go; return how many."""
    common: dict[str, Any] = {"erasure_id": erasure_id, "service_id": database.service_id(connection)}
    marks = [
        {
            "kind": MarkKind.PREDICTION,
            "hash": Subject(MarkKind.PREDICTION, row.traces.prediction_id).hash(salt),
            "row_id": row.id,
            "hour": row.traces.timestamp.astimezone(UTC).replace(minute=0, second=0, microsecond=0),
            "model_version": row.model_version,
            **common,
        }
        for row in rows
    ]
    if marks:
        connection.execute(insert(erasure_marks).inline(), marks)
    return len(marks)


def advance_erasure(connection: Connection, erasure_id: int, *, times: dict[str, datetime], **counts: int) -> None:
    """Add counts to an erasure, and set `marked_at` or `completed_at`."""
    sums = {name: erasures.c[name] + count for name, count in counts.items()}
    values: dict[str, Any] = {**sums, **times}
    if values:
        connection.execute(update(erasures).where(erasures.c.id == erasure_id).values(**values))


def replace_explanation(connection: Connection, row_id: int, sentence: str) -> None:
    """Replace the text of an explanation by a sentence."""
    values: dict[str, Any] = {"summary": sentence, "recommendations": "", "likely_causes": "", "unverified": []}
    connection.execute(update(llm_explanations).where(llm_explanations.c.id == row_id).values(**values))
