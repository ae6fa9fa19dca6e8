"""The same table is read from a CSV file however it is written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.csv_files.csv_table import ColumnKinds, CsvTable, csv_table
from stillsafe.csv_files.dialect import CsvText
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError

RATE = [0.5, 1234.5, None, 1_000_000.25] * 5
COUNT = [*range(995, 1015)]
TOWN = ["Köln", "NA-Stadt", "Bonn", "a,b;c"] * 5
TABLE = pd.DataFrame({"rate": RATE, "count": COUNT, "town": TOWN, "open": [True, False] * 10})


def read(
    text: str, separator: str = ",", kinds: ColumnKinds | None = None, form: TableFormat | None = None
) -> CsvTable:
    """The table of a text."""
    csv_text = CsvText(Path("sample.csv"), text, separator)
    return csv_table(csv_text, kinds or ColumnKinds(), form or TableFormat())


def german(value: object) -> str:
    """A number as it is written with a decimal comma and points between thousands; another value as a text."""
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}".translate({ord(","): ".", ord("."): ","})
    return str(value)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("is_german", [False, True])
def test_a_table_is_the_same_in_every_form(separator: str, is_german: bool) -> None:
    """Separators, decimal marks and thousands marks change no value and no type."""
    table = TABLE.astype(object).map(german) if is_german else TABLE
    text = table.to_csv(index=False, sep=separator)
    pd.testing.assert_frame_equal(read(text, separator).frame, TABLE, check_dtype=True)


def test_numbers_with_a_point_beside_semicolons() -> None:
    """Whether a decimal point or a thousands mark: one cell of the file decides, else the owner does."""
    text = "a;b\n1.234;0.5\n2.345;1\n"
    assert read(text, ";").frame["a"].tolist() == [1.234, 2.345]
    with pytest.raises(ConfigurationError, match="'a' can be read in two ways"):
        read("a;b\n1.234;1\n2.345;2\n", ";")
    assert read("a;b\n1.234;1\n2.345;2\n", ";", form=TableFormat(decimal=",")).frame["a"].tolist() == [1234, 2345]
    surplus = ColumnKinds(surplus=("a",))
    assert read("a;b\n1.234;1\n2.345;2\n", ";", surplus).frame["b"].tolist() == [1, 2]


def test_known_texts_are_untouched() -> None:
    """Whatever numbers they look like; their own words are no missing values."""
    text = 'code,size\n"1,5",1\n007,2\nNA,3\n?,4\n'
    table = read(text, kinds=ColumnKinds({"code": ("NA", "007")}))
    assert table.frame["code"].tolist() == ["1,5", "007", "NA", "?"]
    assert not table.remarks


def test_words_in_texts_that_are_read_as_missing_are_named() -> None:
    """Empty cells and the owner's words are no remark."""
    (remark,) = read("town,x\nNA,1\nBonn,2\n,3\n").remarks
    assert remark.startswith("town: NA in the CSV file was read as missing.")
    assert not read("town,x\nNA,1\nBonn,2\n,3\n", form=TableFormat(missing=("NA",))).remarks


def test_the_owners_words_are_missing_values() -> None:
    """In all columns, or in one."""
    table = read("age,size\n-999,1\n5,-999\n6,x\n", form=TableFormat(missing=("age=-999", "x"))).frame
    assert table["age"].isna().tolist() == [True, False, False]
    assert table["size"].tolist()[:2] == [1, -999]
    assert np.isnan(table["size"].tolist()[2])


def test_a_line_far_down_with_too_many_cells_is_named() -> None:
    """Also where the recognition of the separator has not come."""
    with pytest.raises(ConfigurationError, match=r"Line 2002 has 3 cells, and the header has 2"):
        read("a,b\n" + "1,2\n" * 2000 + "1,2,3\n")


def test_separators_at_the_end_of_lines_add_no_column() -> None:
    """The cells stay in their columns."""
    assert read("a,b\n1,2,\n3,4,\n").frame.to_dict("list") == {"a": [1, 3], "b": [2, 4]}
    with pytest.raises(ConfigurationError, match=r"Line 1502 has 3 cells"):
        read("a,b\n" + "1,2,\n" * 1500 + "1,2,3\n")


@settings(max_examples=50)
@given(st.lists(st.floats(-1e12, 1e12).filter(lambda number: number != round(number, 3)), min_size=1, max_size=20))
def test_decimal_commas_are_read_exactly(numbers: list[float]) -> None:
    """Every number is the float that it was."""
    text = "a;b\n" + "".join(f"{str(number).replace('.', ',')};x\n" for number in numbers)
    assert read(text, ";").frame["a"].tolist() == numbers
