"""Reads files of labels, CSV or Parquet, in batches: a file of a million rows is never whole in memory."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from stillsafe.errors import ConfigurationError
from stillsafe.parquet_files import parquet as parquet_library
from stillsafe.table_file import column_names, is_parquet

PREDICTION_ID, REQUEST_ID, LABEL, JOIN = "prediction_id", "id", "label", "join"
BATCH_ROWS = 10_000


class LabelColumns(NamedTuple):
    """The columns of a file of labels.

    Attributes:
        key: the column of identifiers.
        is_request_id: whether they are the clients' ids of requests, and not the service's of predictions.
        label: the column of labels.
        feature: the feature whose values the identifiers are instead, or None.
        predictions: of these values, the identifiers of the predictions that have each; None where they are not known.
    """

    key: str
    is_request_id: bool
    label: str
    feature: str | None = None
    predictions: Mapping[str, Sequence[str]] | None = None


class LabelRow(NamedTuple):
    """One row: its number, its identifier, and its label; None where the cell is empty."""

    number: int
    key: str | None
    label: object


def find_columns(
    file: Path,
    *,
    prediction_id: str | None = None,
    request_id: str | None = None,
    label: str | None = None,
    join: str | None = None,
) -> LabelColumns:
    """The columns of a file: those that the owner names, else `prediction_id` or `id`, and `label`.

    The column `join` has values of the feature of that name.

    Raises:
        ConfigurationError: the file cannot be read, lacks a column, or has two that could be the identifier.
    """
    names = column_names(file, "file of labels")
    columns = {"prediction_id": prediction_id, "id": request_id}
    owners = {kind: name for kind, name in columns.items() if name is not None}
    if join is not None:
        owners[JOIN] = join
    keys = owners or {kind: kind for kind in (PREDICTION_ID, REQUEST_ID) if kind in names}
    label = label or LABEL
    for name in (*keys.values(), label):
        if name not in names:
            raise _missing(file, f"There is no column {name!r}; there are: {', '.join(names)}.")
    if not keys:
        raise _missing(file, f"No column has the predictions' identifiers; there are: {', '.join(names)}.")
    # The service's identifier is exact; the client's could have been used again.
    kind = next(each for each in (JOIN, PREDICTION_ID, REQUEST_ID) if each in keys)
    return LabelColumns(keys[kind], kind == REQUEST_ID, label, join)


def _missing(file: Path, problem: str) -> ConfigurationError:
    remedy = "Name the columns with --prediction-id, --id or --join, and --label."
    return ConfigurationError(problem, remedy, file=str(file))


def row_count(file: Path) -> int:
    """Rows of a file without its header; of CSV its lines, which may be more."""
    if is_parquet(file):
        parquet = parquet_library()

        return int(parquet.read_metadata(file).num_rows)
    with file.open("rb") as handle:
        return max(0, sum(block.count(b"\n") for block in iter(lambda: handle.read(1 << 20), b"")) - 1)


def label_batches(file: Path, columns: LabelColumns) -> Iterator[Sequence[LabelRow]]:
    """The rows of a file, in batches.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    rows = _parquet_rows(file, columns) if is_parquet(file) else _csv_rows(file, columns)
    try:
        while batch := list(islice(rows, BATCH_ROWS)):
            yield batch
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigurationError(
            f"The file of labels cannot be read: {error}.", "Give a CSV or Parquet file.", file=str(file)
        ) from error


def _csv_rows(file: Path, columns: LabelColumns) -> Iterator[LabelRow]:
    with file.open(newline="", encoding="utf-8-sig") as handle:
        lines = csv.reader(handle)
        positions: Mapping[str, int] = {name: index for index, name in enumerate(next(lines, []))}
        key, label = positions[columns.key], positions[columns.label]
        for number, cells in enumerate(lines, start=2):
            if cells:
                pair = [cells[index].strip() if index < len(cells) else "" for index in (key, label)]
                yield LabelRow(number, pair[0] or None, pair[1] or None)


def _parquet_rows(file: Path, columns: LabelColumns) -> Iterator[LabelRow]:
    parquet = parquet_library()

    number = 0
    with parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(BATCH_ROWS, columns=[columns.key, columns.label]):
            for key, label in zip(batch[columns.key].to_pylist(), batch[columns.label].to_pylist(), strict=True):
                number += 1
                yield LabelRow(number, None if key is None else str(key), label)
