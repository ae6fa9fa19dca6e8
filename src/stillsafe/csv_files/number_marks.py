"""Numbers in texts: the decimal mark and the thousands mark of a column, where its cells leave one reading.

"1,5" has a decimal comma, "1.234,5" and "1 234,5" too; "1,234.5" has a decimal point. "1,234" can be read in two ways:
then other columns of the file decide, or the owner.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

MARKS = (".", ",")
FEWEST_NUMBERS = 10
"""Distinct numbers from which on a column is one of numbers although it has other words."""
MOSTLY, HALF, MOST_WORDS = 0.9, 0.5, 3
"""A column is one of numbers if this share of its cells are numbers, or half of them beside at most three words."""
EXTRA_MISSING = frozenset(
    [
        *("?", "-", "--", "---", ".", "..", "*", "\\n", "n.a.", "n.a", "na", "n/d", "n.d.", "k.a.", "nil", "none"),
        *("null", "nan", "nat", "missing", "unknown", "#ref!", "#value!", "#div/0!", "#name?", "#num!", "(null)"),
    ]
)
"""Words for missing values, in small letters, where every other cell of a column is a number."""
THOUSANDS = {
    ".": ",\u0020\u00a0\u202f\u2009'\u2019",
    ",": ".\u0020\u00a0\u202f\u2009'\u2019",
}
"""Decimal mark -> the characters that may separate thousands."""
_PATTERNS = {
    decimal: re.compile(
        rf"[+\-\u2212]?(?:\d+|[1-9]\d{{0,2}}(?P<sign>[{re.escape(THOUSANDS[decimal])}])\d{{3}}(?:(?P=sign)\d{{3}})*)?"
        rf"(?:{re.escape(decimal)}\d*)?(?:[eE][+\-]?\d+)?"
    )
    for decimal in MARKS
}
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class ColumnReading:
    """How the cells of a column can be read as numbers.

    Attributes:
        numbers: decimal mark -> cell -> number, for each mark with which the column is one of numbers.
        others: decimal mark -> cells that are no numbers with it.
    """

    numbers: Mapping[str, Mapping[str, float]]
    others: Mapping[str, tuple[str, ...]]

    @property
    def mark(self) -> str | None:
        """The only possible decimal mark; the point if both give the same numbers; None if several or none fit."""
        if len(self.numbers) == 1:
            return next(iter(self.numbers))
        readings = [*self.numbers.values()]
        return MARKS[0] if readings and all(reading == readings[0] for reading in readings) else None

    @property
    def ambiguous_cell(self) -> str | None:
        """A cell that is two different numbers; None where a single reading remains."""
        if len(self.numbers) < len(MARKS):
            return None
        first, second = (self.numbers[mark] for mark in MARKS)
        return next((cell for cell in first if first[cell] != second.get(cell)), None)


def number_of(cell: str, decimal: str) -> float | None:
    """The number of a cell with that decimal mark, as a whole number where it has no fraction; None if it is none."""
    text = cell.strip()
    if _DIGIT.search(text) is None or (match := _PATTERNS[decimal].fullmatch(text)) is None:
        return None
    sign = match["sign"]
    plain = (text.replace(sign, "") if sign else text).replace(decimal, ".").replace("\u2212", "-")
    return float(plain) if "." in plain or "e" in plain.lower() else int(plain)


def column_reading(counts: Mapping[str, int], decimals: Iterable[str] = MARKS) -> ColumnReading:
    """How a column can be read as numbers.

    Args:
        counts: cell -> rows that have it, without missing ones.
        decimals: the decimal marks to try.
    """
    numbers, others = {}, {}
    for decimal in decimals:
        reading = {cell: number_of(cell, decimal) for cell in counts}
        others[decimal] = tuple(cell for cell, number in reading.items() if number is None)
        found_numbers = {cell: number for cell, number in reading.items() if number is not None}
        if found_numbers and all(is_missing_word(cell) for cell in others[decimal]):
            numbers[decimal] = found_numbers
    return ColumnReading(numbers, others)


def is_missing_word(cell: str) -> bool:
    """Whether a cell of a column of numbers stands for a missing value."""
    return cell.strip().lower() in EXTRA_MISSING


def words_beside_numbers(counts: Mapping[str, int], others: Collection[str]) -> tuple[str, ...]:
    """The cells that are no numbers in a column that is one of numbers otherwise, most frequent first; else none."""
    other_rows = sum(counts[cell] for cell in others)
    share = 1 - other_rows / max(sum(counts.values()), 1)
    is_numeric = share >= MOSTLY or (share >= HALF and len(others) <= MOST_WORDS)
    if not others or not is_numeric or len(counts) - len(others) < FEWEST_NUMBERS:
        return ()
    return tuple(sorted(others, key=lambda cell: -counts[cell]))
