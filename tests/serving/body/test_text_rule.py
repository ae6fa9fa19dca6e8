"""Plain lines are what the pattern in the OpenAPI document says."""

import re
import unicodedata

import pytest

from stillsafe.serving.body.text_rule import PATTERN, TEXT_PATTERN, is_plain_line, is_plain_text


@pytest.mark.parametrize("text", ["a", "Jürgen Müller", "注文 7/ü#€", "", " ", " a ", "\u00a0", "😀"])
def test_a_line_of_any_alphabet_is_plain(text: str) -> None:
    """Also with spaces around it."""
    assert is_plain_line(text)


@pytest.mark.parametrize(
    "text", ["a\n", "\t", "\x00", "a\x9fb", "\u202eabc", "a\u200bb", "\u2028", "\ud800", "\ufeffa"]
)
def test_what_moves_the_cursor_or_hides_text_is_not(text: str) -> None:
    """Nor is half a surrogate pair, which no database stores."""
    assert not is_plain_line(text)


def test_the_patterns_say_the_same() -> None:
    """For every character that UTF-8 has, at any place of a text."""
    for code in [*range(0xD800), *range(0xE000, 0x11000)]:
        text = chr(code)
        assert is_plain_line(text) == bool(re.search(PATTERN, text + "a")), code
        assert is_plain_text(f" {text}") == bool(re.search(TEXT_PATTERN, f" {text}")), code
        assert not is_plain_line(text) or unicodedata.category(text) not in ("Cc", "Zl", "Zp"), code
