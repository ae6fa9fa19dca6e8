"""Reads free texts: how long each is, in which script, and which words it has, as numbers that stand for words."""

import re
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

MOST_WORDS = 16
"""Different words of a text that count. Of more of them those with the smallest numbers: a sample of the words."""
LONGEST_LOOK = 1_000
"""Characters of which script and words are read."""
NO_LETTERS, GARBLED_TEXT, OTHER = "no letters", "garbled", "other letters"
_RANGES = (
    (0x41, 0x24F, "Latin"),
    (0x250, 0x36F, OTHER),
    (0x370, 0x3FF, "Greek"),
    (0x400, 0x52F, "Cyrillic"),
    (0x530, 0x58F, "Armenian"),
    (0x590, 0x5FF, "Hebrew"),
    (0x600, 0x77F, "Arabic"),
    (0x780, 0x8FF, OTHER),
    (0x900, 0x97F, "Devanagari"),
    (0x980, 0xDFF, "Indic"),
    (0xE00, 0xEFF, "Thai and Lao"),
    (0xF00, 0x109F, OTHER),
    (0x10A0, 0x10FF, "Georgian"),
    (0x1100, 0x11FF, "Hangul"),
    (0x1200, 0x1DFF, OTHER),
    (0x1E00, 0x1EFF, "Latin"),
    (0x1F00, 0x1FFF, "Greek"),
    (0x2000, 0x303F, OTHER),
    (0x3040, 0x30FF, "Kana"),
    (0x3100, 0x33FF, OTHER),
    (0x3400, 0x9FFF, "Han"),
    (0xA000, 0xABFF, OTHER),
    (0xAC00, 0xD7AF, "Hangul"),
    (0xD7B0, 0x1FFFF, OTHER),
    (0x20000, 0x3FFFF, "Han"),
    (0x40000, 0x10FFFF, OTHER),
)
"""Blocks of Unicode: first and last character, script."""
SCRIPTS = (NO_LETTERS, GARBLED_TEXT, *dict.fromkeys(script for _, _, script in _RANGES))
_STARTS = [start for start, _, _ in _RANGES]
_POSITIONS = {script: position for position, script in enumerate(SCRIPTS)}
_GARBLED_CHARACTER = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_WORD = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\\W\\d_]+")
"""A word; of a script that is written without spaces a character."""


@dataclass(frozen=True, slots=True)
class TextValues:
    """What is known of `n` texts.

    Attributes:
        lengths: (n,) characters; NaN where a text is missing.
        scripts: (n,) positions in `SCRIPTS`, -1 where it is missing.
        words: (n, MOST_WORDS) a number for each word, in ascending order after zeros for none.
    """

    lengths: NDArray[np.float64]
    scripts: NDArray[np.int8]
    words: NDArray[np.uint32]

    def __getitem__(self, rows: "Mask | slice | NDArray[np.intp]") -> "TextValues":
        """The selected texts."""
        return TextValues(self.lengths[rows], self.scripts[rows], self.words[rows])

    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Its arrays, in the order of its attributes."""
        return self.lengths, self.scripts, self.words


def text_values(values: Sequence[object]) -> TextValues:
    """What is known of these texts; anything else is missing."""
    texts = [value if isinstance(value, str) else None for value in values]
    facts = {text: _facts(text) for text in dict.fromkeys(texts) if text is not None}
    words = np.zeros((len(texts), MOST_WORDS), dtype=np.uint32)
    for row, text in enumerate(texts):
        if text is not None and (codes := facts[text][1]):
            words[row, -len(codes) :] = codes
    return TextValues(
        np.array([np.nan if text is None else len(text) for text in texts], dtype=np.float64),
        np.array([-1 if text is None else facts[text][0] for text in texts], dtype=np.int8),
        words,
    )


def script_of(text: str) -> str:
    """The script of most letters of a text; `garbled` where it has characters that no text has."""
    if _GARBLED_CHARACTER.search(text):
        return GARBLED_TEXT
    letters = [character for character in text[:LONGEST_LOOK] if character.isalpha()]
    if not letters:
        return NO_LETTERS
    if text.isascii():
        return "Latin"
    counts = Counter(_RANGES[bisect_right(_STARTS, ord(letter)) - 1][2] for letter in letters)
    return max(counts, key=lambda script: (counts[script], script))


def word_codes(text: str) -> list[int]:
    """A number for each of the different words of a text, ascending; of more than `MOST_WORDS` the smallest ones."""
    words = set(_WORD.findall(text[:LONGEST_LOOK].casefold()))
    return sorted({max(zlib.crc32(word.encode(errors="surrogatepass")), 1) for word in words})[:MOST_WORDS]


def _facts(text: str) -> tuple[int, list[int]]:
    return _POSITIONS[script_of(text)], word_codes(text)
