"""The form of an open-ended text: how long it is, and which characters it consists of.

Titles, identifiers and dates are new all the time, so their values cannot be watched. What stays the same is their
form: a feed that fails sends placeholders, truncated texts, numbers in place of names, or another encoding.
"""

import math
from collections.abc import Sequence

MOST_OF_IT = 0.7
"""Share of the characters, without spaces, that names the kind of a text; below it, the text is mixed."""
NO_DATE = "no date"
"""The form of a text that is not a date in the format of its feature."""
SHORTEST_SPAN = 4
"""Lengths up to this share one form; each further form reaches to twice the length."""


def text_forms(values: Sequence[object]) -> list[object]:
    """The form of each value; a value that is no text stays, so that missing values stay missing."""
    forms: dict[object, str] = {}
    return [
        forms.get(value) or forms.setdefault(value, text_form(value)) if isinstance(value, str) else value
        for value in values
    ]


def text_form(text: str) -> str:
    """The form of a text in words, such as `letters, 9 to 16 characters`."""
    return "empty" if not text.strip() else f"{_kind(text)}, {_length(len(text))}"


def _kind(text: str) -> str:
    characters = text.replace(" ", "")
    if characters.isalpha():
        return "letters"
    letters, digits = sum(map(str.isalpha, characters)), sum(map(str.isdigit, characters))
    counts = {"letters": letters, "digits": digits, "other characters": len(characters) - letters - digits}
    kind, most = max(counts.items(), key=lambda item: item[1])
    return kind if most >= MOST_OF_IT * len(characters) else "mixed characters"


def _length(length: int) -> str:
    if length <= SHORTEST_SPAN:
        return f"1 to {SHORTEST_SPAN} characters"
    longest = 2 ** math.ceil(math.log2(length))
    return f"{longest // 2 + 1} to {longest} characters"
