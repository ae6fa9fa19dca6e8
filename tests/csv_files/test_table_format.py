"""What the owner of a table states about it, as options of a command."""

import pytest

from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError


@pytest.mark.parametrize(("name", "sign"), [("tab", "\t"), ("semicolon", ";"), (";", ";"), ("|", "|"), ("\\t", "\t")])
def test_a_separator_has_a_name_or_is_itself(name: str, sign: str) -> None:
    """Shells take no tab, so it has a name."""
    assert TableFormat.of_options(name, None, None, None, None).separator == sign


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--", None, None, None, None), "A separator is a single character"),
        (('"', None, None, None, None), "A separator is a single character"),
        ((None, "'", None, None, None), "is no decimal mark"),
        ((None, None, "utf-9", None, None), "There is no encoding 'utf-9'"),
        ((None, None, None, None, "last"), "'last' is no format of dates"),
    ],
)
def test_an_invalid_option_is_refused_with_an_example(options: tuple[str | None, ...], message: str) -> None:
    """Each refusal shows what to write."""
    separator, decimal, encoding, _, dates = options
    with pytest.raises(ConfigurationError, match=message) as refusal:
        TableFormat.of_options(separator, decimal, encoding, None, dates)
    assert "Write --" in refusal.value.remedy


def test_words_for_missing_values_hold_in_one_column_or_in_all() -> None:
    """COLUMN=WORD belongs to a column of that name; without one, the whole text is the word."""
    form = TableFormat(missing=("?", "age=-999", "x=1"))
    assert form.missing_words("age", ["age", "size"]) == {"?", "-999", "x=1"}
    assert form.missing_words("size", ["age", "size"]) == {"?", "x=1"}


def test_the_options_repeat_the_format() -> None:
    """The text of a report's command has the options, quoted for a shell; a recognised format has none."""
    assert TableFormat().options_text == ""
    form = TableFormat(";", ",", "latin-1", ("n a", "age=0"), "%d.%m.%Y")
    words = "--separator ';' --decimal , --encoding latin-1 --missing 'n a' --missing age=0 --dates %d.%m.%Y"
    assert form.options_text == f" {words}"
