"""Adds the labels of a file to the store, batch by batch, while the service goes on."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from stillsafe.label_file import LabelColumns, LabelRow, label_batches, row_count
from stillsafe.label_intake import LabelForm, LabelItem, LabelReport, take_in
from stillsafe.progress import Progress, no_progress
from stillsafe.store import database
from stillsafe.table_file import MISSING_WORDS

PAUSE_SHARE = 0.5
"""Pause after a batch, as a share of its time: SQLite has one writer, and the requests' rows wait for it."""


def add_labels(
    engine: Engine,
    file: Path,
    columns: LabelColumns,
    form: LabelForm,
    clock: Callable[[], datetime],
    *,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> LabelReport:
    """Add the labels of a file. Each batch is durable once the next one begins; a repetition adds nothing again.

    Args:
        engine: the store.
        file: CSV or Parquet.
        columns: of the file.
        form: which labels the model can have.
        clock: the current time, aware UTC.
        dry_run: count what would be added.
        progress: called after each batch.

    Raises:
        ConfigurationError: the file cannot be read; the labels before the defect are stored.
        StoreError: the database cannot be used; the labels of complete batches are stored.
    """
    total, count, report = row_count(file), 0, LabelReport()
    for rows in label_batches(file, columns):
        began = time.perf_counter()
        items = _items(rows, columns, form, report)
        with database.reading(engine) if dry_run else database.writing(engine) as connection:
            report.add(take_in(connection, items, clock(), dry_run=dry_run))
        count += len(rows)
        progress(f"Labels: {count:,} of {max(total, count):,}", count / max(total, count))
        if not dry_run:
            time.sleep(PAUSE_SHARE * (time.perf_counter() - began))
    return report


def _items(rows: Sequence[LabelRow], columns: LabelColumns, form: LabelForm, report: LabelReport) -> list[LabelItem]:
    """The labels of rows; what is absent or wrong is counted in the report."""
    items = []
    for row in rows:
        text = form.text(row.label)
        if text is None and _is_absent(row.label):
            report.absent_count += 1
        elif row.key is None:
            report.refuse(f"row {row.number}: no identifier")
        elif text is None:
            report.refuse(f"row {row.number}: the label is not {form.allowed}")
        else:
            is_request_id = columns.is_request_id
            items.append(LabelItem(None if is_request_id else row.key, row.key if is_request_id else None, text))
    return items


def _is_absent(value: object) -> bool:
    return value is None or value != value or (isinstance(value, str) and value in MISSING_WORDS)
