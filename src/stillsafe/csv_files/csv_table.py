"""A CSV file as a table: texts untouched where they are known as texts, and numbers whatever marks they have.

Ordinary cells are read by pandas. Columns that pandas leaves as texts, and numbers that may have a decimal comma, are
read again from their texts.
"""

import io
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from stillsafe.csv_files.dialect import CsvText, too_many_cells
from stillsafe.csv_files.number_columns import CellTexts, NumberColumns
from stillsafe.csv_files.table_format import TableFormat

MISSING_WORDS = frozenset(
    [
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
        *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    ]
)
"""Cells of a CSV file that are missing values, unless the column is known to have the word as a category."""
END = "\0"
"""Name of the column after a separator at the end of each line; no column of a file has it."""
LARGEST_INTEGER = 2**63 - 1
_TOO_MANY = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")

Texts = Mapping[str, Sequence[str]]
"""Column that holds texts -> texts that it is known to have."""


@dataclass(frozen=True, slots=True)
class ColumnKinds:
    """What is known about the columns of a table.

    Attributes:
        texts: columns of texts, each with texts that it is known to have.
        numbers: columns of numbers: a cell that is none is refused.
        surplus: columns that are not needed: their cells may be whatever they are.
        expected: columns that the file should have.
    """

    texts: Texts = field(default_factory=dict)
    numbers: Collection[str] = ()
    surplus: Collection[str] = ()
    expected: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A table, and what a person should know of how its file was read.

    Attributes:
        frame: the table.
        remarks: what was recognised and is not certain, one sentence each.
        doubts: column -> sentence about cells that are no numbers although most of its cells are.
    """

    frame: pd.DataFrame
    remarks: tuple[str, ...] = ()
    doubts: Mapping[str, str] = field(default_factory=dict)


def csv_table(csv_text: CsvText, kinds: ColumnKinds, form: TableFormat) -> CsvTable:
    """Convert the text of a CSV file.

    Raises:
        ValueError: pandas cannot read it.
        ConfigurationError: a line has too many cells, a column can be read in two ways, or a cell of a column of
            numbers is no number.
    """
    names = csv_text.names
    missing = {name: missing_words(name, names, kinds.texts, form) for name in names}
    frame = _read(csv_text, missing, [name for name in names if name in kinds.texts])
    candidates = [name for name in frame.columns if name not in kinds.texts and name not in kinds.surplus]
    cells = {name: frame[name] for name in candidates if _is_text(frame[name])}
    columns = _number_columns(csv_text, cells, kinds, form)
    if columns.has_comma or csv_text.separator == ";" or form.decimal == ",":
        decimals = [name for name in candidates if pd.api.types.is_float_dtype(frame[name])]
        texts = _read(csv_text, missing, decimals, only=True) if decimals else frame[[]]
        cells |= {name: texts[name] for name in decimals}
        columns = _number_columns(csv_text, cells, kinds, form)
    readings = {name: numbers for name in cells if (numbers := columns.numbers(name)) is not None}
    remarks = (*csv_text.remarks, *columns.remarks(), *_words_as_missing(csv_text, frame, kinds, form))
    doubts = dict(columns.doubts())
    new_columns = {name: _numbers(cells[name], numbers) for name, numbers in readings.items()}
    return CsvTable(
        frame.assign(**new_columns), remarks, {name: doubts[name] for name in doubts if _is_text(frame[name])}
    )


def decimal_mark(csv_text: CsvText, kinds: ColumnKinds, form: TableFormat) -> str:
    """The decimal mark of the numbers in a file: the one that is stated, or recognised; a point where none shows.

    Raises:
        ValueError, ConfigurationError: as `csv_table`.
    """
    if form.decimal is not None:
        return form.decimal
    names = csv_text.names
    candidates = [name for name in names if name not in kinds.texts and name not in kinds.surplus]
    texts = _read(
        csv_text, {name: missing_words(name, names, kinds.texts, form) for name in names}, candidates, only=True
    )
    cells = {name: texts[name] for name in candidates if _is_text(texts[name])}
    return "," if _number_columns(csv_text, cells, kinds, form).has_comma else "."


def missing_words(name: str, names: Sequence[str], texts: Texts, form: TableFormat) -> frozenset[str]:
    """The cells of a column that are missing values."""
    words = MISSING_WORDS if name not in texts else MISSING_WORDS - ({*texts[name]} - {""})
    return words | form.missing_words(name, names)


def _read(
    csv_text: CsvText, missing: Mapping[str, Collection[str]], texts: Sequence[str], *, only: bool = False
) -> pd.DataFrame:
    """The table as pandas reads it, the columns of `texts` untouched; with `only` no others."""
    extra = {END: str} if csv_text.has_trailing_separator else {}
    try:
        frame = pd.read_csv(
            io.StringIO(csv_text.text),
            sep=csv_text.separator,
            low_memory=False,
            header=0,
            names=[*csv_text.names, END] if extra else None,
            dtype=dict.fromkeys(texts, str) | extra,
            usecols=[*texts, *extra] if only else None,
            keep_default_na=False,
            na_values={name: sorted(words) for name, words in missing.items()},
        )
    except ValueError as error:
        if (numbers := _TOO_MANY.search(str(error))) is None:
            raise
        header_count, line, count = (int(number) for number in numbers.groups())
        raise too_many_cells(csv_text.file, line, count, header_count) from error
    if extra and (is_beyond := frame[END].fillna("").ne("").to_numpy()).any():
        line, count = csv_text.line_of(int(is_beyond.argmax())), len(csv_text.names)
        raise too_many_cells(csv_text.file, line, count + 1, count)
    return frame.drop(columns=[*extra])


def _number_columns(
    csv_text: CsvText, cells: Mapping[str, "pd.Series[Any]"], kinds: ColumnKinds, form: TableFormat
) -> NumberColumns:
    columns = {}
    for name, column in cells.items():
        values = column.tolist()
        counts = Counter(value for value in values if isinstance(value, str))
        first_rows = {value: row for row, value in reversed([*enumerate(values)]) if isinstance(value, str)}
        columns[name] = CellTexts(name, counts, first_rows, name in kinds.numbers)
    return NumberColumns(csv_text, columns, form.decimal)


def _is_text(column: "pd.Series[Any]") -> bool:
    is_number = pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)
    return not is_number and any(isinstance(value, str) for value in column)


def _numbers(column: "pd.Series[Any]", numbers: Mapping[str, float]) -> "pd.Series[Any]":
    """The numbers of the cells: integers where all are whole and none is missing, else floats."""
    values = [numbers.get(value, math.nan) if isinstance(value, str) else math.nan for value in column.tolist()]
    is_whole = all(isinstance(value, int) and abs(value) <= LARGEST_INTEGER for value in values)
    return pd.Series(values, column.index, dtype="int64" if is_whole else "float64")


def _words_as_missing(csv_text: CsvText, frame: pd.DataFrame, kinds: ColumnKinds, form: TableFormat) -> Iterator[str]:
    """A sentence for each column of texts in which words such as NA were read as missing values."""
    names = [
        name
        for name in frame.columns
        if name not in kinds.surplus and frame[name].isna().any() and _is_text(frame[name])
    ]
    if not names:
        return
    texts = _read(csv_text, {}, names, only=True)
    for name in names:
        words = {*texts[name][frame[name].isna()]} - {""} - form.missing_words(name, csv_text.names)
        if words:
            yield (
                f"{name}: {', '.join(sorted(words))} in the CSV file was read as missing. If it is a category, give "
                "the sample as Parquet."
            )
