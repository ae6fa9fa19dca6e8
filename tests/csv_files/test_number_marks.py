"""A cell is a number with a decimal mark, or it is not; a column has one reading, or it is ambiguous."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.csv_files.number_marks import column_reading, is_missing_word, number_of, words_beside_numbers

POINT, COMMA = ".", ","


@pytest.mark.parametrize(
    ("cell", "point", "comma"),
    [
        ("12", 12, 12),
        (" 12 ", 12, 12),
        ("-1.5", -1.5, None),
        ("1,5", None, 1.5),
        ("1,234", 1234, 1.234),
        ("1.234", 1.234, 1234),
        ("1,234.5", 1234.5, None),
        ("1.234,5", None, 1234.5),
        ("1.234.567", None, 1234567),
        ("1,234,56", None, None),
        ("12 345", 12345, 12345),
        ("12\u00a0345,6", None, 12345.6),
        ("12'345.6", 12345.6, None),
        ("1 234 56", None, None),
        ("1 234,567", 1234567, 1234.567),
        ("0,5", None, 0.5),
        ("0.125", 0.125, None),
        ("030 123 456", None, None),
        (",5", None, 0.5),
        ("5.", 5.0, None),
        ("1e-05", 1e-05, 1e-05),
        ("1.5E+3", 1500.0, None),
        ("\u22122", -2, -2),
        *((text, None, None) for text in ("", ".", "-", "A1", "12%", "2026-01-31", "1/2", "0x1F", "inf", "nan")),
    ],
)
def test_a_cell_with_each_mark(cell: str, point: float | None, comma: float | None) -> None:
    """The number with a decimal point and the number with a decimal comma."""
    if cell == "1 234,567":
        point = None  # two thousands marks in one number
    assert (number_of(cell, POINT), number_of(cell, COMMA)) == (point, comma)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_exactly(number: float) -> None:
    """As Python writes it, with either mark: the very same float."""
    assert number_of(repr(number), POINT) == number
    assert number_of(repr(number).replace(".", ","), COMMA) == number


@given(st.integers(-(10**12), 10**12), st.integers(0, 99))
def test_thousands_marks_are_removed(whole: int, cents: int) -> None:
    """As money is written in each country."""
    number = float(f"{whole}.{cents:02}")
    english = f"{whole:,}.{cents:02}"
    german = english.translate({ord(","): ".", ord("."): ","})
    assert number_of(english, POINT) == number
    assert number_of(german, COMMA) == number
    assert number_of(german.replace(".", "\u202f"), COMMA) == number


def test_one_cell_decides_for_its_column() -> None:
    """1,234 is read like the other cells of its column; without such a cell it is ambiguous."""
    assert column_reading({"1,234": 1, "1,5": 1}).mark == COMMA
    assert column_reading({"1,234": 1, "1.5": 1}).mark == POINT
    ambiguous = column_reading({"1,234": 1, "12": 1})
    assert (ambiguous.mark, ambiguous.ambiguous_cell) == (None, "1,234")
    plain = column_reading({"1": 1, "12": 1})
    assert (plain.mark, plain.ambiguous_cell) == (POINT, None)
    assert column_reading({"Köln": 1, "1": 5}).mark is None


@pytest.mark.parametrize("word", ["?", "-", "--", "n.a.", "unknown", "#DIV/0!", "NONE", "k.A."])
def test_words_that_stand_for_a_missing_value(word: str) -> None:
    """They are no category beside numbers only."""
    assert is_missing_word(word)
    assert column_reading({"1": 1, "2": 1, word: 1}).numbers[POINT] == {"1": 1, "2": 2}


def test_words_beside_numbers_are_named_most_frequent_first() -> None:
    """A column with few other words among many numbers is one of numbers; one of codes is not."""
    numbers = {str(number): 1 for number in range(50)}
    assert words_beside_numbers({**numbers, "abc": 1, "def": 3}, ["abc", "def"]) == ("def", "abc")
    assert words_beside_numbers(numbers, []) == ()
    codes = {f"A{number}": 1 for number in range(50)}
    assert words_beside_numbers({**numbers, **codes}, [*codes]) == ()
    assert words_beside_numbers({"1": 40, "2": 40, "A": 1}, ["A"]) == ()
