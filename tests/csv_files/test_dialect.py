"""Encoding, separator and lines of a CSV file come from its content, and what is not certain is stated."""

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.csv_files.dialect import SEPARATORS, CsvText, read_csv_text
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError
from stillsafe.table_file import read_with_remarks

TEXT = "ort,größe\nMünchen,1\nKöln,2\n"


def csv_text(folder: Path, content: str | bytes, form: TableFormat | None = None, **options: object) -> CsvText:
    """The text of a CSV file with this content."""
    file = folder / str(options.pop("name", "table.csv"))
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_csv_text(file, form or TableFormat(), **options)  # type: ignore[arg-type] # only `expected` is left


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"]
)
def test_encodings_are_recognised(encoding: str, tmp_path: Path) -> None:
    """The text is the same in each; where the encoding is only probable, a remark shows a line."""
    read = csv_text(tmp_path, TEXT.encode(encoding))
    assert [*read.records()] == [["ort", "größe"], ["München", "1"], ["Köln", "2"]]
    if encoding in ("latin-1", "cp1252"):
        (remark,) = read.remarks
        assert "read as cp1252: line 1 has 'ort,größe'" in remark
        assert "--encoding" in remark
    else:
        assert not read.remarks


def test_a_stated_encoding_is_used(tmp_path: Path) -> None:
    """Cyrillic letters need it; a byte that it does not have is refused with its line."""
    read = csv_text(tmp_path, "город,x\nОмск,1\n".encode("cp1251"), TableFormat(encoding="cp1251"))
    assert [*read.records()] == [["город", "x"], ["Омск", "1"]]
    with pytest.raises(ConfigurationError, match=r"Line 2 is not ascii: byte 0xC3"):
        csv_text(tmp_path, "ort,x\nKöln,1\n", TableFormat(encoding="ascii"))
    with pytest.raises(ConfigurationError, match=r"Line 2 is neither UTF-8 nor cp1252: byte 0x81.* --encoding"):
        csv_text(tmp_path, b"ort,x\nK\x81ln,1\n")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"a,b\n1,\x00\x01\xff\n", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_what_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    """An empty file and a binary one have no records."""
    with pytest.raises(ValueError, match="it is"):
        csv_text(tmp_path, content)


@pytest.mark.parametrize("separator", SEPARATORS)
@given(st.lists(st.lists(st.text("ab 12.,;|\t\"'", max_size=5), min_size=3, max_size=3), min_size=1, max_size=6))
def test_separators_are_recognised(separator: str, rows: list[list[str]]) -> None:
    """Whatever is in the cells: the columns that the file should have decide, quotes protect what is inside."""
    quoted_rows = [separator.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    file = Path("table.csv")
    text = "\n".join([separator.join(("one", "two", "three")), *quoted_rows])
    read = _read(file, text, ("one", "two", "three"))
    assert (read.separator, [*read.records()][1:]) == (separator, rows)


def _read(file: Path, text: str, expected: tuple[str, ...]) -> CsvText:
    """Read a text as if it stood in a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda _: text.encode())
        return read_csv_text(file, TableFormat(), expected)


@pytest.mark.parametrize("separator", SEPARATORS)
def test_equal_numbers_of_cells_decide_without_columns(separator: str, tmp_path: Path) -> None:
    """A decimal comma in the cells is no separator, and neither is a comma in one name."""
    other = ";" if separator == "," else ","
    rows = [["a", f"b{other} c"], [f"1{other}5", "2"], ["3", f"4{other}5{other}6"]]
    read = csv_text(tmp_path, "\n".join(separator.join(row) for row in rows))
    assert [*read.records()] == rows


def test_two_possible_separators_are_refused_unless_columns_decide(tmp_path: Path) -> None:
    """The header and every line fit both."""
    text = "a,b;c,d\n1,2;3,4\n5,6;7,8\n"
    with pytest.raises(ConfigurationError, match=r"',' and ';'.* Name it with --separator"):
        csv_text(tmp_path, text)
    assert csv_text(tmp_path, text, expected=["b;c"]).names == ["a", "b;c", "d"]
    assert csv_text(tmp_path, text, TableFormat(separator=";")).names == ["a,b", "c,d"]


@pytest.mark.parametrize("text", ["a\n1\n2\n", "a b\n1 2\n", "only one column\n"])
def test_one_column_needs_no_separator(text: str, tmp_path: Path) -> None:
    """It has all cells of the line."""
    assert csv_text(tmp_path, text).names == text.splitlines()[:1]


def test_a_line_with_too_many_cells_is_named(tmp_path: Path) -> None:
    """A decimal comma beside separators of commas; the line is that of the file, blank lines and quotes included."""
    with pytest.raises(ConfigurationError, match=r"table\.csv: Line 2 has 3 cells, and the header has 2.*quotes"):
        csv_text(tmp_path, "a,b\n1,5,2\n1,5,3\n")
    with pytest.raises(ConfigurationError, match=r"Line 6 has 3 cells"):
        csv_text(tmp_path, 'a,b\n\n"1\n2",5\n1,2\n1,2,3\n')


@pytest.mark.parametrize("text", ["a,b\nx,1,2\ny,3,4\n", "a,b\n1,2,\n1,2,\n"])
def test_row_names_and_a_separator_at_the_end_are_allowed(text: str, tmp_path: Path) -> None:
    """R writes row names without a name of their column, and some programs end each line with a separator."""
    read = csv_text(tmp_path, text)
    assert read.names == ["a", "b"]
    assert read.has_trailing_separator == ("x" not in text)


def test_lines_with_too_few_cells_are_named(tmp_path: Path) -> None:
    """The first with its line, the others by their number; a missing last cell alone, or an empty line, is none."""
    whole = "a,b,c\n1,2,3\n4,5,\n\n"
    assert remarks_of(tmp_path, whole) == ()
    (remark,) = remarks_of(tmp_path, whole + "44,2\n")
    assert remark.startswith("Line 5 has 2 cells, fewer than the 3 of the header: what it lacks was read as missing.")
    (remark,) = remarks_of(tmp_path, whole + "44,2\n7\n8,\n")
    assert remark.startswith("Line 5 has 2 cells, fewer than the 3 of the header (2 other lines have too few):")


def remarks_of(folder: Path, text: str) -> tuple[str, ...]:
    """What is said of a file."""
    (folder / "table.csv").write_text(text)
    return read_with_remarks(folder / "table.csv").remarks


def test_rows_have_their_lines(tmp_path: Path) -> None:
    """Blank lines and line breaks inside quotes count."""
    read = csv_text(tmp_path, 'a,b\n1,2\n\n"3\n3",4\n5,6\n')
    assert [read.line_of(row) for row in range(3)] == [2, 4, 6]


def test_packed_files_are_read(tmp_path: Path) -> None:
    """The end of the name says how they are packed."""
    packs: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    for suffix, pack in packs.items():
        assert csv_text(tmp_path, pack(TEXT.encode()), name=f"table.csv.{suffix}").names == ["ort", "größe"]
    with zipfile.ZipFile(tmp_path / "table.zip", "w") as archive:
        archive.writestr("table.csv", TEXT)
    assert read_csv_text(tmp_path / "table.zip", TableFormat()).names == ["ort", "größe"]
    with zipfile.ZipFile(tmp_path / "table.zip", "a") as archive:
        archive.writestr("other.csv", TEXT)
    with pytest.raises(ValueError, match="more than one file"):
        read_csv_text(tmp_path / "table.zip", TableFormat())
