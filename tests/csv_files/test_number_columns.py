"""Each column of numbers has one decimal mark, and what is doubtful is named with its column, line and remedy."""

from collections import Counter
from pathlib import Path

import pytest

from stillsafe.csv_files.dialect import CsvText
from stillsafe.csv_files.number_columns import CellTexts, NumberColumns
from stillsafe.errors import ConfigurationError

NUMBERS = [str(number) for number in range(20)]


def number_columns(
    columns: dict[str, list[str]], decimal: str | None = None, must_be_numbers: tuple[str, ...] = ()
) -> NumberColumns:
    """The columns of a file with these cells, each row on a line of its own after the header."""
    rows = zip(*columns.values(), strict=True)
    lines = [";".join(columns), *(";".join(row) for row in rows)]
    csv_text = CsvText(Path("sample.csv"), "\n".join(lines), ";")
    cells = {
        name: CellTexts(
            name,
            Counter(values),
            {value: values.index(value) for value in values},
            name in must_be_numbers,
        )
        for name, values in columns.items()
    }
    return NumberColumns(csv_text, cells, decimal)


def test_columns_decide_for_themselves() -> None:
    """A file may have both marks in different columns; texts stay texts."""
    columns = number_columns({"price": ["1,5", "1.234"], "rate": ["0.5", "1.234"], "town": ["Köln", "Bonn"]})
    assert columns.numbers("price") == {"1,5": 1.5, "1.234": 1234}
    assert columns.numbers("rate") == {"0.5": 0.5, "1.234": 1.234}
    assert columns.numbers("town") is None
    assert columns.has_comma
    remarks = [*columns.remarks()]
    assert remarks[0] == "price: read with a decimal comma, such as '1,5'. If that is wrong, add --decimal \".\"."
    assert remarks[1].startswith("price: '.' separates thousands, so '1.234' is 1234.")
    assert not [*columns.doubts()]


def test_spaces_between_thousands_are_named() -> None:
    """They may be an identifier's; one that begins with a zero is no number."""
    (remark,) = number_columns({"price": ["12 345", "2"]}).remarks()
    assert remark == "price: ' ' separates thousands, so '12 345' is 12345."
    assert number_columns({"phone": ["030 123 456", "089 123 456"]}).numbers("phone") is None


@pytest.mark.parametrize(("other", "number"), [("0,5", 1.234), ("0.5", 1234)])
def test_other_columns_decide_what_is_ambiguous(other: str, number: float) -> None:
    """A file has one decimal mark unless its cells show otherwise."""
    columns = number_columns({"price": ["1,234", "2"], "rate": [other, "1"]})
    assert columns.numbers("price") == {"1,234": number, "2": 2}


@pytest.mark.parametrize("others", [["1", "2"], ["Köln", "Bonn"]])
def test_an_ambiguous_column_is_refused_with_both_readings(others: list[str]) -> None:
    """No cell of the file decides: the column, the cell, its line and the option are named."""
    columns = number_columns({"price": ["12", "1.234"], "town": others})
    problem = (
        r"sample\.csv: The column 'price' can be read in two ways, and no value decides: '1\.234' in line 3 is "
        r"1\.234 \(decimal point\) or 1,234 \(decimal comma\)\. Add --decimal"
    )
    with pytest.raises(ConfigurationError, match=problem):
        columns.numbers("price")


@pytest.mark.parametrize(("decimal", "number"), [(".", 1.234), (",", 1234)])
def test_the_owner_decides(decimal: str, number: float) -> None:
    """The stated mark holds for all columns, without a remark on it."""
    columns = number_columns({"price": ["12", "1.234"]}, decimal)
    assert columns.numbers("price") == {"12": 12, "1.234": number}
    assert not any("read with" in remark for remark in columns.remarks())


def test_a_stated_mark_that_is_wrong_is_refused() -> None:
    """A column of numbers with the other mark has no numbers with the stated one."""
    columns = number_columns({"price": ["12", "2.75"]}, ",")
    with pytest.raises(ConfigurationError, match=r"price: '2\.75' in line 3 is no number"):
        columns.numbers("price")


def test_words_for_missing_values_are_named() -> None:
    """Their number, and the first line of each."""
    columns = number_columns({"age": [*NUMBERS, "?", "n.a.", "?"]})
    assert columns.numbers("age") == {text: int(text) for text in NUMBERS}
    (remark,) = columns.remarks()
    assert (
        remark == "age: 3 cells were read as missing, since all others are numbers: '?' in line 22, 'n.a.' in line 23."
    )


def test_words_that_are_unknown_are_doubts() -> None:
    """The column stays as it is: an encoder may take it. Only a column that must be of numbers is refused."""
    cells = {"age": [*NUMBERS, "many", "?"]}
    columns = number_columns(cells)
    assert columns.numbers("age") is None
    sentence = "age: 2 of 22 cells are no numbers, as the others are: 'many' in line 22."
    ((name, doubt),) = columns.doubts()
    assert (name, doubt.startswith(sentence), "add --missing 'many'" in doubt) == ("age", True, True)
    with pytest.raises(ConfigurationError, match=r"sample\.csv: age: 2 of 22.*If they mean missing, add --missing"):
        number_columns(cells, must_be_numbers=("age",)).numbers("age")
    with pytest.raises(ConfigurationError, match=r"age: 'a' in line 2 is no number.*--missing"):
        number_columns({"age": ["a", "b", "c"]}, must_be_numbers=("age",)).numbers("age")


def test_two_marks_in_one_column_are_a_doubt() -> None:
    """Both cells and their lines are named."""
    ((_, doubt),) = number_columns({"age": ["1,5", "2.75", "3"]}).doubts()
    assert doubt.startswith("age mixes a decimal comma and a decimal point: '1,5' in line 2 and '2.75' in line 3.")
