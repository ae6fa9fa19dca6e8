"""Which columns of a CSV file are numbers, with which decimal mark, and what is doubtful about them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stillsafe.csv_files.dialect import CsvText
from stillsafe.csv_files.number_marks import (
    MARKS,
    THOUSANDS,
    ColumnReading,
    column_reading,
    is_missing_word,
    number_of,
    words_beside_numbers,
)
from stillsafe.errors import ConfigurationError

MOST_SHOWN = 3
_NAMES = {".": "decimal point", ",": "decimal comma"}


@dataclass(frozen=True, slots=True)
class CellTexts:
    """The cells of one column as they are written.

    Attributes:
        name: the column.
        counts: cell -> rows that have it, without missing ones.
        first_rows: cell -> the first row that has it, from 0.
        must_be_numbers: whether a cell that is no number is refused.
    """

    name: str
    counts: Mapping[str, int]
    first_rows: Mapping[str, int]
    must_be_numbers: bool = False


class NumberColumns:
    """The columns of a file that may be numbers: one decimal mark for each, if need be by the others."""

    def __init__(self, csv_text: CsvText, columns: Mapping[str, CellTexts], decimal: str | None) -> None:
        """Read the cells with both marks, or with the stated one.

        Args:
            csv_text: the file.
            columns: the columns.
            decimal: the mark that the owner states, or None.
        """
        marks = MARKS if decimal is None else (decimal,)
        self._csv_text, self._columns, self._decimal = csv_text, columns, decimal
        self._readings = {name: column_reading(cells.counts, marks) for name, cells in columns.items()}

    @property
    def has_comma(self) -> bool:
        """Whether a column may have a decimal comma."""
        return any("," in reading.numbers and reading.mark != "." for reading in self._readings.values())

    def numbers(self, name: str) -> Mapping[str, float] | None:
        """Cell -> number of a column, with its decimal mark; None if it is a column of texts.

        Raises:
            ConfigurationError: it can be read in two ways, or has cells that are no numbers and may have none.
        """
        cells, reading = self._columns[name], self._readings[name]
        mark = reading.mark or (self._mark_of_others(name, reading) if reading.numbers else None)
        if mark is not None:
            return reading.numbers[mark]
        if cells.must_be_numbers or (self._decimal is not None and self._fits_other_mark(cells)):
            raise self._refusal(cells, reading)
        return None

    def remarks(self) -> Iterator[str]:
        """Which columns have a decimal comma or a thousands mark, and which words were read as missing."""
        commas = [name for name, reading in self._readings.items() if self._is_comma(name, reading)]
        if commas and self._decimal is None:
            cell = next(cell for cell in self._columns[commas[0]].counts if "," in cell)
            yield (
                f"{', '.join(commas)}: read with a decimal comma, such as {cell!r}. If that is wrong, add --decimal "
                '".".'
            )
        for name in self._readings:
            numbers = self.numbers(name)
            if numbers is not None:
                yield from self._thousands_remark(name, numbers)
                yield from self._missing_remark(name, numbers)

    def doubts(self) -> Iterator[tuple[str, str]]:
        """Each column of texts that is almost one of numbers, with a sentence about the cells that are none."""
        for name, cells in self._columns.items():
            reading = self._readings[name]
            if reading.numbers:
                continue
            if sentence := self._doubt(cells, reading):
                yield name, sentence

    def _is_comma(self, name: str, reading: ColumnReading) -> bool:
        numbers = self.numbers(name)
        return numbers is not None and numbers is reading.numbers.get(",") and any("," in cell for cell in numbers)

    def _mark_of_others(self, name: str, reading: ColumnReading) -> str:
        marks = {each.mark for each in self._readings.values() if each.ambiguous_cell is None and self._has_mark(each)}
        if len(marks - {None}) == 1 and (mark := next(iter(marks - {None}))) in reading.numbers:
            return str(mark)
        cell = reading.ambiguous_cell or ""
        first, second = (f"{reading.numbers[mark][cell]:,} ({_NAMES[mark]})" for mark in MARKS)
        problem = (
            f"The column {name!r} can be read in two ways, and no value decides: {cell!r} in line "
            f"{self._line(self._columns[name], cell)} is {first} or {second}."
        )
        raise ConfigurationError(problem, 'Add --decimal "." or --decimal ",".', file=str(self._csv_text.file))

    @staticmethod
    def _has_mark(reading: ColumnReading) -> bool:
        """Whether the cells of a column show their mark: whole numbers without a mark do not."""
        return reading.mark is not None and any(
            mark in cell for cell in reading.numbers[reading.mark] for mark in MARKS
        )

    def _fits_other_mark(self, cells: CellTexts) -> bool:
        return bool(column_reading(cells.counts).numbers)

    def _refusal(self, cells: CellTexts, reading: ColumnReading) -> ConfigurationError:
        sentence = self._doubt(cells, reading)
        if not sentence:
            marks = MARKS if self._decimal is None else (self._decimal,)
            cell = next(cell for cell in cells.counts if all(number_of(cell, mark) is None for mark in marks))
            sentence = (
                f"{cells.name}: {self._place(cells, cell)} is no number. If it means missing, add --missing {cell!r}."
            )
        problem, _, remedy = sentence.rpartition(". ")
        return ConfigurationError(f"{problem}.", remedy, file=str(self._csv_text.file))

    def _doubt(self, cells: CellTexts, reading: ColumnReading) -> str:
        first, second = next(iter(reading.others.values())), [*reading.others.values()][-1]
        if len(reading.others) > 1 and not {*first} & {*second}:
            return (
                f"{cells.name} mixes a decimal comma and a decimal point: {self._place(cells, first[0])} and "
                f"{self._place(cells, second[0])}. Write all of its numbers with the same mark."
            )
        others = min(reading.others.values(), key=len)
        words = words_beside_numbers(cells.counts, [cell for cell in others if not is_missing_word(cell)])
        if not words:
            return ""
        count = sum(cells.counts[cell] for cell in others)
        places = ", ".join(self._place(cells, cell) for cell in words[:MOST_SHOWN])
        more = f" and {len(words) - MOST_SHOWN} more" if len(words) > MOST_SHOWN else ""
        return (
            f"{cells.name}: {count} of {sum(cells.counts.values())} cells are no numbers, as the others are: {places}"
            f"{more}. If they mean missing, add --missing {words[0]!r}, else correct them."
        )

    def _thousands_remark(self, name: str, numbers: Mapping[str, float]) -> Iterator[str]:
        mark = "," if numbers is self._readings[name].numbers.get(",") else "."
        cells = ((cell, sign) for cell in numbers for sign in THOUSANDS[mark] if sign in cell.strip())
        cell, other = next(cells, ("", ""))
        if cell:
            advice = f" If that is wrong, add --decimal {other!r}." if other in MARKS else ""
            yield f"{name}: {other!r} separates thousands, so {cell!r} is {numbers[cell]:.15g}.{advice}"

    def _missing_remark(self, name: str, numbers: Mapping[str, float]) -> Iterator[str]:
        cells = self._columns[name]
        words = [cell for cell in cells.counts if cell not in numbers]
        if words:
            count = sum(cells.counts[word] for word in words)
            places = ", ".join(self._place(cells, word) for word in words[:MOST_SHOWN])
            yield f"{name}: {count} cells were read as missing, since all others are numbers: {places}."

    def _place(self, cells: CellTexts, cell: str) -> str:
        return f"{cell!r} in line {self._line(cells, cell)}"

    def _line(self, cells: CellTexts, cell: str) -> int:
        return self._csv_text.line_of(cells.first_rows[cell])
