"""The labelled rows of a healthy period of the log, from which a new baseline may learn its harm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.monitoring.columns import Columns
from stillsafe.store.read.label_rows import labels_of_rows
from stillsafe.store.read.requests import LogRows


@dataclass(frozen=True, slots=True)
class LabelledPeriod:
    """A healthy period with the labels that have come for it.

    Attributes:
        log_rows: `n` rows of the log, in the order of their ids.
        labels: (n,) the label in force of each, as text; None where none has come.
        rows: the same rows as arrays.
        baseline: of these rows; its study is the earlier one.
    """

    log_rows: LogRows
    labels: Sequence[str | None]
    rows: Columns
    baseline: Baseline


PeriodStudy = Callable[[LabelledPeriod], PerformanceImpact]
"""Learns harm from a labelled period; raises `BaselineRefused` where its labels do not allow it."""


def period_labels(connection: Connection, log_rows: LogRows) -> list[str | None]:
    """(n,) the label in force of each row that the model answered, as text; None of every other."""
    labels = labels_of_rows(connection, log_rows.ids)
    facts = zip(log_rows.ids, log_rows.fallback_used, log_rows.model_errors, log_rows.predictions, strict=True)
    return [
        None if by_fallback or error is not None or answer is None else labels.get(row_id)
        for row_id, by_fallback, error, answer in facts
    ]
