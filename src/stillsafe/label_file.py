"""Reads files of labels, CSV or Parquet, in batches. Identifiers and labels are texts, as they stand in their cells."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from stillsafe.csv_files.dialect import read_csv_text
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError
from stillsafe.parquet_files import parquet as parquet_library
from stillsafe.table_file import ANY_FORMAT, column_names, is_parquet

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
        form: what is known about a CSV file.
    """

    key: str
    is_request_id: bool
    label: str
    feature: str | None = None
    predictions: Mapping[str, Sequence[str]] | None = None
    form: TableFormat = ANY_FORMAT


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
    form: TableFormat = ANY_FORMAT,
) -> LabelColumns:
    """The columns of a file: those that the owner names, else `prediction_id` or `id`, and `label`.

    The column `join` has values of the feature of that name.

    Raises:
        ConfigurationError: the file cannot be read, lacks a column, or has two that could be the identifier.
    """
    wanted_names = [name or kind for kind, name in ((PREDICTION_ID, prediction_id), (REQUEST_ID, request_id))]
    names = column_names(file, "file of labels", form, [*wanted_names, *filter(None, [join]), label or LABEL])
    columns = {"prediction_id": prediction_id, "id": request_id}
    owners = {kind: name for kind, name in columns.items() if name is not None}
    if join is not None:
        owners[JOIN] = join
    by_name = _by_name(names)
    keys = owners or {kind: kind for kind in (PREDICTION_ID, REQUEST_ID) if kind in by_name}
    label = label or LABEL
    for name in (*keys.values(), label):
        if name not in by_name:
            raise _missing(file, f"There is no column {name!r}; there are: {_name_list(names)}.")
    if not keys:
        raise _missing(file, f"No column has the predictions' identifiers; there are: {_name_list(names)}.")
    keys, label = {kind: by_name[name] for kind, name in keys.items()}, by_name[label]
    # The service's identifier is exact; the client's could have been used again.
    kind = next(each for each in (JOIN, PREDICTION_ID, REQUEST_ID) if each in keys)
    return LabelColumns(keys[kind], kind == REQUEST_ID, label, join, form=form)


def _by_name(names: Sequence[str]) -> dict[str, str]:
    """The columns by their names, and by their names without blanks around them where these are one column's."""
    plain_names = [name.strip() for name in names]
    by_plain_name = {
        plain: name for plain, name in zip(plain_names, names, strict=True) if plain_names.count(plain) == 1
    }
    return by_plain_name | {name: name for name in names}


def _name_list(names: Sequence[str]) -> str:
    return ", ".join(name if name == name.strip() else repr(name) for name in names)


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
    csv_text = read_csv_text(file, columns.form, (columns.key, columns.label))
    key, label = map(csv_text.names.index, (columns.key, columns.label))
    words = columns.form.missing_words(columns.label, csv_text.names)
    for number, cells in islice(csv_text.numbered_records(), 1, None):
        # An identifier may begin or end with a blank; a label never does.
        name, text = (cells[index] if index < len(cells) else "" for index in (key, label))
        yield LabelRow(number, name if name.strip() else None, None if text in words else text.strip() or None)


def _parquet_rows(file: Path, columns: LabelColumns) -> Iterator[LabelRow]:
    parquet = parquet_library()

    number = 0
    with parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(BATCH_ROWS, columns=[columns.key, columns.label]):
            for key, label in zip(batch[columns.key].to_pylist(), batch[columns.label].to_pylist(), strict=True):
                number += 1
                yield LabelRow(number, None if key is None else str(key), label)
