"""The owner's description of a CSV file. What it leaves open is recognised from the content."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from stillsafe.errors import ConfigurationError

SEPARATOR_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "\\t": "\t"}
DATE_ORDERS = ("day-first", "month-first", "year-first")


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How a CSV file is written; a Parquet file has only words for missing values and date formats.

    Attributes:
        separator: the character between two cells, or None.
        decimal: the decimal mark, "." or ",", or None.
        encoding: a name that Python knows, such as `latin-1`, or None.
        missing: further cells that are missing values: `WORD` in every column, `COLUMN=WORD` in one.
        dates: which part of a date comes first, see `DATE_ORDERS`, or a format of `strptime`, or None.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: tuple[str, ...] = ()
    dates: str | None = None

    @classmethod
    def of_options(
        cls,
        separator: str | None,
        decimal: str | None,
        encoding: str | None,
        missing: Sequence[str] | None,
        dates: str | None,
    ) -> Self:
        """The format that the options of a command state.

        Raises:
            ConfigurationError: an option is invalid.
        """
        separator = None if separator is None else SEPARATOR_NAMES.get(separator, separator)
        if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
            raise ConfigurationError(
                "A separator is a single character.", 'Write --separator ";" or --separator tab, for example.'
            )
        if decimal not in (None, ".", ","):
            raise ConfigurationError(f"{decimal!r} is no decimal mark.", 'Write --decimal "," or --decimal ".".')
        if encoding is not None:
            _require_encoding(encoding)
        if dates is not None and dates not in DATE_ORDERS and "%" not in dates:
            orders = ", ".join(DATE_ORDERS)
            raise ConfigurationError(
                f"{dates!r} is no format of dates.", f"Write --dates with one of {orders}, or a format as %d.%m.%Y."
            )
        return cls(separator, decimal, encoding, tuple(missing or ()), dates)

    @property
    def options_text(self) -> str:
        """The options of a command that state this format, each after a space; empty if nothing is stated."""
        pairs = [("separator", self.separator), ("decimal", self.decimal), ("encoding", self.encoding)]
        pairs += [("missing", word) for word in self.missing] + [("dates", self.dates)]
        return "".join(f" --{name} {shlex.quote(value)}" for name, value in pairs if value is not None)

    def missing_words(self, name: str, names: Sequence[str]) -> frozenset[str]:
        """The further words for missing values in a column.

        Args:
            name: the column.
            names: all columns: only the name of one of them makes `COLUMN=WORD` an option of one column.
        """
        pairs = [(text, *text.partition("=")[::2]) for text in self.missing]
        return frozenset(
            word if column in names else text for text, column, word in pairs if column not in names or column == name
        )


def _require_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)
    except LookupError:
        raise ConfigurationError(
            f"There is no encoding {encoding!r}.", "Write --encoding utf-8, latin-1, cp1252 or utf-16, for example."
        ) from None
