"""Tables of data: the one reader of CSV and Parquet files, and of their timestamps.

`init` reads its sample and `backtest` its history here, so both get the same value from the same cell. A column that is
known to hold texts is read as text, untouched: "007" stays "007". All timestamps of a column have one format. How a CSV
file is written is recognised in `csv_files`.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stillsafe.csv_files.csv_table import MISSING_WORDS, ColumnKinds, CsvTable, Texts, csv_table
from stillsafe.csv_files.dialect import read_csv_text, too_few_cells
from stillsafe.csv_files.table_format import DATE_ORDERS, TableFormat
from stillsafe.errors import ConfigurationError
from stillsafe.parquet_files import parquet as parquet_library

__all__ = ["MISSING_WORDS", "ColumnKinds", "CsvTable", "TableFormat", "Texts"]

TIMESTAMP = "timestamp"
ISO_ADVICE = "Write times as 2026-01-31T12:00:00Z (ISO 8601)"
EARLIEST, LATEST = 631_152_000, 4_102_444_800
"""Numbers from 1990 to 2100 in seconds since 1970, or in a thousandth of them and so on, are times."""
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

Micros = NDArray[np.int64]
"""Times in microseconds since 1970, UTC."""
Names = Collection[str]
ANY_FORMAT, ANY_KINDS = TableFormat(), ColumnKinds()


def is_parquet(file: Path) -> bool:
    """Whether the content of a file is Parquet, whatever its name."""
    with file.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def column_names(file: Path, noun: str = "table", form: TableFormat = ANY_FORMAT, expected: Names = ()) -> list[str]:
    """The columns of a file, in order.

    Args:
        file: the file.
        noun: what the file is called in messages.
        form: what is known about a CSV file.
        expected: columns that it should have.

    Raises:
        ConfigurationError: the file cannot be read, or columns occur twice.
    """
    try:
        if is_parquet(file):
            pq = parquet_library()

            names: list[str] = list(pq.read_schema(file).names)
        else:
            names = read_csv_text(file, form, expected).names
    except (OSError, ValueError) as error:
        raise _unreadable(file, noun, error) from error
    require_unique_columns(names, file)
    return names


def read_table(
    file: Path, texts: Texts | None = None, noun: str = "table", form: TableFormat = ANY_FORMAT
) -> pd.DataFrame:
    """Read a CSV or Parquet file; its content determines the format, not its name.

    Args:
        file: the file.
        texts: columns of a CSV file to read as text, untouched.
        noun: what the file is called in messages.
        form: what is known about a CSV file.

    Raises:
        ConfigurationError: it cannot be read, or columns occur twice.
    """
    return read_with_remarks(file, ColumnKinds(texts or {}), noun, form).frame


def read_with_remarks(
    file: Path, kinds: ColumnKinds = ANY_KINDS, noun: str = "table", form: TableFormat = ANY_FORMAT
) -> CsvTable:
    """Read a CSV or Parquet file, with what a person should know of how it was read.

    Args:
        file: the file.
        kinds: what is known about its columns.
        noun: what the file is called in messages.
        form: what is known about a CSV file; of a Parquet file only the words for missing values hold.

    Raises:
        ConfigurationError: it cannot be read, columns occur twice, or cells can be read in two ways.
    """
    kinds = replace(kinds, surplus=frozenset((*kinds.surplus, TIMESTAMP)))
    try:
        if is_parquet(file):
            require_unique_columns(column_names(file, noun), file)
            parquet_library()
            table = CsvTable(_without_words(pd.read_parquet(file), form))
        else:
            csv_text = read_csv_text(file, form, kinds.expected)
            require_unique_columns(csv_text.names, file)
            table = csv_table(csv_text, kinds, form)
            # Only a line without its last cell can have too few, which spares most files a second reading.
            if table.frame.iloc[:, -1:].isna().any(axis=None) and (remark := too_few_cells(csv_text)):
                table = replace(table, remarks=(*table.remarks, remark))
    except (OSError, ValueError) as error:
        raise _unreadable(file, noun, error) from error
    frame = with_named_columns(table.frame)
    if (
        form.dates is not None
        and TIMESTAMP in frame
        and (micros := read_times(frame[TIMESTAMP], form.dates)) is not None
    ):
        frame = frame.assign(**{TIMESTAMP: pd.to_datetime(micros, unit="us", utc=True)})
    return replace(table, frame=frame)


def with_named_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The table with texts as the names of its columns, and an index called `timestamp` as a column.

    Raises:
        ConfigurationError: columns occur twice.
    """
    table = table.reset_index() if table.index.name == TIMESTAMP else table
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    require_unique_columns([*table.columns], None)
    return table


def require_unique_columns(names: list[str], file: Path | None) -> None:
    """Check that no column occurs twice.

    Raises:
        ConfigurationError: the names of those that do.
    """
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        problem = f"Columns that occur twice: {', '.join(duplicates)}."
        raise ConfigurationError(problem, "Rename them.", file=None if file is None else str(file))


def in_time_order(table: pd.DataFrame) -> tuple[pd.DataFrame, Micros | None]:
    """The table sorted by its column `timestamp`, and the times; None for numbers that only give an order.

    Raises:
        ConfigurationError: see `read_times`.
    """
    micros = read_times(table[TIMESTAMP])
    if micros is None:
        return table.sort_values(TIMESTAMP, kind="stable"), None
    order = np.argsort(micros, kind="stable")
    return table.iloc[order], micros[order]


def read_times(column: "pd.Series[Any]", dates: str | None = None) -> Micros | None:
    """Read a column of times; without a time zone they are UTC.

    A column of texts has one format: ISO 8601, or one that fits every value. Numbers are seconds since 1970, or
    milliseconds, microseconds or nanoseconds; the result is None if they cannot be, because then they give an order.

    Args:
        column: the times.
        dates: the order of day, month and year, or the format, as in `TableFormat.dates`.

    Raises:
        ConfigurationError: values are missing or are not times, formats are mixed, or two formats fit with different
            results, such as day first and month first.
    """
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return _epoch_times(column)
    if missing_count := int(column.isna().sum()):
        message = f"The column {TIMESTAMP!r} is empty in {missing_count} rows."
        raise ConfigurationError(message, "Fill in the times, or remove these rows.")
    if pd.api.types.is_datetime64_any_dtype(column):
        return _micros(pd.to_datetime(column, utc=True))
    if not all(isinstance(value, str) for value in column):
        return _micros(_parsed_or_refused(column))
    texts = column.astype(object).str.strip()
    if texts.str.fullmatch(r"\d{9,19}(\.\d+)?").all():
        return _epoch_times(pd.to_numeric(texts))
    return _micros(_text_times(texts, dates))


def _without_words(table: pd.DataFrame, form: TableFormat) -> pd.DataFrame:
    """A table of typed columns, with the words for missing values as missing."""
    names = [str(name) for name in table.columns]
    new_columns = {}
    for name, column in table.items():
        if words := form.missing_words(str(name), names):
            new_columns[name] = column.mask(column.astype(str).isin(words | {f"{word}.0" for word in words}))
    return table.assign(**{str(name): column for name, column in new_columns.items()})


def _unreadable(file: Path, noun: str, error: OSError | ValueError) -> ConfigurationError:
    reason = (getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "it is damaged")).rstrip(".")
    return ConfigurationError(f"The {noun} cannot be read: {reason}.", "Give a CSV or Parquet file.", file=str(file))


def _epoch_times(column: "pd.Series[Any]") -> Micros | None:
    numbers = column.dropna().to_numpy(dtype=np.float64)
    units = {unit: (numbers >= EARLIEST * size) & (numbers < LATEST * size) for unit, size in _UNITS.items()}
    if not len(numbers) or not np.any([*units.values()], axis=0).all():
        return None
    unit = next((unit for unit, fits in units.items() if fits.all()), None)
    if unit is None:
        message = f"The column {TIMESTAMP!r} mixes seconds since 1970 with smaller units."
        raise ConfigurationError(message, "Use one unit for all times.")
    if missing_count := len(column) - len(numbers):
        message = f"The column {TIMESTAMP!r} is empty in {missing_count} rows."
        raise ConfigurationError(message, "Fill in the times, or remove these rows.")
    if pd.api.types.is_integer_dtype(column):
        whole, size = column.to_numpy(dtype=np.int64), _UNITS[unit]
        return np.asarray(whole * (10**6 // size) if size <= 10**6 else whole // (size // 10**6), np.int64)
    return np.asarray(np.round(numbers * (10**6 / _UNITS[unit])), np.int64)


def _text_times(texts: "pd.Series[Any]", dates: str | None) -> "pd.Series[Any]":
    if dates is not None and dates not in DATE_ORDERS:
        return _times_of(texts, dates)
    try:
        return pd.to_datetime(texts, utc=True, format="ISO8601")
    except (ValueError, TypeError):
        readings = {form: times for form, times in _readings(texts) if not times.dt.year.lt(1970).any()}
    if not readings:
        raise _no_format(texts)
    if dates is not None:
        readings = {form: times for form, times in readings.items() if date_order(form) == dates.replace("-", " ")}
        if not readings:
            message = f"The column {TIMESTAMP!r} is not {dates}, such as {texts.iloc[0]!r} in row 1."
            raise ConfigurationError(message, f"Correct --dates. {ISO_ADVICE}.")
    first_form, first_times = next(iter(readings.items()))
    for form, times in readings.items():
        if (different := (times != first_times).to_numpy()).any():
            index = int(np.argmax(different))
            problem = (
                f"The column {TIMESTAMP!r} can be read in two ways, and no value decides: {texts.iloc[index]} is "
                f"{first_times.iloc[index]:%Y-%m-%d} ({date_order(first_form)}) or {times.iloc[index]:%Y-%m-%d} "
                f"({date_order(form)})."
            )
            advice = f"{ISO_ADVICE}, which can be read in one way only, or name the order with --dates day-first."
            raise ConfigurationError(problem, advice)
    return first_times


def _times_of(texts: "pd.Series[Any]", form: str) -> "pd.Series[Any]":
    """The times in a format that the owner states.

    Raises:
        ConfigurationError: the first value that it does not fit.
    """
    times = pd.to_datetime(texts, utc=True, format=form, errors="coerce")
    if (invalid := times.isna().to_numpy()).any():
        row = int(np.argmax(invalid))
        message = f"The column {TIMESTAMP!r} is not in the format {form}: {texts.iloc[row]!r} in row {row + 1}."
        raise ConfigurationError(message, "Correct --dates, or the value.")
    return times


def _readings(texts: "pd.Series[Any]") -> "Iterator[tuple[str, pd.Series[Any]]]":
    """The formats that fit every text, each with the times."""
    for form in formats_of(str(texts.iloc[0])):
        try:
            yield form, pd.to_datetime(texts, utc=True, format=form)
        except (ValueError, TypeError):
            continue


def formats_of(text: str) -> list[str]:
    """The formats of `strptime` that a text fits."""
    # A comparison of the characters between the parts spares most of the parsing, which takes a millisecond for each.
    lower_text = text.lower()
    return [form for form, marks in _FORMS.items() if all(mark in lower_text for mark in marks) and _fits(text, form)]


def _fits(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _all_forms() -> Iterator[str]:
    numbers = (
        sign.join(parts)
        for sign, parts in product(
            "/.-", (("%d", "%m", "%Y"), ("%m", "%d", "%Y"), ("%d", "%m", "%y"), ("%m", "%d", "%y"))
        )
    )
    names = ("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d %Y", "%b %d, %Y", "%B %d, %Y")
    hours = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
    dates = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", *numbers, *names)
    for date, sign, time, zone in product(dates, (" ", "T", ", "), hours, ("", "%z", " %z")):
        if time or (sign == " " and not zone):
            yield f"{date}{sign}{time}{zone}" if time else date
    yield from ("%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


_FORMS = {form: re.sub(r"%.|\s", "", form).lower() for form in _all_forms()}
"""Each format with the characters that it requires."""


def date_order(form: str) -> str:
    """The order of a format in words."""
    order = re.findall(r"%([dmbByY])", form)
    return "day first" if order[0] == "d" else "month first" if order[0] in "mbB" else "year first"


def _no_format(texts: "pd.Series[Any]") -> ConfigurationError:
    """The error of texts that no single format fits."""
    first = str(texts.iloc[0])
    forms = formats_of(first)
    others = ((row, text) for row, text in enumerate(texts) if not any(_fits(text, form) for form in forms))
    row, other = next(others, (0, first))
    if not forms or other == first or not formats_of(other):
        message = f"The column {TIMESTAMP!r} has values that are not times, such as {other!r} in row {row + 1}."
        return ConfigurationError(message, f"{ISO_ADVICE}, or rename the column.")
    message = (
        f"The column {TIMESTAMP!r} mixes formats: no single one fits {first!r} and {other!r} (rows 1 and {row + 1})."
    )
    return ConfigurationError(message, f"{ISO_ADVICE}, all in one format.")


def _parsed_or_refused(column: "pd.Series[Any]") -> "pd.Series[Any]":
    try:
        if any(isinstance(value, str | int | float) for value in column):
            raise TypeError
        return pd.to_datetime(column, utc=True)
    except (ValueError, TypeError) as error:
        message = f"The column {TIMESTAMP!r} has values that are not times."
        raise ConfigurationError(message, f"{ISO_ADVICE}, or rename the column.") from error


def _micros(times: "pd.Series[Any]") -> Micros:
    return np.asarray(times.dt.as_unit("us").astype("int64"), np.int64)
