"""How texts for people and language models quote what clients sent. Pure.

Control characters, quotation marks and markup are escaped, so that a quote ends where it seems to end.
"""

import json
import unicodedata

from stillsafe.core.text import truncate

LONGEST_CLIENT_TEXT = 40
UNVERIFIED_MARK = " [unverified]"
"""Stands after each number of an explanation that its facts do not support."""
_MARKUP = frozenset("<>&'`{}[]|*#")
_QUOTES = ("Pi", "Pf")
"""Unicode's categories of opening and closing quotation marks."""


def escape_untrusted_text(text: str) -> str:
    """A client's text, truncated and quoted; letters stay, and what could end a line, a quote or a tag is escaped."""
    quoted_text = json.dumps(truncate(text, LONGEST_CLIENT_TEXT), ensure_ascii=False)
    return "".join(map(_escaped_sign, quoted_text))


def quoted_forms(text: str) -> tuple[str, ...]:
    """How explanations quote a client's text: those of this release, and of older ones in ASCII alone."""
    old_text = json.dumps(truncate(text, LONGEST_CLIENT_TEXT)).replace("\x7f", "\\u007f")
    old_form = "".join(f"\\u{ord(sign):04x}" if sign in _MARKUP else sign for sign in old_text)
    return tuple(dict.fromkeys((escape_untrusted_text(text), old_form)))


def _escaped_sign(sign: str) -> str:
    """A sign of a JSON text, escaped where it is unprintable, markup or a quotation mark, or looks like one of them."""
    plain_form = unicodedata.normalize("NFKC", sign)
    looks_alike = sign != plain_form and not _MARKUP.union('"\\').isdisjoint(plain_form)
    if sign.isprintable() and sign not in _MARKUP and not looks_alike and unicodedata.category(sign) not in _QUOTES:
        return sign
    return json.dumps(sign)[1:-1] if ord(sign) > 0x7F else f"\\u{ord(sign):04x}"
