"""Adds the labels of a file to the store while the service goes on: sorted, in transactions of a few milliseconds."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

from sqlalchemy import Engine

from stillsafe.core.schema import FeatureSpec
from stillsafe.label_file import LabelColumns, LabelRow, label_batches, row_count
from stillsafe.label_intake import LabelForm, LabelItem, LabelReport, take_in
from stillsafe.logged_value import logged_value
from stillsafe.progress import Progress, no_progress
from stillsafe.store import database
from stillsafe.store.erasure_marks import value_text
from stillsafe.store.read.labels import feature_values
from stillsafe.table_file import MISSING_WORDS

PAUSE_SHARE = 0.75
"""Pause after a transaction, as a share of its time: SQLite has one writer, and the requests' rows wait for it."""
HOLD_SECONDS = 0.02
"""Longest time that a transaction should last; each has as many labels as that allows."""
FEWEST_ROWS, MOST_ROWS = 500, 5_000
"""Labels of one transaction."""
PART_ROWS = 250_000
"""Labels that are sorted together, so that neighbours share pages of the indexes, and are in memory at once."""


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
        columns: of the file; one of a feature's values has `joined_predictions`.
        form: which labels the model can have.
        clock: the current time, aware UTC.
        dry_run: count what would be added.
        progress: called after each batch.

    Raises:
        ConfigurationError: the file cannot be read; the labels before the defect are stored.
        StoreError: the database cannot be used; the labels of complete batches are stored.
    """
    total, count, report, size = row_count(file), 0, LabelReport(), FEWEST_ROWS
    for part in _parts(file, columns):
        # The labels of one prediction stay in the order of the file.
        rows = part if columns.predictions is None else _identified_rows(part, columns.predictions, report)
        items = sorted(_items(rows, columns, form, report), key=attrgetter("name"))
        position = 0
        while position < len(items):
            batch = items[position : position + size]
            seconds = _add(engine, batch, clock, report, dry_run=dry_run)
            position += len(batch)
            size = _next_size(size, seconds)
            share = (count + len(part) * position / len(items)) / max(total, count + len(part))
            progress(f"Labels: {count + len(part) * position // len(items):,} of {total:,}", share)
            if not dry_run:
                time.sleep(PAUSE_SHARE * seconds)
        count += len(part)
        progress(f"Labels: {count:,} of {max(total, count):,}", count / max(total, count))
    return report


def joined_predictions(
    engine: Engine, file: Path, columns: LabelColumns, spec: FeatureSpec, salt: str, progress: Progress = no_progress
) -> dict[str, list[str]]:
    """The predictions of each value in a file's column of a feature, by one search of the log.

    Args:
        engine: the store.
        file: CSV or Parquet.
        columns: of the file.
        spec: the feature.
        salt: of hashes in the log.
        progress: called with the number of rows.

    Raises:
        ConfigurationError: the file cannot be read, or has what is no value of the feature.
        StoreError: the database cannot be read.
    """
    keys = {row.key for rows in label_batches(file, columns) for row in rows if row.key is not None}
    texts = {value_text(logged_value(spec, key, salt)): key for key in keys}
    predictions: dict[str, list[str]] = {key: [] for key in keys}
    with database.reading(engine) as connection:
        for number, (prediction_id, value) in enumerate(feature_values(connection, spec.name)):
            key = texts.get(value_text(value))
            if key is not None:
                predictions[key].append(prediction_id)
            if number % PART_ROWS == 0:
                progress(f"Searching the log: {number:,} rows", None)
    return predictions


def _identified_rows(
    rows: Sequence[LabelRow], predictions_of: Mapping[str, Sequence[str]], report: LabelReport
) -> list[LabelRow]:
    """The rows with the identifier of the one prediction that has their value."""
    new_rows = []
    for row in rows:
        predictions = predictions_of.get(row.key or "", ()) if row.key is not None else ()
        if row.key is None or len(predictions) == 1:
            new_rows.append(row._replace(key=predictions[0] if predictions else None))
        elif predictions:
            report.refuse(f"row {row.number}: {len(predictions)} predictions have {row.key!r}")
        else:
            report.add(LabelReport(unknown_count=1, unknown_ids=[row.key]))
    return new_rows


def _add(
    engine: Engine, items: Sequence[LabelItem], clock: Callable[[], datetime], report: LabelReport, *, dry_run: bool
) -> float:
    """Add labels in one transaction; return how long it had the database to itself, in seconds."""
    with database.reading(engine) as connection:
        trial = take_in(connection, items, clock(), dry_run=True)
    if dry_run or not trial.new_count + trial.correction_count:
        report.add(trial)
        return 0.0
    # The trial has brought the pages into memory, so the transaction that repeats its queries is short.
    with database.writing(engine) as connection:
        began = time.perf_counter()
        part_report = take_in(connection, items, clock())
    report.add(part_report)
    return time.perf_counter() - began


def _next_size(size: int, seconds: float) -> int:
    """The labels of the next transaction: fewer after one that took too long, more after a short one."""
    factor = 0.5 if seconds > HOLD_SECONDS else 1.25
    return min(MOST_ROWS, max(FEWEST_ROWS, round(size * factor)))


def _parts(file: Path, columns: LabelColumns) -> Iterator[list[LabelRow]]:
    part: list[LabelRow] = []
    for rows in label_batches(file, columns):
        part += rows
        if len(part) >= PART_ROWS:
            yield part
            part = []
    if part:
        yield part


def _items(rows: Sequence[LabelRow], columns: LabelColumns, form: LabelForm, report: LabelReport) -> list[LabelItem]:
    """The labels of rows; what is absent or wrong is counted in the report."""
    items: list[LabelItem] = []
    text_of = lru_cache(maxsize=1_000, typed=True)(form.text)
    for row in rows:
        text = text_of(row.label) if isinstance(row.label, Hashable) else None
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
