"""The words that a healthy period knows: those that enough of its texts share, as salted hashes."""

import base64
import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

MOST_KNOWN = 10_000
"""Known words at most, the commonest ones."""
FEWEST_TEXTS = 2
"""Texts that share a known word, at least."""
DIGITS = 6


def known_words(words: Words, min_count: int) -> Words:
    """The words, as numbers, that at least `min_count` texts have, ascending.

    Args:
        words: (n, w) the different words of each text, 0 for none.
        min_count: the threshold of disclosure.
    """
    codes, counts = np.unique(words[words > 0], return_counts=True)
    is_shared = counts >= max(min_count, FEWEST_TEXTS)
    order = np.argsort(-counts[is_shared], kind="stable")[:MOST_KNOWN]
    return np.sort(codes[is_shared][order])


def own_unknown_shares(words: Words, min_count: int) -> NDArray[np.float64]:
    """(n,) the share of each text's words that the other texts do not make known; NaN without words.

    A text's own words are known because of it, so each text counts as one that the others have not seen.
    """
    codes = known_words(words, max(min_count, FEWEST_TEXTS) + 1)
    return _shares(words, np.isin(words, codes))


def unknown_shares(words: Words, stored_text: str, salt: str) -> NDArray[np.float64]:
    """(n,) the share of each text's words that a healthy period does not know; NaN without words."""
    codes, positions = np.unique(words, return_inverse=True)
    is_known = np.isin(_hashes(codes, salt), _hashes_of(stored_text))
    return _shares(words, is_known[positions].reshape(words.shape))


def stored_words(codes: Words, salt: str) -> str:
    """Known words as text, for the baseline: the first 32 bits of a salted hash of each."""
    return base64.b64encode(np.sort(_hashes(codes, salt)).astype(">u4").tobytes()).decode()


def _shares(words: Words, is_known: NDArray[np.bool_]) -> NDArray[np.float64]:
    is_word = words > 0
    counts = is_word.sum(axis=1)
    unknown = (is_word & ~is_known).sum(axis=1)
    return np.where(counts > 0, np.round(unknown / np.maximum(counts, 1), DIGITS), np.nan)


def _hashes(codes: Words, salt: str) -> Words:
    return np.array([_hash(code, salt) for code in codes.tolist()], dtype=np.uint32)


@lru_cache(maxsize=50_000)
def _hash(code: int, salt: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}\x00word\x00{code}".encode()).digest()[:4])


@lru_cache(maxsize=16)
def _hashes_of(text: str) -> Words:
    return np.frombuffer(base64.b64decode(text), dtype=">u4").astype(np.uint32)
