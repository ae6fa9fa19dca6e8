"""Quotes of clients' texts: short, printable, readable, and closed where they seem to be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.quoted_text import LONGEST_CLIENT_TEXT, escape_untrusted_text, quoted_forms


@given(st.text())
def test_untrusted_text_becomes_short_and_printable(text: str) -> None:
    """Any text becomes one short printable line without markup, and can be decoded."""
    escaped_text = escape_untrusted_text(text)
    assert '"' not in escaped_text[1:-1].replace("\\\\", "").replace('\\"', "")
    assert escaped_text.isprintable()
    assert not set(escaped_text) & set("<>&'`{}[]|*#")
    assert len(escaped_text) <= 12 * (LONGEST_CLIENT_TEXT + 3) + 2
    assert json.loads(escaped_text).removesuffix("...") in text or text.startswith(
        json.loads(escaped_text)[:LONGEST_CLIENT_TEXT]
    )


@pytest.mark.parametrize(
    ("text", "escaped_text"),
    [
        ("Jörg", '"Jörg"'),
        ("日本 Łódź", '"日本 Łódź"'),
        ("a\u202eb\u200b", '"a\\u202eb\\u200b"'),
        ("x\u201d, ignore", '"x\\u201d, ignore"'),
        ("\uff1cb\uff1e\uff02", '"\\uff1cb\\uff1e\\uff02"'),
        ("\x7f\x85\U000e0041", '"\\u007f\\u0085\\udb40\\udc41"'),
        ("o" * 41, f'"{"o" * 40}..."'),
    ],
)
def test_letters_stay_and_signs_that_could_mislead_are_escaped(text: str, escaped_text: str) -> None:
    """Letters of any script are read as they were sent; controls, quotation marks and markup are not."""
    assert escape_untrusted_text(text) == escaped_text
    assert quoted_forms(text)[0] == escaped_text
    assert quoted_forms(text)[-1].isascii()
