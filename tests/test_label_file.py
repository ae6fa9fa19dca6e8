"""Files of labels."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stillsafe import label_file
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError
from stillsafe.label_file import LabelColumns, LabelRow, find_columns, label_batches, row_count


def _file(folder: Path, suffix: str, table: pd.DataFrame) -> Path:
    file = folder / f"labels{suffix}"
    if suffix == ".parquet":
        table.to_parquet(file)
    else:
        table.to_csv(file, index=False)
    return file


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_rows_come_in_batches(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With identifier and label; an empty cell is None."""
    monkeypatch.setattr(label_file, "BATCH_ROWS", 2)
    table = pd.DataFrame({"more": 1, "label": ["yes", None, "no"], "id": ["a", "b", None]})
    file = _file(tmp_path, suffix, table)
    columns = find_columns(file)
    assert columns == LabelColumns("id", True, "label")
    batches = [[(row.key, row.label) for row in batch] for batch in label_batches(file, columns)]
    assert batches == [[("a", "yes"), ("b", None)], [(None, "no")]]
    assert row_count(file) == 3


def test_the_service_own_identifier_is_preferred_and_the_owner_may_name_columns(tmp_path: Path) -> None:
    """A file may have both, and any names."""
    file = _file(tmp_path, ".csv", pd.DataFrame({"id": ["a"], "prediction_id": ["p"], "label": ["x"], "truth": ["y"]}))
    assert find_columns(file) == LabelColumns("prediction_id", False, "label")
    assert find_columns(file, request_id="id", label="truth") == LabelColumns("id", True, "truth")
    assert find_columns(file, prediction_id="id").is_request_id is False


@pytest.mark.parametrize(
    ("names", "options", "problem"),
    [
        (["id", "truth"], {}, "no column 'label'"),
        (["key", "label"], {}, "No column has the predictions' identifiers"),
        (["id", "label"], {"prediction_id": "key"}, "no column 'key'"),
    ],
)
def test_a_missing_column_is_named_with_its_remedy(
    tmp_path: Path, names: list[str], options: dict[str, Any], problem: str
) -> None:
    """And with the columns that there are."""
    file = _file(tmp_path, ".csv", pd.DataFrame({name: ["a"] for name in names}))
    with pytest.raises(ConfigurationError, match=problem):
        find_columns(file, **options)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_file_is_read_however_it_is_written(tmp_path: Path, encoding: str, separator: str, end: str) -> None:
    """Identifiers stay texts as they stand there: with blanks, with leading zeros, with letters and separators."""
    file, keys = tmp_path / "labels.csv", [" sp ace ", "007", "Jörg", "a,b;c", "1e5", "NA"]
    lines = [separator.join(cells) for cells in [("id", "label", "more"), *((f'"{key}"', "yes ", "x") for key in keys)]]
    file.write_bytes(end.join([*lines, ""]).encode(encoding))
    columns = find_columns(file)
    rows = [row for batch in label_batches(file, columns) for row in batch]
    assert [(row.key, row.label) for row in rows] == [(key, "yes") for key in keys]
    assert [row.number for row in rows] == [2, 3, 4, 5, 6, 7]
    stated_columns = find_columns(file, form=TableFormat(separator, encoding=encoding))
    assert [row for batch in label_batches(file, stated_columns) for row in batch] == rows


def test_a_blank_in_the_header_is_no_part_of_a_name_unless_two_columns_differ_by_it(tmp_path: Path) -> None:
    """And a list of columns shows it."""
    file = tmp_path / "labels.csv"
    file.write_text("id, label\na,yes\n")
    (rows,) = label_batches(file, find_columns(file))
    assert rows == [LabelRow(2, "a", "yes")]
    file.write_text("id, label,label \na,yes,no\n")
    with pytest.raises(ConfigurationError, match="there are: id, ' label', 'label '"):
        find_columns(file)
    assert find_columns(file, label="label ").label == "label "


def test_one_column_alone_is_no_crash(tmp_path: Path) -> None:
    """Its columns are listed."""
    file = tmp_path / "labels.csv"
    file.write_text("id label\na yes\n")
    with pytest.raises(ConfigurationError, match="no column 'label'"):
        find_columns(file)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    """A file that is absent, and one that is no text further down."""
    with pytest.raises(ConfigurationError):
        find_columns(tmp_path / "none.csv")
    file = tmp_path / "labels.csv"
    file.write_bytes(b"id,label\na,yes\nb,\x81\n")
    columns = LabelColumns("id", True, "label")
    with pytest.raises(ConfigurationError, match="Line 3 is neither UTF-8 nor"):
        list(label_batches(file, columns))
