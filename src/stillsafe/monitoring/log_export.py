"""Exports logged predictions to a file: a row per prediction, a column per feature."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from stillsafe.core.schema import FeatureType, LogMode, Schema
from stillsafe.errors import RefusedError
from stillsafe.parquet_files import arrow
from stillsafe.parquet_files import parquet as parquet_library
from stillsafe.progress import Progress, no_progress
from stillsafe.store import database
from stillsafe.store.codec import dumps
from stillsafe.store.disk import create_private, sync
from stillsafe.store.read.request_id import LoggedPrediction, logged_page, logged_span

PAGE_ROWS = 2_000
PARQUET = ".parquet"
_PARTIAL_SUFFIX = ".partial"
_OWN_COLUMNS = tuple(field.name for field in fields(LoggedPrediction) if field.name != "features")
_NUMBERS = {FeatureType.NUMERIC: "float64", FeatureType.INTEGER: "int64", FeatureType.BOOLEAN: "bool"}
Row = Mapping[str, Any]


def export_predictions(
    engine: Engine,
    schema: Schema,
    file: Path,
    span: tuple[datetime, datetime],
    progress: Progress = no_progress,
) -> int:
    """Write the predictions of a span to a new file, which gets its name once it is complete; return how many.

    Args:
        engine: the store.
        schema: the features, which are the last columns; one that is called as another column becomes `features.NAME`.
        file: Parquet if its name ends so, else CSV.
        span: first time and end, aware UTC.
        progress: called after each page.

    Raises:
        RefusedError: the file exists already or cannot be written.
        StoreError: the database cannot be read.
    """
    if file.exists():
        raise RefusedError(f"{file} exists already: move it away first.")
    writer = _parquet_writer if file.suffix == PARQUET else _csv_writer
    partial_file = file.with_name(file.name + _PARTIAL_SUFFIX)
    try:
        partial_file.unlink(missing_ok=True)
        create_private(partial_file)
        with writer(partial_file, schema) as write:
            count = _write_pages(engine, _columns(schema), span, write, progress)
        sync(partial_file)
        partial_file.replace(file)
    except OSError as error:
        raise RefusedError(f"{file}: it cannot be written: {error}.") from error
    finally:
        partial_file.unlink(missing_ok=True)
    return count


def _write_pages(
    engine: Engine,
    columns: Mapping[str, str],
    span: tuple[datetime, datetime],
    write: Callable[[Sequence[Row]], None],
    progress: Progress,
) -> int:
    with database.reading(engine) as connection:
        first, last, total = logged_span(connection, *span)
    count = 0
    while first and first <= last:
        # A page has a snapshot of its own, so that a long export holds none for long.
        with database.reading(engine) as connection:
            page, last_id = logged_page(connection, (first, last), span, PAGE_ROWS)
        if not page:
            break
        write([_row(each, columns) for each in page])
        count, first = count + len(page), last_id + 1
        progress(f"Exporting: {count:,} of {total:,} predictions", count / max(total, count))
    return count


def _columns(schema: Schema) -> dict[str, str]:
    """Column -> feature, of every feature that the log has."""
    names = [spec.name for spec in schema.features if spec.log is not LogMode.DROP]
    return {f"features.{name}" if name in _OWN_COLUMNS else name: name for name in names}


def _row(prediction: LoggedPrediction, columns: Mapping[str, str]) -> Row:
    own = {name: getattr(prediction, name) for name in _OWN_COLUMNS}
    return own | {column: prediction.features.get(feature) for column, feature in columns.items()}


@contextmanager
def _csv_writer(file: Path, schema: Schema) -> Iterator[Callable[[Sequence[Row]], None]]:
    columns = [*_OWN_COLUMNS, *_columns(schema)]
    with file.open("w", newline="", encoding="utf-8") as handle:
        lines = csv.writer(handle)
        lines.writerow(columns)

        def write(rows: Sequence[Row]) -> None:
            lines.writerows([_cell(row[name]) for name in columns] for row in rows)

        yield write


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else value


@contextmanager
def _parquet_writer(file: Path, schema: Schema) -> Iterator[Callable[[Sequence[Row]], None]]:
    pa = arrow()
    parquet = parquet_library()

    specs = {spec.name: spec for spec in schema.features}
    kinds = {name: pa.string() for name in _OWN_COLUMNS}
    kinds |= {"timestamp": pa.timestamp("us", "UTC"), "confidence": pa.float64()}
    kinds |= dict.fromkeys(("is_duplicate", "fallback_used", "synthetic"), pa.bool_())
    for column, name in _columns(schema).items():
        is_kept = specs[name].log is LogMode.KEEP
        kinds[column] = pa.type_for_alias(_NUMBERS.get(specs[name].type, "string") if is_kept else "string")
    shape = pa.schema([*kinds.items()])
    with parquet.ParquetWriter(file, shape, compression="zstd") as writer:

        def write(rows: Sequence[Row]) -> None:
            arrays = [_array([row[name] for row in rows], kind) for name, kind in kinds.items()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=shape))

        yield write


def _array(values: Sequence[Any], kind: Any) -> Any:
    """A column; a value that an older schema logged with another type is missing, or text in a column of texts."""
    pa = arrow()

    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        if pa.types.is_string(kind):
            return pa.array([_text(value) for value in values], kind)
        return pa.array([_typed_or_none(value, kind) for value in values], kind)


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else dumps(value)


def _typed_or_none(value: object, kind: Any) -> object:
    pa = arrow()

    try:
        pa.scalar(value, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None
    return value
