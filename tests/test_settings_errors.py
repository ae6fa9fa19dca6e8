"""Errors about a settings file: the first mistake, its line and its remedy."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from stillsafe.errors import ConfigurationError
from stillsafe.settings_errors import Sections, configuration_error, line_of, quote


class Shop(BaseModel):
    """A table with two keys."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    size: int = 1


class File(BaseModel):
    """A file with that table."""

    model_config = ConfigDict(extra="forbid", strict=True)

    shop: Shop


SECTIONS: Sections = {("shop",): Shop, (): File}


def error_for(document: object, text: str = "") -> ConfigurationError:
    """The error for a document that is not valid."""
    with pytest.raises(ValidationError) as error:
        File.model_validate(document)
    return configuration_error(error.value, SECTIONS, "shop.toml", text)


@pytest.mark.parametrize(
    ("document", "text", "message"),
    [
        ({"shop": {}}, "[shop]", "line 1: `shop.name` is missing. Add it."),
        ({}, "", ": `shop` is missing. Add it as a table `[shop]`."),
        ({"shop": 3}, "shop = 3", "line 1: `shop` must be a table, not a whole number. Write it as a table `[shop]`."),
        (
            {"shop": {"name": 3}},
            "[shop]\nname = 3",
            "line 2: `shop.name` must be a string in quotes, not a whole number.",
        ),
        (
            {"shop": {"nam": "x"}},
            '[shop]\nnam = "x"',
            "line 2: `shop.nam` is not a setting. Did you mean `name`?",
        ),
        (
            {"shop": {"name": "x"}, "size": 3},
            'size = 3\n[shop]\nname = "x"',
            "line 1: `size` is not a setting. It belongs in `[shop]`.",
        ),
        (
            {"shop": {"name": "x", "zzz": 3}},
            '[shop]\nname = "x"\nzzz = 3',
            "line 3: `shop.zzz` is not a setting. Remove it, or write one of name, size.",
        ),
    ],
)
def test_each_mistake_has_its_line_and_remedy(document: object, text: str, message: str) -> None:
    """The message names the key by its path."""
    assert str(error_for(document, text)).endswith(message)


def test_a_misspelt_key_comes_before_the_missing_one() -> None:
    """The missing key follows from the misspelling, so the misspelling is reported."""
    assert "`shop.nme` is not a setting" in str(error_for({"shop": {"nme": "x"}}))


def test_lines_are_located_in_every_notation() -> None:
    """Quoted keys, dotted keys, inline tables, comments and lists of tables."""
    text = (
        'service.name = "x"\n["monitor"] # c\n"every" = 1\n'
        "[[features]]\nname = 1\n[[features]]\n  name = 2\n[fallback]\nrules = [{when = 1}]\n"
    )
    assert line_of(text, ("service", "name")) == 1
    assert line_of(text, ("monitor", "every")) == 3
    assert line_of(text, ("features", 1, "name")) == 7
    assert line_of(text, ("features", 1, "type")) == 6
    assert line_of(text, ("fallback", "rules", 0, "when")) == 9
    assert line_of(text, ("fallback", "default")) == 8
    assert line_of(text, ("model", "file")) is None
    assert line_of("", ("a",)) is None


def test_quoted_values_are_short() -> None:
    """A long value does not hide the message."""
    assert quote("abc") == "'abc'"
    assert quote("x" * 100) == repr("x" * 40 + "...")
