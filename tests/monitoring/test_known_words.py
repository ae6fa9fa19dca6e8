"""Known words are those that enough texts share, and only salted hashes of them are stored."""

import base64

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.monitoring.known_words import known_words, own_unknown_shares, stored_words, unknown_shares
from stillsafe.monitoring.text_values import text_values, word_codes

TEXTS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6).map(" ".join), min_size=1, max_size=30)


def code_of(word: str) -> int:
    """The number of a word."""
    return word_codes(word)[0]


@given(TEXTS, st.integers(1, 6))
def test_a_known_word_has_enough_texts(texts: list[str], min_count: int) -> None:
    """A word that fewer than `min_count` texts share, or that one text alone has, is not known."""
    codes = set(known_words(text_values(texts).words, min_count).tolist())
    counts = {code_of(word): sum(word in text.split() for text in texts) for word in "abcdefgh"}
    assert codes == {code for code, count in counts.items() if count >= max(min_count, 2)}


@given(TEXTS, st.integers(1, 6))
def test_a_text_is_as_new_as_one_that_the_others_have_not_seen(texts: list[str], min_count: int) -> None:
    """The share of a text's own period is that of the text against a period without it."""
    words = text_values(texts).words
    own = own_unknown_shares(words, min_count)
    for row in range(len(texts)):
        others = stored_words(known_words(np.delete(words, row, axis=0), min_count), "salt")
        np.testing.assert_array_equal(own[row : row + 1], unknown_shares(words[row : row + 1], others, "salt"))


def test_new_words_are_unknown() -> None:
    """The share counts words, not texts, and a text without words has none."""
    stored = stored_words(known_words(text_values(["late parcel", "parcel late"]).words, 1), "salt")
    shares = unknown_shares(text_values(["late parcel", "late paket", "das paket", "12"]).words, stored, "salt")
    assert shares[:3].tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(shares[3])


def test_what_is_stored_tells_no_word_without_the_salt() -> None:
    """Four bytes for each word, which another salt turns into others."""
    codes = known_words(text_values(["late parcel", "parcel late"]).words, 1)
    one, other = stored_words(codes, "one"), stored_words(codes, "other")
    assert len(base64.b64decode(one)) == 8
    assert one != other
    assert not {*np.frombuffer(base64.b64decode(one), ">u4").tolist()} & {*codes.tolist()}
    assert unknown_shares(text_values(["late parcel"]).words, one, "other").tolist() == [1.0]
