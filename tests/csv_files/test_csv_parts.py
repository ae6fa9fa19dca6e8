"""A CSV file in blocks has the cells that it has as a whole."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stillsafe.csv_files.csv_parts import csv_parts
from stillsafe.csv_files.csv_table import ColumnKinds
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError
from stillsafe.table_file import read_with_remarks

KINDS = ColumnKinds({"town": ()}, expected=("age", "town"))
LINES = [f'{20 + number}.5,"T{number}\nx ""y""",007' for number in range(25)]


def _blocks(file: Path, rows: int = 4, form: TableFormat | None = None) -> list[pd.DataFrame]:
    return list(csv_parts(file, KINDS, form or TableFormat(), rows))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_blocks_are_the_table_in_parts(tmp_path: Path, end: str, encoding: str) -> None:
    """Cells with line ends and quotes, in each encoding; the last block is shorter."""
    file = tmp_path / "rows.csv"
    text = end.join(["age,town,zip", *LINES, "", '60.5,"Köln",1']) + end
    file.write_bytes(text.encode(encoding))
    blocks = _blocks(file)
    assert [len(block) for block in blocks] == [4] * 6 + [2]
    whole = read_with_remarks(file, KINDS).frame
    pd.testing.assert_frame_equal(pd.concat(blocks, ignore_index=True), whole)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open)])
def test_packed_files_are_read(tmp_path: Path, suffix: str, pack: Callable[..., Any]) -> None:
    """As they are elsewhere."""
    file = tmp_path / f"rows.csv{suffix}"
    with pack(file, "wt") as handle:
        handle.write("age,town\n1,Ulm\n2,Bonn\n")
    assert pd.concat(_blocks(file))["town"].tolist() == ["Ulm", "Bonn"]


def test_the_decimal_mark_of_the_head_holds_for_every_block(tmp_path: Path) -> None:
    """A block that could be read in two ways by itself is read as the head is."""
    file = tmp_path / "rows.csv"
    file.write_text("age;town\n" + "1,5;Ulm\n" * 4 + "2,125;Ulm\n" * 4)
    assert pd.concat(_blocks(file))["age"].tolist() == [1.5] * 4 + [2.125] * 4
    file.write_text("age;town\n" + "1.125;Ulm\n" * 4)
    assert pd.concat(_blocks(file, form=TableFormat(decimal=",")))["age"].tolist() == [1125] * 4


def test_a_line_with_too_many_cells_is_refused(tmp_path: Path) -> None:
    """In the head and behind it."""
    file = tmp_path / "rows.csv"
    for text in ("age,town\n1,Ulm\n1,Ulm,x\n", "age,town\n" + "1,Ulm\n" * 8 + "1,Ulm,x\n"):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match="the header"):
            _blocks(file)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """It has no header."""
    file = tmp_path / "rows.csv"
    file.write_text("")
    with pytest.raises(ValueError, match="empty"):
        _blocks(file)
    file.write_text("age,town\n")
    assert _blocks(file) == []
