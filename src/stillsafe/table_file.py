"""Tables of data: the one reader of CSV and Parquet files, and of their timestamps.

`init` reads its sample and `backtest` its history here, so both get the same value from the same cell. A column that is
known to hold texts is read as text, untouched: "007" stays "007". All timestamps of a column have one format.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stillsafe.errors import ConfigurationError

TIMESTAMP = "timestamp"
MISSING_WORDS = frozenset(
    [
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
        *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    ]
)
"""Cells of a CSV file that are missing values, unless the column is known to have the word as a category."""
ISO_ADVICE = "Write times as 2026-01-31T12:00:00Z (ISO 8601)"
EARLIEST, LATEST = 631_152_000, 4_102_444_800
"""Numbers from 1990 to 2100 in seconds since 1970, or in a thousandth of them and so on, are times."""
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

Micros = NDArray[np.int64]
"""Times in microseconds since 1970, UTC."""
Texts = Mapping[str, Collection[str]]
"""Column that holds texts -> texts that it is known to have."""


def is_parquet(file: Path) -> bool:
    """Whether the content of a file is Parquet, whatever its name."""
    with file.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def column_names(file: Path, noun: str = "table") -> list[str]:
    """The columns of a file, in order.

    Raises:
        ConfigurationError: the file cannot be read, or columns occur twice.
    """
    try:
        if is_parquet(file):
            import pyarrow.parquet as pq

            names: list[str] = list(pq.read_schema(file).names)
        else:
            header = pd.read_csv(file, header=None, nrows=1, dtype=str, keep_default_na=False)
            names = [name or f"Unnamed: {index}" for index, name in enumerate(header.iloc[0].tolist())]
    except (OSError, ValueError) as error:
        raise _unreadable(file, noun, error) from error
    require_unique_columns(names, file)
    return names


def read_table(file: Path, texts: Texts | None = None, noun: str = "table") -> pd.DataFrame:
    """Read a CSV or Parquet file; its content determines the format, not its name.

    Args:
        file: the file.
        texts: columns of a CSV file to read as text, untouched.
        noun: what the file is called in messages.

    Raises:
        ConfigurationError: it cannot be read, or columns occur twice.
    """
    names = column_names(file, noun)
    try:
        table = pd.read_parquet(file) if is_parquet(file) else _read_csv(file, names, texts or {})
    except (OSError, ValueError) as error:
        raise _unreadable(file, noun, error) from error
    return with_named_columns(table)


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


def read_times(column: "pd.Series[Any]") -> Micros | None:
    """Read a column of times; without a time zone they are UTC.

    A column of texts has one format: ISO 8601, or one that fits every value. Numbers are seconds since 1970, or
    milliseconds, microseconds or nanoseconds; the result is None if they cannot be, because then they give an order.

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
    return _micros(_text_times(texts))


def _read_csv(file: Path, names: list[str], texts: Texts) -> pd.DataFrame:
    text_names = [name for name in names if name in texts]
    if not text_names:
        return pd.read_csv(file, low_memory=False)
    missing = {name: sorted(MISSING_WORDS - ({*texts.get(name, ())} - {""})) for name in names}
    return pd.read_csv(
        file, low_memory=False, dtype=dict.fromkeys(text_names, str), keep_default_na=False, na_values=missing
    )


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


def _text_times(texts: "pd.Series[Any]") -> "pd.Series[Any]":
    try:
        return pd.to_datetime(texts, utc=True, format="ISO8601")
    except (ValueError, TypeError):
        readings = {form: times for form, times in _readings(texts) if not times.dt.year.lt(1970).any()}
    if not readings:
        raise _no_format(texts)
    first_form, first_times = next(iter(readings.items()))
    for form, times in readings.items():
        if (different := (times != first_times).to_numpy()).any():
            index = int(np.argmax(different))
            problem = (
                f"The column {TIMESTAMP!r} can be read in two ways, and no value decides: {texts.iloc[index]} is "
                f"{first_times.iloc[index]:%Y-%m-%d} ({_order(first_form)}) or {times.iloc[index]:%Y-%m-%d} "
                f"({_order(form)})."
            )
            raise ConfigurationError(problem, f"{ISO_ADVICE}, which can be read in one way only.")
    return first_times


def _readings(texts: "pd.Series[Any]") -> "Iterator[tuple[str, pd.Series[Any]]]":
    """The formats that fit every text, each with the times."""
    for form in _forms_of(str(texts.iloc[0])):
        try:
            yield form, pd.to_datetime(texts, utc=True, format=form)
        except (ValueError, TypeError):
            continue


def _forms_of(text: str) -> list[str]:
    return [form for form in _FORMS if _fits(text, form)]


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


_FORMS = (*_all_forms(),)


def _order(form: str) -> str:
    """The order of a format in words."""
    order = re.findall(r"%([dmbByY])", form)
    return "day first" if order[0] == "d" else "month first" if order[0] in "mbB" else "year first"


def _no_format(texts: "pd.Series[Any]") -> ConfigurationError:
    """The error of texts that no single format fits."""
    first = str(texts.iloc[0])
    forms = _forms_of(first)
    other = next((text for text in texts if not any(_fits(text, form) for form in forms)), None) if forms else None
    if other is None or not _forms_of(other):
        message = f"The column {TIMESTAMP!r} has values that are not times."
        return ConfigurationError(message, f"{ISO_ADVICE}, or rename the column.")
    message = f"The column {TIMESTAMP!r} mixes formats: no single one fits {first!r} and {other!r}."
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
