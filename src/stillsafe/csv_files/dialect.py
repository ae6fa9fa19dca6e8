"""The encoding and the separator of a CSV file, recognised from its content, and the lines of its records."""

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError

SEPARATORS = (",", ";", "\t", "|")
RECORDS_INSPECTED = 1_000
"""Records from which separator and number of cells are recognised."""
CHARACTERS_INSPECTED = 4_096
"""Characters at the start of a file that must be text."""
LONGEST_EXAMPLE = 30
"""Characters of a cell that a message shows."""
SINGLE_BYTES = "cp1252"
"""The encoding of a file that is neither UTF-8 nor UTF-16: the one of Windows, which has all letters of latin-1."""
LARGEST_CELL = 10_000_000
_UNPACK: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a]")
_MARKS = {b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True, slots=True)
class CsvText:
    """The text of a CSV file and how it is written.

    Attributes:
        file: the file, for messages.
        text: its content.
        separator: the character between two cells.
        remarks: what a person should check, one sentence each.
    """

    file: Path
    text: str
    separator: str
    remarks: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The cells of the header; a column without a name is called `Unnamed: ` and its position from 0."""
        header = next(self.records(), [])
        return [name or f"Unnamed: {index}" for index, name in enumerate(header)]

    @property
    def has_trailing_separator(self) -> bool:
        """Whether each line after the header ends with a separator, after which there is no cell."""
        count = len(self.names)
        records = [record for record in islice(self.records(), 1, RECORDS_INSPECTED) if record]
        return bool(records) and all(len(record) == count + 1 and not record[-1] for record in records)

    def numbered_records(self) -> Iterator[tuple[int, list[str]]]:
        """The records, each with the line from 1 in which it begins."""
        return _records(self.text, self.separator)

    def records(self) -> Iterator[list[str]]:
        """The cells of each record, the header's first; records without a cell are left out."""
        return (record for _, record in _records(self.text, self.separator))

    def line_of(self, row: int) -> int:
        """The line of the file, from 1, in which the record of a row of the table begins."""
        return next((line for line, _ in islice(_records(self.text, self.separator), row + 1, None)), row + 2)


def read_csv_text(file: Path, form: TableFormat, expected: Collection[str] = ()) -> CsvText:
    """Read the text of a CSV file, which may be packed as `.gz`, `.bz2`, `.xz` or `.zip`.

    Args:
        file: the file.
        form: what is known about it.
        expected: columns that the file should have, which decide where several separators are possible.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text.
        ConfigurationError: it is not in the encoding that the owner states, or lines have other numbers of cells.
    """
    return csv_text_of(file, _content(file), form, expected)


def csv_text_of(file: Path, content: bytes, form: TableFormat, expected: Collection[str] = ()) -> CsvText:
    """The text in the content of a CSV file, or in its head; raises as `read_csv_text`, whose arguments it has."""
    text, remarks = _decode(file, content, form.encoding)
    start = text[:CHARACTERS_INSPECTED]
    if not start.strip():
        raise ValueError("it is empty")
    if not all(character.isprintable() or character.isspace() for character in start):
        raise ValueError("it is no text")
    separator = form.separator or _separator(text, expected, file)
    csv_text = CsvText(file, text, separator, remarks)
    _require_equal_counts(csv_text)
    return csv_text


def _content(file: Path) -> bytes:
    suffix = file.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise ValueError("the zip file has more than one file in it")
            return archive.read(names[0])
    if (unpack := _UNPACK.get(suffix)) is not None:
        with unpack(file, "rb") as handle:
            return bytes(handle.read())
    return file.read_bytes()


def encoding_of(head: bytes) -> str:
    """The encoding of a file that begins so, without a byte order mark."""
    wide_encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None) or _wide(head)
    if wide_encoding is not None:
        return wide_encoding
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return SINGLE_BYTES
    return "utf-8-sig"


def _decode(file: Path, content: bytes, encoding: str | None) -> tuple[str, tuple[str, ...]]:
    """The text, without a byte order mark, and a remark where the encoding is only probable."""
    if encoding is not None:
        try:
            return content.decode(encoding).removeprefix("\ufeff"), ()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            problem = f"Line {line} is not {encoding}: byte 0x{content[error.start]:02X}."
            raise ConfigurationError(problem, "Name the file's encoding with --encoding.", file=str(file)) from None
    wide_encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None) or _wide(content)
    try:
        return content.decode(wide_encoding or "utf-8").removeprefix("\ufeff"), ()
    except UnicodeDecodeError as failure:
        if wide_encoding is not None:
            raise ValueError(f"it is no {wide_encoding}") from None
        position = failure.start
    if _CONTROL.search(content, 0, CHARACTERS_INSPECTED):
        raise ValueError("it is no text")
    line = content.count(b"\n", 0, position) + 1
    try:
        text = content.decode(SINGLE_BYTES)
    except UnicodeDecodeError:
        problem = f"Line {line} is neither UTF-8 nor {SINGLE_BYTES}: byte 0x{content[position]:02X}."
        raise ConfigurationError(problem, "Name the file's encoding with --encoding.", file=str(file)) from None
    start, end = max(position - LONGEST_EXAMPLE // 2, 0), position + LONGEST_EXAMPLE // 2
    around = text[start:position].splitlines()[-1:] + text[position:end].splitlines()[:1]
    remark = f"The file is not UTF-8, so it was read as {SINGLE_BYTES}: line {line} has {''.join(around)!r}."
    return text, (f"{remark} If that is wrong, name the encoding with --encoding.",)


def _wide(content: bytes) -> str | None:
    """UTF-16 without a byte order mark: every other byte of ordinary text is zero."""
    start = content[:CHARACTERS_INSPECTED]
    half = len(start) // 2
    if half and start[1::2].count(0) > 0.4 * half and not start[::2].count(0):
        return "utf-16-le"
    return "utf-16-be" if half and start[::2].count(0) > 0.4 * half and not start[1::2].count(0) else None


def _records(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The line in which each record begins, from 1, and its cells."""
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    line = 1
    for record in reader:
        if record:
            yield line, record
        line = reader.line_num + 1


def _separator(text: str, expected: Collection[str], file: Path) -> str:
    """The separator with which the header has the expected columns, or else all records have as many cells.

    Raises:
        ConfigurationError: several separators are possible.
    """
    tables = {sign: [record for _, record in islice(_records(text, sign), RECORDS_INSPECTED)] for sign in SEPARATORS}
    headers = {sign: {name.strip() for name in records[0]} for sign, records in tables.items()}
    matches = {sign: len(header.intersection(expected)) for sign, header in headers.items()}
    if expected and sum(count == max(matches.values()) for count in matches.values()) == 1:
        return max(matches, key=matches.__getitem__)
    possible = [
        sign
        for sign, records in tables.items()
        if len(records[0]) > 1 and all(len(record) == len(records[0]) for record in records)
    ]
    if len(possible) > 1:
        signs = " and ".join(repr(sign) for sign in possible)
        problem = f"The separator can be {signs}: the header and every line fit both."
        raise ConfigurationError(problem, "Name it with --separator.", file=str(file))
    return possible[0] if possible else max(SEPARATORS, key=lambda sign: len(tables[sign][0]))


def _require_equal_counts(csv_text: CsvText) -> None:
    """Check that no line has more cells than the header.

    A first column without a name, as R writes row names, is allowed, and so is a separator at the end of each line.

    Raises:
        ConfigurationError: the line.
    """
    count = len(csv_text.names)
    records = [*islice(_records(csv_text.text, csv_text.separator), 1, RECORDS_INSPECTED)]
    row_names = [record[0] for _, record in records if len(record) == count + 1]
    if len(row_names) == len(records) and (len({*row_names}) == len(row_names) or csv_text.has_trailing_separator):
        return
    for line, record in records:
        if len(record) > count:
            raise too_many_cells(csv_text.file, line, len(record), count)


def too_few_cells(csv_text: CsvText) -> str | None:
    """A sentence about the lines that have fewer cells than the header; None without any."""
    count, lines = len(csv_text.names), 0
    first = (0, 0)
    for line, record in islice(_records(csv_text.text, csv_text.separator), 1, None):
        if len(record) < count:
            first, lines = first if lines else (line, len(record)), lines + 1
    if not lines:
        return None
    noun = "line has" if lines == 2 else "lines have"
    others = f" ({lines - 1} other {noun} too few)" if lines > 1 else ""
    return (
        f"Line {first[0]} has {first[1]} cells, fewer than the {count} of the header{others}: what it lacks was read "
        "as missing. Check whether the file was cut off there."
    )


def too_many_cells(file: Path, line: int, count: int, header_count: int) -> ConfigurationError:
    """The error of a line that has more cells than the header."""
    return ConfigurationError(
        f"Line {line} has {count} cells, and the header has {header_count}.",
        "Put cells that contain the separator in quotes, or name the separator with --separator.",
        file=str(file),
    )
