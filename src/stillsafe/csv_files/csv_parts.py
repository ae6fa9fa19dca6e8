"""A CSV file in blocks of records, so that a file of any length is never whole in memory.

Encoding, separator and decimal mark are recognised from its head and hold for all of it.
"""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pandas as pd

from stillsafe.csv_files.csv_table import ColumnKinds, csv_table, decimal_mark
from stillsafe.csv_files.dialect import CsvText, csv_text_of, encoding_of
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError

HEAD_BYTES = 1_000_000
_OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def csv_parts(file: Path, kinds: ColumnKinds, form: TableFormat, rows: int) -> Iterator[pd.DataFrame]:
    """The table of a file, in blocks of so many records.

    Args:
        file: the file, which may be packed as `.gz`, `.bz2` or `.xz`.
        kinds: what is known about its columns.
        form: what is known about how it is written.
        rows: most records in a block.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text.
        ConfigurationError: a line has too many cells, or something can be read in two ways.
    """
    unpack = _OPEN.get(file.suffix.lower(), open)
    with unpack(file, "rb") as handle:
        head = _whole_lines(handle.read(HEAD_BYTES))
    head_text = csv_text_of(file, head, form, kinds.expected)
    form = replace(form, decimal=decimal_mark(head_text, kinds, form))
    with unpack(file, "rt", encoding=form.encoding or encoding_of(head), newline="") as handle:
        records = _records(handle)
        header = next(records, "")
        index_kind = None
        while block := _take(records, rows):
            frame = csv_table(CsvText(file, header + "".join(block), head_text.separator), kinds, form).frame
            index_kind = index_kind or type(frame.index)
            if type(frame.index) is not index_kind:  # pandas takes a cell too many for the name of the row
                advice = "Put cells that contain the separator in quotes."
                raise ConfigurationError("Lines have more cells than the header has.", advice, file=str(file))
            yield frame


def _whole_lines(head: bytes) -> bytes:
    """The head without its last line, if it was cut off there."""
    end = head.rfind(b"\n")
    return head[: end + 1] if len(head) == HEAD_BYTES and end > 0 else head


def _records(handle: IO[str]) -> Iterator[str]:
    """The text of each record; a cell in quotes may have several lines. Empty lines are left out."""
    lines: list[str] = []
    is_open = False
    for line in handle:
        if not lines and not line.strip():
            continue
        lines.append(line)
        is_open ^= line.count('"') % 2 == 1
        if not is_open:
            yield "".join(lines)
            lines = []
    if lines:
        yield "".join(lines)


def _take(records: Iterator[str], count: int) -> list[str]:
    return [*islice(records, count)]
